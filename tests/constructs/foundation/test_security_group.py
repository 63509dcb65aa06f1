from __future__ import annotations

from aws_cdk import aws_ec2 as ec2

from constructs_lib.foundation.security_group import ClosedSecurityGroup
from tests.conftest import only
from tests.constructs.conftest import stack, template
from tests.constructs.neighbours import ExistingNetwork


def test_security_group_allows_neither_ingress_nor_egress() -> None:
    one = stack()
    ClosedSecurityGroup(one, "Group", vpc=ExistingNetwork(one).vpc, description="For a test")
    group = only(template(one).resources("AWS::EC2::SecurityGroup"))
    assert "SecurityGroupIngress" not in group
    (rule,) = group["SecurityGroupEgress"]  # replaces EC2's default rule, which allows all egress
    assert (rule["CidrIp"], rule["IpProtocol"]) == ("127.0.0.1/32", "-1")


def test_security_group_keeps_its_rule_when_others_are_added() -> None:
    one = stack()
    group = ClosedSecurityGroup(one, "Group", vpc=ExistingNetwork(one).vpc, description="For a test")
    group.add_egress_rule(ec2.Peer.any_ipv4(), ec2.Port.HTTPS, "AWS services")
    rules = only(template(one).resources("AWS::EC2::SecurityGroup"))["SecurityGroupEgress"]
    assert [rule["CidrIp"] for rule in rules] == ["127.0.0.1/32", "0.0.0.0/0"]
