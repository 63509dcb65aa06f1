"""What RDS and ElastiCache offer in a region, for `./carmen account check` and `./carmen preflight`."""

from __future__ import annotations

from typing import Any


def default_database_version(rds: Any, major: str) -> str | None:
    """The minor version that RDS chooses for a major version of PostgreSQL; None if it offers none.

    Source: RDS API, DescribeDBEngineVersions, "DefaultOnly".
    """
    found = rds.describe_db_engine_versions(Engine="postgres", EngineVersion=major, DefaultOnly=True)["DBEngineVersions"]
    return str(found[0]["EngineVersion"]) if found else None


def database_options(rds: Any, instance_class: str, **more: Any) -> list[dict[str, Any]]:
    """What can be ordered for PostgreSQL with this class and gp3. Source: RDS API, DescribeOrderableDBInstanceOptions."""
    pages = rds.get_paginator("describe_orderable_db_instance_options").paginate(
        Engine="postgres", DBInstanceClass=f"db.{instance_class}", **more
    )
    return [one for page in pages for one in page["OrderableDBInstanceOptions"] if one["StorageType"] == "gp3"]


def cache_versions(elasticache: Any, engine: str) -> list[str]:
    """The versions of a cache engine."""
    pages = elasticache.get_paginator("describe_cache_engine_versions").paginate(Engine=engine)
    return [one["EngineVersion"] for page in pages for one in page["CacheEngineVersions"]]


def minor(version: str) -> tuple[int, ...]:
    """`(8, 1)` of `8.1` and `8.1.0`."""
    return tuple(map(int, version.split(".")[:2]))
