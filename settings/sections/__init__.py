"""The tables of an environment's TOML file, one module per group.

Defaults are production's, with the operations manual's figures (exceptions: ADR 0003); `staging.toml` and `dev.toml` contain what is
smaller there. Names include units. Field types are in `settings/types.py`, cross-field checks in `settings/validation.py`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from settings import types
from settings.constants import ACCOUNT_STACK, EDGE_REGION, PIPELINE_ACCESS, PREVIEW_PREFIX
from settings.field_metadata import NEW_ENVIRONMENT, Fixed, InOrder, Protective, given, leaves_stack, switched_off
from settings.sections.alarms import Alarms, Alerts, AnomalyDetection, Budget, Endpoint, Slo, Uptime
from settings.sections.application import Application, ExtraSecret
from settings.sections.backup_maintenance_rotation import Operations
from settings.sections.base import Section
from settings.sections.database import Cache, ConnectionPool, Database, DatabaseParameters
from settings.sections.edge import Edge, Headers, PathRule, RateLimits, Redirect, Rewrite
from settings.sections.network import Domain, Network
from settings.sections.pipeline import Pipeline, Tags
from settings.sections.service import ScheduledScaling, Service, WorkingHours
from settings.sections.storage import Storage

__all__ = [
    "Alarms",
    "Alerts",
    "AnomalyDetection",
    "Application",
    "Budget",
    "Cache",
    "ConnectionPool",
    "Database",
    "DatabaseParameters",
    "Domain",
    "Edge",
    "Endpoint",
    "ExtraSecret",
    "Headers",
    "Network",
    "Operations",
    "PathRule",
    "Pipeline",
    "RateLimits",
    "Redirect",
    "Rewrite",
    "ScheduledScaling",
    "Section",
    "Service",
    "Slo",
    "Storage",
    "Tables",
    "Tags",
    "Uptime",
    "WorkingHours",
]


class Tables(Section):
    """All settings of one environment. `name` is the file's name."""

    name: Annotated[types.EnvironmentName, Fixed("Every stack's name contains it: it would be a second environment.", NEW_ENVIRONMENT)] = (
        Field(description="The file's name: CarmenProd for prod.toml.")
    )
    region: Annotated[types.Region, Fixed("Stacks cannot move: it would be a second environment, without data.", NEW_ENVIRONMENT)] = Field(
        "us-east-1", description="The application's AWS region; the edge is in us-east-1."
    )
    account: Annotated[
        types.AccountId | None,
        Fixed(
            "Stacks cannot move: it would be a second environment, without data.",
            NEW_ENVIRONMENT,
            applies=lambda old, new: None not in (old, new),
        ),
    ] = Field(None, description="AWS account; default: the account of the credentials at deployment.")
    permissions_boundary: Annotated[
        types.PolicyName | None,
        Protective(given),
        InOrder(
            "Roles can only refer to a policy that exists, and CarmenBoundary forbids CloudFormation’s role to remove it (ADR 0016).",
            (
                "To set it, as an administrator: `./carmen access`, then `./carmen bootstrap` for each region with "
                "`--custom-permissions-boundary` (docs/first-pipeline.md, step 2).",
                "To remove it, as an administrator: `./carmen bootstrap` for each region with `--no-previous-parameters` and your other "
                "options; `./carmen account check` shows the boundary of CloudFormation’s role.",
                "`./carmen deploy --steps-taken {key}`.",
            ),
        ),
    ] = Field(None, description="Name of the permissions boundary of every role.")
    termination_protection: Annotated[bool, Protective(opt_out=True)] = Field(
        True, description="Stateful stacks and the load balancer refuse deletion."
    )
    keep_data: Annotated[bool, Protective(opt_out=True)] = Field(
        True, description="Keep buckets, database, images, keys, secrets and logs when their stack is deleted."
    )
    working_hours: WorkingHours | None = Field(None, description="Default: it always runs. Not for production.")
    tags: Tags = Tags()
    network: Network = Network()
    domain: Domain | None = None
    alerts: Alerts = Alerts()
    storage: Storage = Storage()
    database: Database = Database()
    cache: Cache = Cache()
    edge: Edge = Edge()
    service: Service = Service()
    operations: Operations = Operations()
    uptime: Uptime = Uptime()
    alarms: Alarms = Alarms()
    slo: Slo = Slo()
    budget: Budget = Budget()
    anomaly_detection: Annotated[
        AnomalyDetection | None,
        InOrder(
            "Its stack leaves the app, and a deployment deletes no stacks: it would continue to send alerts.",
            leaves_stack(ACCOUNT_STACK),
            applies=switched_off,
        ),
    ] = Field(None, description="Default: none. Of the account, in one of its environments.")
    pipeline: Annotated[
        Pipeline | None,
        InOrder(
            "The stack of its roles leaves the app, and a deployment deletes no stacks: the roles could still be assumed.",
            (
                "`./carmen deploy --steps-taken {key}`.",
                f"In {EDGE_REGION}, remove the termination protection of {PIPELINE_ACCESS}NAME (aws cloudformation "
                f"update-termination-protection), and delete it: `aws cloudformation delete-stack --stack-name {PIPELINE_ACCESS}NAME`. "
                f"Keep {PIPELINE_ACCESS} itself: the CDK's roles have its permissions boundary.",
            ),
            applies=switched_off,
        ),
    ] = None
    application: Application = Application()

    @property
    def stack_prefix(self) -> str:
        """`CarmenProd` for `prod`, `CarmenPreview-pr-123` for the preview `pr-123`."""
        return f"Carmen{self.name.capitalize()}"

    @property
    def release_role(self) -> str | None:
        """The name of CloudFormation's role for releases, if a pipeline may release images (stack CarmenPipelineAccess<Environment>)."""
        return f"{self.stack_prefix}Release" if self.pipeline and self.pipeline.application_repository and not self.preview else None

    @property
    def targets(self) -> list[str]:
        """Stacks to give to `cdk deploy`: the top one, which includes all others, and those whose failure must not roll it back."""
        budget = [f"{self.stack_prefix}Budget"] if self.budget.monthly_usd else []
        return [self.stack_prefix, *budget, *([ACCOUNT_STACK] if self.anomaly_detection else [])]

    @property
    def regions(self) -> list[str]:
        """All regions with stacks of the environment: the main one first, CloudFront's, and the region of backup copies."""
        copies = self.storage.backup_copy_region
        return list(dict.fromkeys([self.region, EDGE_REGION, *([copies] if copies else [])]))

    @property
    def preview(self) -> str | None:
        """`pr-123` for `preview-pr-123`; None for an environment with a TOML file."""
        return self.name.removeprefix(PREVIEW_PREFIX) if self.name.startswith(PREVIEW_PREFIX) else None
