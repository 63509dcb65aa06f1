"""A security group that lets nothing in and nothing out until somebody says so."""

from __future__ import annotations

from aws_cdk import aws_ec2 as ec2
from constructs import Construct


class ClosedSecurityGroup(ec2.SecurityGroup):
    """EC2 gives a new group a rule that lets everything out, and CloudFormation drops it only for a rule in the group itself.

    Rules between groups are resources of their own, so the group carries one that leads nowhere.
    Source: AWS "AWS::EC2::SecurityGroup", example "Remove default rule".
    """

    def __init__(self, scope: Construct, construct_id: str, *, vpc: ec2.IVpc, description: str) -> None:
        super().__init__(scope, construct_id, vpc=vpc, description=description, allow_all_outbound=False)
        self.add_egress_rule(ec2.Peer.ipv4("127.0.0.1/32"), ec2.Port.all_traffic(), "In place of the default rule: leads nowhere")
