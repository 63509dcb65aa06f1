from __future__ import annotations

from tests.conftest import Built


def test_log_groups_have_the_retention_of_the_settings(built: Built) -> None:
    """30 days for functions, the days of the settings for the rest."""
    groups = built.resources("AWS::Logs::LogGroup")
    days = {name.split("/")[1][:-8]: group["Properties"]["RetentionInDays"] for name, group in groups.items() if "/Prod" in f"/{name[6:]}"}
    assert days == {
        "BackupFargateLogGroup": 30,
        "BackupFunctionLogGroup": 30,
        "BalancerOriginSecurityGroupLogGroup": 30,
        "DatabaseRolesFunctionLogGroup": 30,
        "DrillFargateLogGroup": 30,
        "DrillFunctionLogGroup": 30,
        "MaintenanceFunctionLogGroup": 30,
        "MigrationLogGroup": 90,
        "NetworkFlowLogGroup": 90,
        "OperationsLogGroup": 90,
        "NotifierFunctionLogGroup": 30,
        "ProbeFunctionLogGroup": 30,
        "ReleaseFilesLogGroup": 90,
        "RotationFunctionLogGroup": 30,
        "SdkCallLogGroup": 30,
        "UptimeFunctionLogGroup": 30,
        "WebFirewallLogGroup": 90,
        "WebLogGroup": 90,
    }


def test_logs_of_sdk_calls_are_kept_30_days(built: Built) -> None:
    groups = {name: group for name, group in built.resources("AWS::Logs::LogGroup").items() if "SdkCallLogGroup" in name}
    assert {group["Properties"]["RetentionInDays"] for group in groups.values()} == {30}
