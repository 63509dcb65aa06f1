"""CarmenProdEdgeAlarms: the edge's alarms, where its metrics are."""

from __future__ import annotations

from aws_cdk import CfnResource, CrossStackReferences, ReferenceStrength
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
    """After the distribution, which EdgeGlobal stands before; after the service, whose alarms are the cause of some of these."""

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
        at_home = settings.region == EDGE_REGION
        if not at_home:
            # An alarm cannot publish into another region, nor be silenced by one there.
            CrossStackReferences.of(edge.distribution.distribution).produce(ReferenceStrength.WEAK)
        self.alarms = EdgeAlarms(
            self,
            "EdgeAlarms",
            alerting=alerting if at_home else Alerting(alerting.environment, alerting.settings, topic_arn=None),
            settings=settings.edge,
            distribution_id=edge.distribution.distribution.distribution_id,
            firewall_metric=edge_global.firewall.metric_name,
            origin_down=service.alarms.origin_down if at_home else None,
        )
        if not at_home:
            for alarm in self.alarms.node.find_all():  # the dashboard shows their state
                if isinstance(alarm, CfnResource):
                    CrossStackReferences.of(alarm).produce(ReferenceStrength.WEAK)
            CrossRegionForwarder(self, "AlarmForwarder", alarms=self.alarms.notifying, region=settings.region)
