"""The acceptance checks of `make local`, in order."""

from __future__ import annotations

from collections.abc import Callable

from local.acceptance import alerting, backup, database, functions, operator_commands, preview, release, rotation
from local.acceptance.assertions import NotAccepted
from local.deployment import Deployment
from tools.environment import FailedError, NotDeployedError, RefusedError

# Each check builds on what the checks before it left.
CHECKS: tuple[Callable[[Deployment], str], ...] = (
    release.placeholder,
    database.database_roles,
    database.application_privileges,
    release.releases_and_rollback,
    release.application_environment,
    functions.function_permissions,
    database.erp_data,
    backup.backup,
    backup.restore_drill,
    backup.backup_task,
    backup.maintenance,
    rotation.rotation,
    rotation.single_user_rotation_fails,
    operator_commands.operator_commands,
    operator_commands.runbook_commands,
    operator_commands.preflight_and_postflight,
    operator_commands.drift_detection,
    operator_commands.report_against_deployed,
    alerting.one_alert_per_outage,
    operator_commands.upload,
    preview.preview_is_created_and_removed,
)


def accept(deployment: Deployment, say: Callable[[str], None]) -> None:
    """Run every check; raise NotAccepted at the first that fails, or DeploymentError when the disk is full."""
    for check in CHECKS:
        try:
            say(check(deployment))
        except (RefusedError, FailedError, NotDeployedError) as refused:
            deployment.expect_room()
            raise NotAccepted(f"{check.__name__.replace('_', ' ')}: {refused}") from refused
        deployment.expect_room()
