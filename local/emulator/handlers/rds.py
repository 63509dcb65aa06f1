"""RDS and its proxy, and the engine version of ElastiCache.

ministack's database instances are records without a server. `on_database_created` registers a function
that starts a real one: the host and port it returns become the instance's endpoint.

Engine versions behave as on RDS. A major version alone creates the default minor version, and changes an instance only if its
minor version is lower; a downgrade and a major version without AllowMajorVersionUpgrade are refused. CloudFormation sends the
version only if the template changes it. Sources: RDS API, ModifyDBInstance "EngineVersion"; Translator.modifyDbInstanceRequest in
aws-cloudformation/aws-cloudformation-resource-providers-rds; the messages: hashicorp/terraform#22462 and guardian/giant#151.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

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
_versions: dict[str, str] = {}  # identifier → the version to which an update of the stack leads

# Offered minor versions by major, the default first. Those of the installed servers (tools/build/postgres_wheels.py), and one below.
OFFERED = {"15": ("15.19", "15.18"), "16": ("16.15", "16.14"), "17": ("17.11", "17.10"), "18": ("18.6", "18.4")}
CLASSES = ("db.t4g.micro", "db.t4g.small", "db.t4g.medium", "db.t4g.large", "db.m7g.large", "db.r7g.large")


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
    guard("AWS::RDS::DBInstance", before_database_delete, before_database_update)
    guard("AWS::ElastiCache::ReplicationGroup", before_update=before_cache_update)
    ministack_rds._ACTION_MAP |= {
        "ModifyDBInstance": modify_instance,
        "DescribeDBEngineVersions": describe_engine_versions,
        "DescribeOrderableDBInstanceOptions": describe_orderable_options,
    }
    define("AWS::RDS::DBProxy", create_proxy, delete_proxy, update_proxy)
    define("AWS::RDS::DBProxyTargetGroup", create_targets, delete_targets, update_targets)


def resulting_version(running: str, wanted: str, *, major_upgrade: bool) -> str:
    """The version of an instance after ModifyDBInstance. Raises ValueError when RDS refuses."""
    major, _, minor = wanted.partition(".")
    if major == running.split(".")[0] and not minor:
        return max(running, OFFERED[major][0], key=_numbers)
    full = wanted if minor else OFFERED[major][0]
    if _numbers(full) < _numbers(running):
        raise ValueError(f"InvalidParameterCombination: Cannot upgrade postgres from {running} to {full}")
    if major != running.split(".")[0] and not major_upgrade:
        raise ValueError(
            "InvalidParameterCombination: The AllowMajorVersionUpgrade flag must be present when upgrading to a new major version."
        )
    return full


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def before_database_update(identifier: str, old: Properties, new: Properties) -> None:
    running, wanted = ministack_rds._instances[identifier]["EngineVersion"], str(new["EngineVersion"])
    allowed = str(new.get("AllowMajorVersionUpgrade", False)).lower() == "true"
    changed = wanted != str(old["EngineVersion"])
    _versions[identifier] = resulting_version(running, wanted, major_upgrade=allowed) if changed else running


def before_cache_update(group: str, old: Properties, new: Properties) -> None:
    """Source: ElastiCache API, ModifyReplicationGroup "EngineVersion": "you cannot downgrade to an earlier engine version"."""
    version, earlier = str(new.get("EngineVersion")), str(old.get("EngineVersion"))
    if new.get("Engine") == old.get("Engine") and _numbers(version) < _numbers(earlier):
        raise ValueError(f"{group}: {new.get('Engine')} cannot be downgraded from {earlier} to {version}")


def modify_instance(parameters: dict[str, Any]) -> Any:
    """ministack's operation, which accepts any version."""
    wanted = ministack_rds._p(parameters, "EngineVersion")
    instance = ministack_rds._resolve_instance(ministack_rds._p(parameters, "DBInstanceIdentifier"))
    if wanted and instance:
        allowed = ministack_rds._p(parameters, "AllowMajorVersionUpgrade") == "true"
        try:
            full = resulting_version(instance["EngineVersion"], wanted, major_upgrade=allowed)
        except ValueError as error:
            code, _, message = str(error).partition(": ")
            return ministack_rds._error(code, message, 400)
        parameters = {**parameters, "EngineVersion": full}
    return ministack_rds._modify_db_instance(parameters)


def describe_engine_versions(parameters: dict[str, Any]) -> Any:
    """PostgreSQL's versions as RDS lists them: filtered by family, by version, or the default of a major version."""
    family, version, default = (ministack_rds._p(parameters, name) for name in ("DBParameterGroupFamily", "EngineVersion", "DefaultOnly"))
    members = "".join(
        f"<DBEngineVersion><Engine>postgres</Engine><EngineVersion>{one}</EngineVersion>"
        f"<DBParameterGroupFamily>postgres{major}</DBParameterGroupFamily></DBEngineVersion>"
        for major, minors in OFFERED.items()
        for one in minors[: 1 if default == "true" else None]
        if family in ("", f"postgres{major}") and version in ("", major, one)
    )
    result = f"<DescribeDBEngineVersionsResult><DBEngineVersions>{members}</DBEngineVersions></DescribeDBEngineVersionsResult>"
    return ministack_rds._xml(200, "DescribeDBEngineVersionsResponse", result)


def describe_orderable_options(parameters: dict[str, Any]) -> Any:
    """Instance classes that RDS offers for a version."""
    version, wanted = (ministack_rds._p(parameters, name) for name in ("EngineVersion", "DBInstanceClass"))
    members = "".join(
        f"<OrderableDBInstanceOption><Engine>postgres</Engine><EngineVersion>{version}</EngineVersion>"
        f"<DBInstanceClass>{one}</DBInstanceClass><MultiAZCapable>true</MultiAZCapable><StorageType>gp3</StorageType>"
        "</OrderableDBInstanceOption>"
        for one in CLASSES
        if wanted in ("", one) and any(version in minors for minors in OFFERED.values())
    )
    result = (
        "<DescribeOrderableDBInstanceOptionsResult>"
        f"<OrderableDBInstanceOptions>{members}</OrderableDBInstanceOptions></DescribeOrderableDBInstanceOptionsResult>"
    )
    return ministack_rds._xml(200, "DescribeOrderableDBInstanceOptionsResponse", result)


def complete_database(identifier: str, properties: Properties, old: Properties) -> Attributes:
    record = ministack_rds._instances[identifier]  # no API can set an endpoint
    version = record["EngineVersion"]
    record["EngineVersion"] = _versions.pop(identifier, None) or (version if "." in version else OFFERED[version][0])
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
