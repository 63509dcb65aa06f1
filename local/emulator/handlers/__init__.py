"""CloudFormation handlers that ministack lacks; they call ministack's own service APIs.

One module per part of the infrastructure; `register()` installs them all. `RECORDED` lists the types
for which the emulator has no service: only the stack knows their properties.
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
    """Add the handlers to ministack, once, before it serves. Importing ministack reads the environment."""
    from local.emulator.handlers import (
        alerts,
        base,
        edge,
        identity,
        network,
        rds,
        registry,
        secrets_manager,
        service,
        service_role,
        storage,
        updates,
    )

    for part in (network, alerts, storage, registry, rds, secrets_manager, edge, service, identity):
        part.register()
    for resource_type in RECORDED:
        base.record(resource_type, alerts.check_monitor if resource_type == "AWS::CE::AnomalyMonitor" else None)
    base.install()
    updates.register()
    service_role.register()
