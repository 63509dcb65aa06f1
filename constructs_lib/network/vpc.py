"""The VPC: public, private and isolated subnets, NAT, endpoints and flow logs."""

from __future__ import annotations

import ipaddress

from aws_cdk import RemovalPolicy
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from constructs import Construct

from constructs_lib.foundation.arns import ACCOUNT, account_arn
from constructs_lib.foundation.log_retention import retention_days
from constructs_lib.foundation.sdk_call import SdkCall
from constructs_lib.foundation.security_group import ClosedSecurityGroup
from constructs_lib.foundation.service_principals import same_account_principal
from constructs_lib.network.nat_instances import NatInstances
from settings import sections

MAX_ZONES = 3
# IAM service prefix → its interface endpoints, for every service that functions and tasks in the private subnets call; S3 has a gateway
# endpoint. A rule compares it with their roles, whatever the settings (tests/rules/structure_rules.py): a missing endpoint is an outage
# without NAT, and a needless one costs 7.30 USD a month and zone. Fargate needs ECR, Logs and Secrets Manager through the task's interface
# (https://docs.aws.amazon.com/AmazonECS/latest/developerguide/platform-version-migration.html), and no endpoint of its agent.
ENDPOINTS = {
    "ecr": {"EcrApi": ec2.InterfaceVpcEndpointAwsService.ECR, "EcrDocker": ec2.InterfaceVpcEndpointAwsService.ECR_DOCKER},
    "ecs": {"Ecs": ec2.InterfaceVpcEndpointAwsService.ECS},
    "elasticache": {"ElastiCache": ec2.InterfaceVpcEndpointAwsService.ELASTICACHE},
    "kms": {"Kms": ec2.InterfaceVpcEndpointAwsService.KMS},
    "logs": {"Logs": ec2.InterfaceVpcEndpointAwsService.CLOUDWATCH_LOGS},
    "secretsmanager": {"SecretsManager": ec2.InterfaceVpcEndpointAwsService.SECRETS_MANAGER},
    "ssmmessages": {"SsmMessages": ec2.InterfaceVpcEndpointAwsService.SSM_MESSAGES},
}


class Network(Construct):
    """A VPC with subnets in zones given by zone id, which names the same zone in every account.

    Its stack must override `availability_zones`; the CDK would otherwise look zones up in AWS.
    """

    def __init__(self, scope: Construct, construct_id: str, *, settings: sections.Network) -> None:
        super().__init__(scope, construct_id)
        self._settings = settings
        self.vpc = self._define_vpc()
        self._close_default_security_group()
        self._set_zone_ids()
        if settings.nat_instances:
            NatInstances(self, "Nat", vpc=self.vpc, cidr=settings.cidr, count=settings.nat_gateways)
        self._add_endpoints()
        self._add_flow_logs()

    def _define_vpc(self) -> ec2.Vpc:
        prefix = ipaddress.IPv4Network(self._settings.cidr).prefixlen
        has_gateways = self._settings.nat_gateways > 0 and not self._settings.nat_instances
        tiers = {
            "Public": ec2.SubnetType.PUBLIC,
            # Without a gateway, PRIVATE_WITH_EGRESS synthesizes and then fails in AWS.
            "Private": ec2.SubnetType.PRIVATE_WITH_EGRESS if has_gateways else ec2.SubnetType.PRIVATE_ISOLATED,
            "Isolated": ec2.SubnetType.PRIVATE_ISOLATED,
        }
        return ec2.Vpc(
            self,
            "Vpc",
            ip_addresses=ec2.IpAddresses.cidr(self._settings.cidr),
            max_azs=len(self._settings.zones),
            # Reserve ranges: a zone added later must not change the other subnets' ranges, which would replace them.
            reserved_azs=MAX_ZONES - len(self._settings.zones),
            nat_gateways=0 if self._settings.nat_instances else self._settings.nat_gateways,
            restrict_default_security_group=False,  # _close_default_security_group does it
            subnet_configuration=[
                ec2.SubnetConfiguration(name=name, subnet_type=kind, cidr_mask=prefix + 4, map_public_ip_on_launch=False)
                if kind is ec2.SubnetType.PUBLIC
                else ec2.SubnetConfiguration(name=name, subnet_type=kind, cidr_mask=prefix + 4)
                for name, kind in tiers.items()
            ],
        )

    @property
    def private_subnets(self) -> ec2.SubnetSelection:
        """Subnets of tasks, functions and the load balancer: egress, no ingress from the internet."""
        return ec2.SubnetSelection(subnet_group_name="Private")

    @property
    def isolated_subnets(self) -> ec2.SubnetSelection:
        """Subnets of databases: neither ingress nor egress."""
        return ec2.SubnetSelection(subnet_group_name="Isolated")

    def _close_default_security_group(self) -> None:
        """Revoke EC2's two default rules. The CDK's function for this has no tags and a log that never expires."""
        group = self.vpc.vpc_default_security_group
        for direction, rule in {
            "Ingress": {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group, "UserId": ACCOUNT}]},
            "Egress": {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]},
        }.items():
            SdkCall(
                self,
                f"CloseDefaultSecurityGroup{direction}",
                service="EC2",
                action=f"RevokeSecurityGroup{direction}",
                parameters={"GroupId": group, "IpPermissions": [rule]},
                physical_id=f"{group}-{direction.lower()}",
                ignore_errors="InvalidPermission.NotFound",
                permissions=[
                    iam.PolicyStatement(
                        actions=[f"ec2:RevokeSecurityGroup{direction}"],
                        resources=[account_arn("ec2", f"security-group/{group}")],
                    )
                ],
            )

    def _set_zone_ids(self) -> None:
        """Replace zone names, which the CDK sets, by zone ids."""
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
        for name, service in (one for endpoints in ENDPOINTS.values() for one in endpoints.items()):
            self.vpc.add_interface_endpoint(
                f"{name}Endpoint", service=service, subnets=self.private_subnets, security_groups=[security_group], open=False
            )

    def _add_flow_logs(self) -> None:
        group = logs.LogGroup(
            self, "FlowLogGroup", retention=retention_days(self._settings.flow_log_retention_days), removal_policy=RemovalPolicy.DESTROY
        )
        role = iam.Role(
            self, "FlowLogRole", assumed_by=same_account_principal("vpc-flow-logs.amazonaws.com"), description="Writes the VPC's flow logs"
        )
        group.grant(role, "logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents")
        flow_log = ec2.CfnFlowLog(  # the CDK's construct would allow the role to pass itself
            self,
            "FlowLog",
            resource_id=self.vpc.vpc_id,
            resource_type="VPC",
            traffic_type="ALL",
            log_destination_type="cloud-watch-logs",
            log_group_name=group.log_group_name,
            deliver_logs_permission_arn=role.role_arn,
        )
        flow_log.node.add_dependency(role)  # and its policy
