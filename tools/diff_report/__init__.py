"""The pull-request report: what a change of this repository does to every environment, in half a minute's reading.

    make diff-report BASE=origin/main [OUT=report.md]

`checkout` synthesizes both sides, `sides` reads them, `collect` compares them with the CDK's own engine, `judge` and its
neighbours say what is dangerous, `deployment` what is interrupted, `tools.cost` what it costs, and `render` writes it down.
"""
