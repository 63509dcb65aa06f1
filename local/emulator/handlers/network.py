"""EC2: addresses, NAT gateways, flow logs and security group rules."""

from __future__ import annotations

from local.emulator.handlers.base import Attributes, Create, Created, Delete, Properties, Update, call, client, define, refine


def register() -> None:
    refine("AWS::EC2::VPC", lambda vpc, properties, old: {"CidrBlock": properties["CidrBlock"]})
    define("AWS::EC2::EIP", create_address, delete_address, update_address)
    define("AWS::EC2::NatGateway", create_nat, delete_nat, update_nat)
    define("AWS::EC2::FlowLog", create_flow_log, delete_flow_log)
    for direction in ("Ingress", "Egress"):
        define(f"AWS::EC2::SecurityGroup{direction}", *rule_handlers(direction.lower()))


def put_tags(resource: str, properties: Properties) -> None:
    if properties.get("Tags"):
        client("ec2").create_tags(Resources=[resource], Tags=properties["Tags"])


def address_attributes(public_ip: str) -> Attributes:
    (found,) = (
        one for one in client("ec2").describe_addresses()["Addresses"] if one["PublicIp"] == public_ip
    )  # ministack's filter takes all
    return {"AllocationId": found["AllocationId"], "PublicIp": public_ip}


def update_address(public_ip: str, old: Properties, new: Properties) -> Attributes:
    attributes = address_attributes(public_ip)
    put_tags(attributes["AllocationId"], new)
    return attributes


def create_address(logical_id: str, properties: Properties, stack: str) -> Created:
    address = client("ec2").allocate_address(Domain="vpc")
    put_tags(address["AllocationId"], properties)
    return address["PublicIp"], {"AllocationId": address["AllocationId"], "PublicIp": address["PublicIp"]}


def delete_address(public_ip: str, properties: Properties) -> None:
    client("ec2").release_address(AllocationId=address_attributes(public_ip)["AllocationId"])


def create_nat(logical_id: str, properties: Properties, stack: str) -> Created:
    identifier: str = call("ec2", "create_nat_gateway", properties)["NatGateway"]["NatGatewayId"]
    put_tags(identifier, properties)
    return identifier, {"NatGatewayId": identifier}


def update_nat(gateway: str, old: Properties, new: Properties) -> Attributes:
    put_tags(gateway, new)
    return {"NatGatewayId": gateway}


def delete_nat(gateway: str, properties: Properties) -> None:
    client("ec2").delete_nat_gateway(NatGatewayId=gateway)


def create_flow_log(logical_id: str, properties: Properties, stack: str) -> Created:
    result = call("ec2", "create_flow_logs", properties, ResourceIds=[properties["ResourceId"]])
    identifier: str = result["FlowLogIds"][0]
    put_tags(identifier, properties)
    return identifier, {"Id": identifier}


def delete_flow_log(flow_log: str, properties: Properties) -> None:
    client("ec2").delete_flow_logs(FlowLogIds=[flow_log])


def permission(properties: Properties) -> Properties:
    """A security group rule in the form of the EC2 API."""
    described = {"Description": properties["Description"]} if "Description" in properties else {}
    group = properties.get("SourceSecurityGroupId") or properties.get("DestinationSecurityGroupId")
    prefixes = properties.get("SourcePrefixListId") or properties.get("DestinationPrefixListId")
    rule: Properties = {"IpProtocol": str(properties["IpProtocol"])}
    for port in ("FromPort", "ToPort"):
        if port in properties:
            rule[port] = int(properties[port])
    if "CidrIp" in properties:
        rule["IpRanges"] = [{"CidrIp": properties["CidrIp"], **described}]
    if "CidrIpv6" in properties:
        rule["Ipv6Ranges"] = [{"CidrIpv6": properties["CidrIpv6"], **described}]
    if prefixes:
        rule["PrefixListIds"] = [{"PrefixListId": prefixes, **described}]
    if group:
        rule["UserIdGroupPairs"] = [{"GroupId": group, **described}]
    return rule


def rule_handlers(direction: str) -> tuple[Create, Delete, Update]:
    """Create and delete of a rule; a change replaces it, as in AWS."""

    def create(logical_id: str, properties: Properties, stack: str) -> Created:
        authorize = getattr(client("ec2"), f"authorize_security_group_{direction}")
        authorize(GroupId=properties["GroupId"], IpPermissions=[permission(properties)])
        identifier = f"{properties['GroupId']}|{direction}|{logical_id}"
        return identifier, {"Id": identifier}

    def delete(physical_id: str, properties: Properties) -> None:
        revoke = getattr(client("ec2"), f"revoke_security_group_{direction}")
        revoke(GroupId=properties["GroupId"], IpPermissions=[permission(properties)])

    def update(physical_id: str, old: Properties, new: Properties) -> Attributes:
        delete(physical_id, old)
        create(physical_id.rsplit("|", 1)[1], new, "")
        return {"Id": physical_id}

    return create, delete, update
