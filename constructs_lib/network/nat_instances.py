"""NAT instances: small EC2 instances instead of NAT gateways, at a tenth of the price."""

from __future__ import annotations

from aws_cdk import CfnParameter, Fn
from aws_cdk import aws_ec2 as ec2
from constructs import Construct

from constructs_lib.foundation.acknowledgements import acknowledge
from constructs_lib.foundation.security_group import ClosedSecurityGroup

INSTANCE_TYPE = "t4g.nano"
PORTS = {443: "HTTPS", 25: "Mail", 465: "Mail", 587: "Mail", 2465: "Mail", 2587: "Mail"}  # of what tasks and functions connect to


class NatInstances(Construct):
    """Routes the private subnets' internet traffic through `count` instances, which accept connections from the VPC only.

    They have no role and no login. A deployment replaces them when Amazon publishes a newer image: this patches them and interrupts
    egress for a minute, as does a failed instance, which EC2 recovers.
    """

    def __init__(self, scope: Construct, construct_id: str, *, vpc: ec2.Vpc, cidr: str, count: int) -> None:
        super().__init__(scope, construct_id)
        self._security_group = self._define_security_group(vpc, cidr)
        self._image = self._define_image()
        instances = [self._define_instance(f"Machine{n}", subnet) for n, subnet in enumerate(vpc.public_subnets[:count], 1)]
        self._define_routes(vpc, instances)

    def _define_image(self) -> CfnParameter:
        """Amazon's newest image, read from its public parameter at each deployment."""
        parameter = CfnParameter(
            self,
            "Image",
            type="AWS::SSM::Parameter::Value<AWS::EC2::Image::Id>",
            default="/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-6.1-arm64",
            description="Newest image of Amazon Linux 2023",
        )
        parameter.override_logical_id("NatImage")
        return parameter

    def _define_security_group(self, vpc: ec2.Vpc, cidr: str) -> ec2.SecurityGroup:
        group = ClosedSecurityGroup(self, "SecurityGroup", vpc=vpc, description="NAT instances: connections from the VPC to the internet")
        for port, protocol in PORTS.items():
            group.add_ingress_rule(ec2.Peer.ipv4(cidr), ec2.Port.tcp(port), f"{protocol} from the VPC")
            group.add_egress_rule(ec2.Peer.any_ipv4(), ec2.Port.tcp(port), protocol)
        return group

    def _define_instance(self, construct_id: str, subnet: ec2.ISubnet) -> ec2.CfnInstance:
        setup = "\n".join(["#!/bin/bash", *ec2.NatInstanceProviderV2.DEFAULT_USER_DATA_COMMANDS])
        instance = ec2.CfnInstance(
            self,
            construct_id,
            image_id=self._image.value_as_string,
            instance_type=INSTANCE_TYPE,
            source_dest_check=False,  # it forwards packets of other addresses
            network_interfaces=[
                ec2.CfnInstance.NetworkInterfaceProperty(
                    device_index="0",
                    subnet_id=subnet.subnet_id,
                    group_set=[self._security_group.security_group_id],
                    associate_public_ip_address=True,
                )
            ],
            block_device_mappings=[
                ec2.CfnInstance.BlockDeviceMappingProperty(
                    device_name="/dev/xvda", ebs=ec2.CfnInstance.EbsProperty(encrypted=True, volume_size=8, volume_type="gp3")
                )
            ],
            metadata_options=ec2.CfnInstance.MetadataOptionsProperty(http_tokens="required", http_put_response_hop_limit=1),
            user_data=Fn.base64(setup),
        )
        instance.node.add_dependency(subnet.internet_connectivity_established)
        acknowledge(
            instance,
            {
                "AwsSolutions-EC28": "It stores no data, and failed connections reveal a failure: EC2's five-minute metrics are enough.",
                "AwsSolutions-EC29": "It stores no data, and a newer image replaces it.",
            },
        )
        return instance

    def _define_routes(self, vpc: ec2.Vpc, instances: list[ec2.CfnInstance]) -> None:
        for n, subnet in enumerate(vpc.select_subnets(subnet_group_name="Private").subnets):
            assert isinstance(subnet, ec2.Subnet)
            # With the id of the CDK's route to a gateway: a route under another logical id would be created while that one exists, and
            # EC2 refuses a second default route (RouteAlreadyExists).
            ec2.CfnRoute(
                subnet,
                "DefaultRoute",
                route_table_id=subnet.route_table.route_table_id,
                destination_cidr_block="0.0.0.0/0",
                instance_id=instances[n % len(instances)].ref,
            )
