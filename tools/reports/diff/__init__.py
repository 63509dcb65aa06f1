"""The pull-request report: what a change of this repository does to every environment, in half a minute's reading.

    make diff-report BASE=origin/main [OUT=report.md]
    make diff-report BASE=deployed [ENV=prod] [OUT=report.md]

`checkout` synthesizes both sides, or `live` reads what is deployed in the place of the base; `sides` reads them, `collect` compares
them with the CDK's own engine, `judge` and its neighbours say what is dangerous, `deployment` what is interrupted, `tools.reports.cost` what
it costs, and `render` writes it down.
"""
