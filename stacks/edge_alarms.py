"""CarmenProdEdgeAlarms: alarms of CloudFront and WAF, in the region of their metrics."""

from __future__ import annotations

from aws_cdk import CrossStackReferences, ReferenceStrength
from constructs import Construct

from constructs_lib.foundation.alarm import Alerting
from constructs_lib.monitoring.edge_alarms import CrossRegionForwarder, EdgeAlarms
from settings.constants import EDGE_REGION
from settings.model import Settings
from stacks.base import CarmenStack
from stacks.edge import EdgeStack
from stacks.edge_global import EdgeGlobalStack
from stacks.service import ServiceStack


class EdgeAlarmsStack(CarmenStack):
    """Comes after the distribution, which comes after EdgeGlobal, and after the service, whose alarms suppress some of these."""

    def __init__(
        self,
        scope: Construct,
        settings: Settings,
        *,
        alerting: Alerting,
        edge_global: EdgeGlobalStack,
        edge: EdgeStack,
        service: ServiceStack,
    ) -> None:
        super().__init__(scope, "EdgeAlarms", settings=settings, description="Alarms of CloudFront and the firewall", region=EDGE_REGION)
        same_region = settings.region == EDGE_REGION
        if not same_region:
            # Alarms cannot publish to, or be suppressed from, another region.
            CrossStackReferences.of(edge.distribution.distribution).produce(ReferenceStrength.WEAK)
        self.alarms = EdgeAlarms(
            self,
            "EdgeAlarms",
            alerting=alerting if same_region else Alerting(alerting.environment, alerting.settings, topic_arn=None),
            settings=settings.edge,
            distribution_id=edge.distribution.distribution.distribution_id,
            firewall_metric=edge_global.firewall.metric_name,
            origin_down=service.alarms.origin_down if same_region else None,
        )
        if not same_region:
            CrossRegionForwarder(self, "AlarmForwarder", alarms=self.alarms.notifying, region=settings.region)
