from __future__ import annotations

from tests.conftest import Built, by_id


def test_log_groups_are_kept_as_long_as_the_settings_say(built: Built) -> None:
    """A month for what functions say of themselves, the settings' days for the rest."""
    groups = built.resources("AWS::Logs::LogGroup")
    days = {name.split("/")[1][:-8]: group["Properties"]["RetentionInDays"] for name, group in groups.items() if "/Prod" in f"/{name[6:]}"}
    assert days == {
        "BackupFargateLogGroup": 30,
        "BackupFunctionLogGroup": 30,
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


def test_every_sdk_call_log_is_kept_a_month(built: Built) -> None:
    groups = {name: group for name, group in built.resources("AWS::Logs::LogGroup").items() if "SdkCallLogGroup" in name}
    assert {group["Properties"]["RetentionInDays"] for group in groups.values()} == {30}


def test_access_logs_and_old_pages_end(built: Built) -> None:
    buckets = built.resources("AWS::S3::Bucket", "CarmenProdStorage")
    (logs,) = by_id(buckets, "/AccessLogs")["Properties"]["LifecycleConfiguration"]["Rules"]
    assert (logs["ExpirationInDays"], logs["Status"]) == (365, "Enabled")
    assert logs["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}
    (pages,) = by_id(buckets, "/Pages")["Properties"]["LifecycleConfiguration"]["Rules"]
    assert (pages["NoncurrentVersionExpiration"], pages["Status"]) == ({"NoncurrentDays": 30}, "Enabled")
