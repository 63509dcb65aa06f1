"""RDS and its proxy.

ministack's database instances are records without a server. `on_database_created` registers a function
that starts a real one: the host and port it returns become the instance's endpoint.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ministack.services import rds as ministack_rds

from local.emulator.handlers.base import Attributes, Created, Properties, call, client, define, guard, refine


class DatabaseCreated(Protocol):
    def __call__(
        self,
        identifier: str,
        engine_version: str,
        db_name: str,
        master_username: str,
        master_password: str,
        parameters: dict[str, str],
    ) -> tuple[str, int]: ...


_start: DatabaseCreated | None = None
_stop: Callable[[str], None] | None = None
_endpoints: dict[str, tuple[str, int]] = {}


def on_database_created(function: DatabaseCreated) -> DatabaseCreated:
    """Call this function for each new instance; it returns the host and port of a real server."""
    global _start
    _start = function
    return function


def on_database_deleted(function: Callable[[str], None]) -> Callable[[str], None]:
    """Call this function with the identifier of each deleted instance."""
    global _stop
    _stop = function
    return function


def register() -> None:
    refine("AWS::RDS::DBInstance", complete_database)
    guard("AWS::RDS::DBInstance", before_database_delete)
    define("AWS::RDS::DBProxy", create_proxy, delete_proxy, update_proxy)
    define("AWS::RDS::DBProxyTargetGroup", create_targets, delete_targets, update_targets)


def complete_database(identifier: str, properties: Properties, old: Properties) -> Attributes:
    record = ministack_rds._instances[identifier]  # no API can set an endpoint
    for name in ("PerformanceInsightsRetentionPeriod", "CACertificateIdentifier", "PerformanceInsightsKMSKeyId"):
        if name in properties:
            record[name.replace("KMS", "Kms")] = properties[name]
    if identifier not in _endpoints and _start is not None:
        _endpoints[identifier] = _start(
            identifier,
            record["EngineVersion"],
            record["DBName"],
            record["MasterUsername"],
            record["_MasterUserPassword"],
            database_parameters(properties.get("DBParameterGroupName")),
        )
    if identifier in _endpoints:
        record["Endpoint"]["Address"], record["Endpoint"]["Port"] = _endpoints[identifier]
    return {
        "Endpoint.Address": record["Endpoint"]["Address"],
        "Endpoint.Port": str(record["Endpoint"]["Port"]),
    }


def database_parameters(group: str | None) -> dict[str, str]:
    """The parameters that the template set."""
    if not group:
        return {}
    pages = client("rds").get_paginator("describe_db_parameters").paginate(DBParameterGroupName=group, Source="user")
    return {
        parameter["ParameterName"]: parameter["ParameterValue"]
        for page in pages
        for parameter in page["Parameters"]
        if "ParameterValue" in parameter
    }


def before_database_delete(identifier: str, properties: Properties) -> None:
    record = ministack_rds._instances.get(identifier)
    if record and record.get("DeletionProtection"):
        raise ValueError(f"Cannot delete protected DB Instance {identifier}: disable deletion protection first")
    if _endpoints.pop(identifier, None) and _stop is not None:
        _stop(identifier)


def proxy_attributes(name: str) -> Attributes:
    """The proxy's attributes. Nothing pools: its host name is that of the real server."""
    if _start is not None:
        ministack_rds._db_proxies[name]["Endpoint"] = "127.0.0.1"
    proxy = client("rds").describe_db_proxies(DBProxyName=name)["DBProxies"][0]
    return {"DBProxyArn": proxy["DBProxyArn"], "Endpoint": proxy["Endpoint"], "VpcId": proxy["VpcId"]}


def create_proxy(logical_id: str, properties: Properties, stack: str) -> Created:
    call("rds", "create_db_proxy", properties)
    return properties["DBProxyName"], proxy_attributes(properties["DBProxyName"])


def update_proxy(name: str, old: Properties, new: Properties) -> Attributes:
    call("rds", "modify_db_proxy", new, DBProxyName=name, SecurityGroups=new.get("VpcSecurityGroupIds"))
    return proxy_attributes(name)


def delete_proxy(name: str, properties: Properties) -> None:
    client("rds").delete_db_proxy(DBProxyName=name)


def configure_targets(properties: Properties, registered: list[str]) -> Attributes:
    proxy, group = properties["DBProxyName"], properties["TargetGroupName"]
    pool = properties.get("ConnectionPoolConfigurationInfo")
    if pool:
        call(
            "rds",
            "modify_db_proxy_target_group",
            {},
            DBProxyName=proxy,
            TargetGroupName=group,
            ConnectionPoolConfig=pool,
        )
    wanted = properties.get("DBInstanceIdentifiers") or []
    for operation, instances in (
        ("deregister_db_proxy_targets", [name for name in registered if name not in wanted]),
        ("register_db_proxy_targets", [name for name in wanted if name not in registered]),
    ):
        if instances:
            call("rds", operation, {}, DBProxyName=proxy, TargetGroupName=group, DBInstanceIdentifiers=instances)
    found = client("rds").describe_db_proxy_target_groups(DBProxyName=proxy, TargetGroupName=group)
    return {"TargetGroupArn": found["TargetGroups"][0]["TargetGroupArn"]}


def create_targets(logical_id: str, properties: Properties, stack: str) -> Created:
    attributes = configure_targets(properties, [])
    return attributes["TargetGroupArn"], attributes


def update_targets(physical_id: str, old: Properties, new: Properties) -> Attributes:
    return configure_targets(new, old.get("DBInstanceIdentifiers") or [])


def delete_targets(physical_id: str, properties: Properties) -> None:
    call("rds", "deregister_db_proxy_targets", properties)
