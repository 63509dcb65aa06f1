"""What ministack's CloudFormation lacks, as handlers that call ministack's own service APIs.

One module per part of the infrastructure; `register()` puts them all in place. Types for which
the emulator has no service are listed in `RECORDED`: the stack keeps their properties, and
nothing else exists of them.
"""

RECORDED = (
    "AWS::ApplicationAutoScaling::ScalableTarget",
    "AWS::ApplicationAutoScaling::ScalingPolicy",
    "AWS::Budgets::Budget",
    "AWS::CE::AnomalyMonitor",
    "AWS::CE::AnomalySubscription",
    "AWS::CloudFront::MonitoringSubscription",
    "AWS::Logs::QueryDefinition",
    "AWS::WAFv2::LoggingConfiguration",
)


def register() -> None:
    """Add the handlers to ministack, once, before it serves. Imports it, and so reads the environment."""
    from local.emulator.handlers import alerts, base, data, edge, identity, network, service, storage

    for part in (network, alerts, storage, data, edge, service, identity):
        part.register()
    for resource_type in RECORDED:
        base.record(resource_type)
    base.install()
