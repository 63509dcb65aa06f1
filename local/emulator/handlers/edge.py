"""The load balancer's network, CloudFront's VPC origins with their security group, and WAF's rules and IP sets."""

from __future__ import annotations

from ministack.services import alb as ministack_alb

from local.emulator.handlers.base import Attributes, Created, Properties, call, client, define, name_for, refine

ORIGIN_GROUP = "CloudFront-VPCOrigins-Service-SG"


def register() -> None:
    refine("AWS::ElasticLoadBalancingV2::LoadBalancer", complete_load_balancer)
    define("AWS::CloudFront::VpcOrigin", create_origin, delete_origin, update_origin)
    refine("AWS::CloudFront::Distribution", complete_distribution)
    refine("AWS::WAFv2::WebACL", complete_web_acl)
    define("AWS::WAFv2::IPSet", create_ip_set, delete_ip_set, update_ip_set)


def complete_load_balancer(load_balancer: str, properties: Properties, old: Properties) -> None:
    """Set the VPC from the subnets; ministack uses a VPC that does not exist."""
    subnets = client("ec2").describe_subnets(SubnetIds=properties["Subnets"])["Subnets"]
    ministack_alb._lbs[load_balancer]["VpcId"] = subnets[0]["VpcId"]


def origin_config(properties: Properties) -> Properties:
    config = dict(properties["VpcOriginEndpointConfig"])
    protocols = config.pop("OriginSSLProtocols", None) or ["TLSv1.2"]
    return {
        "VpcOriginEndpointConfig": {
            **config,
            "HTTPPort": config.get("HTTPPort", 80),
            "HTTPSPort": config.get("HTTPSPort", 443),
            "OriginProtocolPolicy": config.get("OriginProtocolPolicy", "match-viewer"),
            "OriginSslProtocols": {"Quantity": len(protocols), "Items": protocols},
        }
    }


def origin_attributes(origin: Properties) -> Attributes:
    return {
        "Id": origin["Id"],
        "Arn": origin["Arn"],
        "Status": origin["Status"],
        "CreatedTime": str(origin["CreatedTime"]),
        "LastModifiedTime": str(origin["LastModifiedTime"]),
    }


def network_of(load_balancer: str) -> str:
    found = client("elbv2").describe_load_balancers(LoadBalancerArns=[load_balancer])["LoadBalancers"]
    return str(found[0]["VpcId"])


def origin_groups(network: str) -> list[Properties]:
    filters = [{"Name": "group-name", "Values": [ORIGIN_GROUP]}, {"Name": "vpc-id", "Values": [network]}]
    return list(client("ec2").describe_security_groups(Filters=filters)["SecurityGroups"])


def create_origin(logical_id: str, properties: Properties, stack: str) -> Created:
    origin = call("cloudfront", "create_vpc_origin", origin_config(properties))["VpcOrigin"]
    return origin["Id"], origin_attributes(origin)


def update_origin(origin: str, old: Properties, new: Properties) -> Attributes:
    current = client("cloudfront").get_vpc_origin(Id=origin)
    updated = call("cloudfront", "update_vpc_origin", origin_config(new), Id=origin, IfMatch=current["ETag"])
    return origin_attributes(updated["VpcOrigin"])


def delete_origin(origin: str, properties: Properties) -> None:
    api = client("cloudfront")
    api.delete_vpc_origin(Id=origin, IfMatch=api.get_vpc_origin(Id=origin)["ETag"])
    network = network_of(properties["VpcOriginEndpointConfig"]["Arn"])
    left = api.list_vpc_origins()["VpcOriginList"].get("Items") or []
    if all(network_of(other["OriginEndpointArn"]) != network for other in left):
        for group in origin_groups(network):
            client("ec2").delete_security_group(GroupId=group["GroupId"])


def complete_distribution(distribution: str, properties: Properties, old: Properties) -> None:
    """Create the security group of VPC origins, one for each VPC: "available after the distribution is deployed" (CDK README)."""
    api = client("cloudfront")
    for origin in properties["DistributionConfig"].get("Origins") or []:
        if used := origin.get("VpcOriginConfig"):
            found = api.get_vpc_origin(Id=used["VpcOriginId"])["VpcOrigin"]
            network = network_of(found["VpcOriginEndpointConfig"]["Arn"])
            if not origin_groups(network):
                client("ec2").create_security_group(GroupName=ORIGIN_GROUP, Description="CloudFront's VPC origins", VpcId=network)


def complete_web_acl(physical_id: str, properties: Properties, old: Properties) -> None:
    """Update through the API: ministack's handler keeps the template's spelling, which clients cannot read."""
    key = waf_key(physical_id)
    summaries = client("wafv2").list_web_acls(Scope=key["Scope"])["WebACLs"]
    token = next(summary["LockToken"] for summary in summaries if summary["Id"] == key["Id"])
    call("wafv2", "update_web_acl", properties, **key, LockToken=token)


def waf_key(physical_id: str) -> Properties:
    name, identifier, scope = physical_id.split("|")
    return {"Name": name, "Id": identifier, "Scope": scope}


def create_ip_set(logical_id: str, properties: Properties, stack: str) -> Created:
    name = properties.get("Name") or name_for(logical_id, stack, 128)
    summary = call("wafv2", "create_ip_set", properties, Name=name)["Summary"]
    return f"{name}|{summary['Id']}|{properties['Scope']}", {"Arn": summary["ARN"], "Id": summary["Id"]}


def update_ip_set(physical_id: str, old: Properties, new: Properties) -> Attributes:
    key = waf_key(physical_id)
    current = client("wafv2").get_ip_set(**key)
    call("wafv2", "update_ip_set", new, **key, LockToken=current["LockToken"])
    return {"Arn": current["IPSet"]["ARN"], "Id": key["Id"]}


def delete_ip_set(physical_id: str, properties: Properties) -> None:
    key = waf_key(physical_id)
    client("wafv2").delete_ip_set(**key, LockToken=client("wafv2").get_ip_set(**key)["LockToken"])
