"""The VPC: public, private and isolated subnets, the ways out of it, and its flow logs."""

from __future__ import annotations

import ipaddress

from aws_cdk import RemovalPolicy
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_logs as logs
from constructs import Construct

from constructs_lib.closed_security_group import ClosedSecurityGroup
from constructs_lib.retention import retention_days
from environments import schema

MOST_ZONES = 3
ENDPOINT_SERVICES = {
    "EcrApi": ec2.InterfaceVpcEndpointAwsService.ECR,
    "EcrDocker": ec2.InterfaceVpcEndpointAwsService.ECR_DOCKER,
    "Logs": ec2.InterfaceVpcEndpointAwsService.CLOUDWATCH_LOGS,
    "Monitoring": ec2.InterfaceVpcEndpointAwsService.CLOUDWATCH_MONITORING,
    "SecretsManager": ec2.InterfaceVpcEndpointAwsService.SECRETS_MANAGER,
    "Kms": ec2.InterfaceVpcEndpointAwsService.KMS,
    "Ssm": ec2.InterfaceVpcEndpointAwsService.SSM,
    "SsmMessages": ec2.InterfaceVpcEndpointAwsService.SSM_MESSAGES,
}


class Network(Construct):
    """A VPC whose subnets lie in zones named by id, so that an environment means the same places in every account.

    The stack it stands in must override `availability_zones` (explicit zones would otherwise be looked up in AWS).
    """

    def __init__(self, scope: Construct, construct_id: str, *, settings: schema.Network) -> None:
        super().__init__(scope, construct_id)
        self._settings = settings
        self.vpc = self._define_vpc()
        self._place_subnets_by_zone_id()
        self._add_endpoints()
        self._add_flow_logs()

    def _define_vpc(self) -> ec2.Vpc:
        prefix = ipaddress.IPv4Network(self._settings.cidr).prefixlen
        has_nat = self._settings.nat_gateways > 0
        tiers = {
            "Public": ec2.SubnetType.PUBLIC,
            # Without NAT, "private with egress" would synthesize and then fail in AWS.
            "Private": ec2.SubnetType.PRIVATE_WITH_EGRESS if has_nat else ec2.SubnetType.PRIVATE_ISOLATED,
            "Isolated": ec2.SubnetType.PRIVATE_ISOLATED,
        }
        return ec2.Vpc(
            self,
            "Vpc",
            ip_addresses=ec2.IpAddresses.cidr(self._settings.cidr),
            max_azs=len(self._settings.zones),
            # A zone added later must not move the address ranges of the others: that would replace their subnets.
            reserved_azs=MOST_ZONES - len(self._settings.zones),
            nat_gateways=self._settings.nat_gateways,
            restrict_default_security_group=True,
            subnet_configuration=[
                ec2.SubnetConfiguration(name=name, subnet_type=kind, cidr_mask=prefix + 4, map_public_ip_on_launch=False)
                if kind is ec2.SubnetType.PUBLIC
                else ec2.SubnetConfiguration(name=name, subnet_type=kind, cidr_mask=prefix + 4)
                for name, kind in tiers.items()
            ],
        )

    @property
    def private_subnets(self) -> ec2.SubnetSelection:
        """Where tasks, functions and the load balancer live: a way out, none in."""
        return ec2.SubnetSelection(subnet_group_name="Private")

    @property
    def isolated_subnets(self) -> ec2.SubnetSelection:
        """Where data lives: no way out, none in."""
        return ec2.SubnetSelection(subnet_group_name="Isolated")

    def _place_subnets_by_zone_id(self) -> None:
        """CDK knows zone names only; CloudFormation takes ids, which mean the same zone in every account."""
        for tier in ("Public", "Private", "Isolated"):
            subnets = self.vpc.select_subnets(subnet_group_name=tier).subnets
            for subnet, zone in zip(subnets, self._settings.zones, strict=True):
                resource = subnet.node.default_child
                assert isinstance(resource, ec2.CfnSubnet)
                resource.availability_zone = None
                resource.availability_zone_id = zone

    def _add_endpoints(self) -> None:
        self.vpc.add_gateway_endpoint("S3Endpoint", service=ec2.GatewayVpcEndpointAwsService.S3)
        if not self._settings.interface_endpoints:
            return
        security_group = ClosedSecurityGroup(
            self, "EndpointSecurityGroup", vpc=self.vpc, description="Interface endpoints: HTTPS from the VPC"
        )
        security_group.add_ingress_rule(ec2.Peer.ipv4(self._settings.cidr), ec2.Port.HTTPS, "HTTPS from the VPC")
        for name, service in ENDPOINT_SERVICES.items():
            self.vpc.add_interface_endpoint(
                f"{name}Endpoint", service=service, subnets=self.private_subnets, security_groups=[security_group], open=False
            )

    def _add_flow_logs(self) -> None:
        group = logs.LogGroup(
            self, "FlowLogGroup", retention=retention_days(self._settings.flow_log_retention_days), removal_policy=RemovalPolicy.DESTROY
        )
        self.vpc.add_flow_log("FlowLog", destination=ec2.FlowLogDestination.to_cloud_watch_logs(group))
