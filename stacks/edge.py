"""CarmenProdEdge: everything between users and the container."""

from __future__ import annotations

from aws_cdk import aws_route53 as route53
from aws_cdk import aws_route53_targets as targets
from constructs import Construct

from constructs_lib.compute.python_function import libraries_layer
from constructs_lib.edge.distribution import Distribution
from constructs_lib.edge.load_balancer import LoadBalancer
from constructs_lib.foundation.acknowledgements import acknowledge
from constructs_lib.storage.buckets import ReleaseFilesBucket
from settings.constants import EDGE_REGION
from settings.model import Settings
from stacks.base import CarmenStack
from stacks.edge_global import EdgeGlobalStack, domain_certificate
from stacks.network import NetworkStack
from stacks.storage import StorageStack


class EdgeStack(CarmenStack):
    """Comes before the service, which needs CloudFront's domain name in NEXTAUTH_URL."""

    def __init__(
        self, scope: Construct, settings: Settings, *, network: NetworkStack, storage: StorageStack, edge_global: EdgeGlobalStack
    ) -> None:
        super().__init__(scope, "Edge", settings=settings, description="CloudFront, VPC origin, internal load balancer, DNS")
        same_region = settings.region == EDGE_REGION
        self.balancer = LoadBalancer(
            self,
            "Balancer",
            settings=settings.service,
            origin_timeout_seconds=settings.edge.origin_timeout_seconds,
            network=network.network,
            access_logs=storage.access_logs,
            # The certificate must be in the load balancer's region.
            certificate=edge_global.certificate if same_region else domain_certificate(self, settings.domain),
            deletion_protection=settings.termination_protection,
        )
        for reason in settings.opt_outs("termination_protection").values():
            acknowledge(self.balancer.load_balancer, {"NIST.800.53.R5::NIST.800.53.R5-ELBDeletionProtectionEnabled": reason})
        # In this stack, because its policy names the distribution.
        self.release_files = ReleaseFilesBucket(self, "ReleaseFiles", settings=settings.storage, access_logs=storage.access_logs)
        self.distribution = Distribution(
            self,
            "Edge",
            settings=settings.edge,
            domain=settings.domain,
            vpc_origin=self.balancer.vpc_origin,
            pages=storage.pages,
            release_files=self.release_files,
            access_logs=storage.access_logs,
            certificate=edge_global.certificate,
            web_acl_arn=edge_global.firewall.web_acl.attr_arn,
        )
        self.balancer.allow_cloudfront(self.distribution.distribution, libraries_layer(self))
        self._define_dns_records(settings)
        self.always_export(self.distribution.distribution.distribution_id, self.distribution.distribution.distribution_domain_name)

    def _define_dns_records(self, settings: Settings) -> None:
        if not settings.domain:
            return
        zone = route53.HostedZone.from_hosted_zone_attributes(
            self, "DomainZone", hosted_zone_id=settings.domain.hosted_zone_id, zone_name=settings.domain.hosted_zone_name
        )
        target = route53.RecordTarget.from_alias(targets.CloudFrontTarget(self.distribution.distribution))
        route53.ARecord(self, "Ipv4", zone=zone, record_name=settings.domain.name, target=target)
        route53.AaaaRecord(self, "Ipv6", zone=zone, record_name=settings.domain.name, target=target)
