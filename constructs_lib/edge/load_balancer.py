"""The internal load balancer: only CloudFront's VPC origin reaches it."""

from __future__ import annotations

from aws_cdk import Duration
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_cloudfront as cloudfront
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_elasticloadbalancingv2 as elb
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from constructs import Construct

from constructs_lib.edge.origin_security_group import OriginSecurityGroup
from constructs_lib.foundation.alarm import MINUTE, Metric
from constructs_lib.foundation.security_group import ClosedSecurityGroup
from constructs_lib.network.vpc import Network
from settings import sections

CONTAINER_PORT = 3006


def idle_timeout_seconds(origin_timeout_seconds: int) -> int:
    """Idle time-out of the load balancer: longer than CloudFront's, so that CloudFront answers the user."""
    return origin_timeout_seconds + 10


def keep_alive_milliseconds(origin_timeout_seconds: int) -> int:
    """Keep-alive time-out of the application: longer than the load balancer's, or users see 502 from closed connections."""
    return (idle_timeout_seconds(origin_timeout_seconds) + 5) * 1000


class LoadBalancer(Construct):
    """An internal application load balancer, its target group, and CloudFront's VPC origin.

    HTTPS with the domain's certificate; HTTP without a domain, since CloudFront accepts only certificates of public
    authorities (ADR 0005). `task_security_group` belongs to the tasks: it is here so that the load balancer's rule needs
    no reference to a later stack. With `deletion_protection` AWS refuses to delete the load balancer: switch it off and deploy first.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: sections.Service,
        origin_timeout_seconds: int,
        network: Network,
        access_logs: s3.IBucket,
        certificate: acm.ICertificate | None,
        deletion_protection: bool,
    ) -> None:
        super().__init__(scope, construct_id)
        self._settings = settings
        self._network = network
        self.security_group = ClosedSecurityGroup(
            self, "SecurityGroup", vpc=network.vpc, description="Load balancer: from the CloudFront VPC origin to the tasks"
        )
        self.task_security_group = ClosedSecurityGroup(
            self, "TaskSecurityGroup", vpc=network.vpc, description="Tasks: from the load balancer to data stores and AWS"
        )
        self.load_balancer = self._define_load_balancer(origin_timeout_seconds, access_logs, deletion_protection)
        self.target_group = self._define_target_group()
        self._name = self.load_balancer.load_balancer_full_name
        self._target_group_name = self.target_group.target_group_full_name
        self._add_listener(certificate)
        self._https = certificate is not None
        self.vpc_origin = self._define_vpc_origin()

    def allow_cloudfront(self, distribution: cloudfront.Distribution, libraries: lambda_.ILayerVersion) -> None:
        """Allow only CloudFront's VPC origins, by their security group, which AWS creates with `distribution`.

        Source: CloudFront Developer Guide, "Restrict access with VPC origins". Not CloudFront's managed prefix list, which counts as
        55 of a group's 60 rules: changing the port needs the new rule before the old one is deleted (ADR 0005).
        """
        group = OriginSecurityGroup(
            self,
            "OriginSecurityGroup",
            vpc=self._network.vpc,
            vpc_origin=self.vpc_origin,
            distribution=distribution,
            libraries=libraries,
        )
        port = 443 if self._https else 80
        ec2.CfnSecurityGroupIngress(
            self,
            "IngressFromCloudFront",
            group_id=self.security_group.security_group_id,
            source_security_group_id=group.group_id,
            ip_protocol="tcp",
            from_port=port,
            to_port=port,
            description="From the CloudFront VPC origin",
        )

    def metric(self, name: str, *, statistic: str = "Sum", period_seconds: int = MINUTE, label: str = "") -> Metric:
        """A metric of the load balancer, such as RequestCount or HTTPCode_ELB_5XX_Count."""
        return Metric("AWS/ApplicationELB", name, {"LoadBalancer": self._name}, statistic, period_seconds, label)

    def metric_of_targets(self, name: str, *, statistic: str = "Sum", period_seconds: int = MINUTE, label: str = "") -> Metric:
        """A metric of its targets, the tasks, such as TargetResponseTime (s) or UnHealthyHostCount."""
        dimensions = {"LoadBalancer": self._name, "TargetGroup": self._target_group_name}
        return Metric("AWS/ApplicationELB", name, dimensions, statistic, period_seconds, label)

    def _define_load_balancer(
        self, origin_timeout_seconds: int, access_logs: s3.IBucket, deletion_protection: bool
    ) -> elb.ApplicationLoadBalancer:
        balancer = elb.ApplicationLoadBalancer(
            self,
            "LoadBalancer",
            vpc=self._network.vpc,
            vpc_subnets=self._network.private_subnets,
            internet_facing=False,
            security_group=self.security_group,
            drop_invalid_header_fields=True,
            # The edge writes the client's address. By default the load balancer would append CloudFront's own (ADR 0032).
            xff_header_processing_mode=elb.XffHeaderProcessingMode.PRESERVE,
            desync_mitigation_mode=elb.DesyncMitigationMode.STRICTEST,
            deletion_protection=deletion_protection,
            idle_timeout=Duration.seconds(idle_timeout_seconds(origin_timeout_seconds)),
        )
        balancer.log_access_logs(access_logs, "load-balancer")
        return balancer

    def _define_target_group(self) -> elb.ApplicationTargetGroup:
        return elb.ApplicationTargetGroup(
            self,
            "Targets",
            vpc=self._network.vpc,
            port=CONTAINER_PORT,
            protocol=elb.ApplicationProtocol.HTTP,
            target_type=elb.TargetType.IP,
            deregistration_delay=Duration.seconds(30),
            health_check=elb.HealthCheck(
                path=self._settings.health_path,
                healthy_http_codes="200",
                interval=Duration.seconds(15),
                timeout=Duration.seconds(5),
                healthy_threshold_count=2,
                unhealthy_threshold_count=3,
            ),
        )

    def _add_listener(self, certificate: acm.ICertificate | None) -> None:
        self.load_balancer.add_listener(
            "Listener",
            open=False,
            protocol=elb.ApplicationProtocol.HTTPS if certificate else elb.ApplicationProtocol.HTTP,
            certificates=[certificate] if certificate else None,
            ssl_policy=elb.SslPolicy.RECOMMENDED_TLS if certificate else None,
            default_target_groups=[self.target_group],
        )

    def _define_vpc_origin(self) -> cloudfront.VpcOrigin:
        return cloudfront.VpcOrigin(
            self,
            # The id depends on the protocol: a VPC origin in use can only be replaced (aws/aws-cdk#34629).
            "VpcOriginHttps" if self._https else "VpcOrigin",
            endpoint=cloudfront.VpcOriginEndpoint.application_load_balancer(self.load_balancer),
            protocol_policy=cloudfront.OriginProtocolPolicy.HTTPS_ONLY if self._https else cloudfront.OriginProtocolPolicy.HTTP_ONLY,
            origin_ssl_protocols=[cloudfront.OriginSslPolicy.TLS_V1_2],
        )
