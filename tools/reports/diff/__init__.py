"""The pull-request report: what a change of this repository does to every environment.

    ./carmen diff --base origin/main [--output report.md]
    ./carmen diff --base deployed [--env prod] [--output report.md]

`checkout` synthesizes base and head, or `live` reads the deployed stacks as the base. `collect` compares the two assemblies with the
CDK's own engine, `dangers` runs all checks for dangerous changes, `deployment` lists interruptions, `costs` compares the monthly cost,
and `render` writes the report as Markdown.
"""
