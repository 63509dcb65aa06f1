"""A security group without ingress and egress."""

from __future__ import annotations

from aws_cdk import aws_ec2 as ec2
from constructs import Construct

LOOPBACK, ALL_TRAFFIC = ec2.Peer.ipv4("127.0.0.1/32"), ec2.Port.all_traffic()


class ClosedSecurityGroup(ec2.SecurityGroup):
    """A group with one egress rule, to the loopback address: it replaces EC2's default rule, which allows all egress.

    CloudFormation removes the default only for a rule inside the group, and rules between groups are separate resources.
    Source: AWS "AWS::EC2::SecurityGroup", example "Remove default rule".
    """

    def __init__(self, scope: Construct, construct_id: str, *, vpc: ec2.IVpc, description: str) -> None:
        super().__init__(scope, construct_id, vpc=vpc, description=description, allow_all_outbound=False)
        self.add_egress_rule(LOOPBACK, ALL_TRAFFIC, "No egress: replaces the default rule, which allows all")
