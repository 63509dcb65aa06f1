"""CarmenProdEdgeGlobal: CloudFront's resources in us-east-1."""

from __future__ import annotations

from aws_cdk import CrossStackReferences, ReferenceStrength, RemovalPolicy
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_route53 as route53
from constructs import Construct

from constructs_lib.edge.waf import WebFirewall
from constructs_lib.monitoring.saved_queries import FIREWALL, SavedQueries
from settings.constants import EDGE_REGION
from settings.model import Settings
from settings.sections import Domain
from stacks.base import CarmenStack


class EdgeGlobalStack(CarmenStack):
    """The web firewall, and the certificate of the domain."""

    def __init__(self, scope: Construct, settings: Settings) -> None:
        super().__init__(scope, "EdgeGlobal", settings=settings, description="Web firewall and certificate of the edge", region=EDGE_REGION)
        self.firewall = WebFirewall(self, "WebFirewall", settings=settings.edge, prefix=settings.stack_prefix)
        SavedQueries(
            self,
            "Queries",
            environment=settings.stack_prefix,
            folder="Firewall",
            log_groups=[self.firewall.log_group],
            queries=FIREWALL,
        )
        self.certificate = domain_certificate(self, settings.domain)
        if settings.region != EDGE_REGION:
            # Exports do not cross regions; a weak reference reads the output at deployment.
            CrossStackReferences.of(self.firewall.web_acl).produce(ReferenceStrength.WEAK)


def domain_certificate(scope: Construct, domain: Domain | None) -> acm.Certificate | None:
    """Define a certificate for the domain in the stack's region, validated by DNS; None without a domain.

    Another domain, or none, must not fail because CloudFront still uses this certificate: other stacks read its ARN at deployment,
    and ACM, which refuses to delete a certificate in use, is not asked to. Certificates are free.
    """
    if not domain:
        return None
    zone = route53.HostedZone.from_hosted_zone_attributes(
        scope, "Zone", hosted_zone_id=domain.hosted_zone_id, zone_name=domain.hosted_zone_name
    )
    certificate = acm.Certificate(scope, "Certificate", domain_name=domain.name, validation=acm.CertificateValidation.from_dns(zone))
    certificate.apply_removal_policy(RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE)
    CrossStackReferences.of(certificate).produce(ReferenceStrength.WEAK)
    return certificate
