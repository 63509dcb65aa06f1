"""The pull-request report: what a change of this repository does to every environment.

    make diff-report BASE=origin/main [OUT=report.md]
    make diff-report BASE=deployed [ENV=prod] [OUT=report.md]

`checkout` synthesizes base and head, or `live` reads the deployed stacks as the base. `collect` compares the two assemblies with the
CDK's own engine, `dangers` runs all checks for dangerous changes, `deployment` lists interruptions, `costs` compares the monthly cost,
and `render` writes the report as Markdown.
"""
