"""The VPC, and the domain."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from settings import types
from settings.field_metadata import NEW_ENVIRONMENT, Fixed, Protective, Saving, less
from settings.sections.base import Section


def _nat_gateways(number: int) -> float:
    """More gateways protect more; 0 means interface endpoints, which are in every zone."""
    return number or float("inf")


class Network(Section):
    """The VPC. Source: manual "Alternative Cloud Deployment"; AWS VPC sizing."""

    cidr: Annotated[
        types.VpcRange,
        Fixed("A VPC's range cannot be changed: a new VPC would replace it, and everything in it.", NEW_ENVIRONMENT),
    ] = Field("10.20.0.0/16", description="The VPC's IPv4 range, /16 to /20, private.")
    peer_cidrs: types.Distinct[types.Range] = Field((), description="Ranges that will be connected to the VPC; cidr must not overlap them.")
    zones: Annotated[
        types.Distinct[types.ZoneId],
        Protective(),
        # Source: AWS Knowledge Center, "How can I delete a subnet that is in an RDS DB subnet group?"
        Fixed(
            "Zones can be added at the end. RDS and ElastiCache refuse to leave a subnet that they use, and a subnet for another zone "
            "would need the address range of the existing one.",
            NEW_ENVIRONMENT,
            applies=lambda old, new: new[: len(old)] != old,
        ),
    ] = Field(
        ("use1-az1", "use1-az2", "use1-az4"),
        min_length=2,
        max_length=3,
        description="Availability zone ids (not names, which differ between accounts).",
    )
    nat_gateways: Annotated[int, Protective(_nat_gateways), Saving(1, "no outbound connections when the gateway's zone fails")] = Field(
        2, ge=0, le=3, description="0 needs interface_endpoints; two or more survive the loss of a zone."
    )
    nat_instances: Annotated[
        bool,
        Protective(less),
        Saving(True, "a t4g.nano instead of each gateway, which we patch, and a minute without NAT when it is replaced"),
    ] = Field(False, description="A t4g.nano instead of each NAT gateway: a tenth of the price and of the bandwidth, and we patch it.")
    interface_endpoints: bool = Field(
        False, description="Private endpoints to the AWS services used, instead of NAT; nothing else can be reached."
    )
    flow_log_retention_days: Annotated[types.LogRetentionDays, Protective()] = Field(90, description="How long VPC flow logs are kept.")


class Domain(Section):
    """The application's domain; default: CloudFront's domain name."""

    name: types.CertificateName = Field(description="The host name that users enter, such as carmen.example.com.")
    hosted_zone_id: types.HostedZoneId = Field(description="The public Route 53 zone that contains the name.")
    hosted_zone_name: types.HostName = Field(description="That zone's name, such as example.com.")
