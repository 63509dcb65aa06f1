from __future__ import annotations

import pytest
from aws_cdk import aws_ec2 as ec2

from constructs_lib.database.proxy import DatabaseProxy
from tests.conftest import only
from tests.constructs.conftest import Synthesized, settings, stack, template
from tests.constructs.neighbours import ExistingNetwork, connections, database, function, secret

USERS = ("carmen_app_a", "carmen_app_b", "carmen_monitor_proxy")


def build() -> Synthesized:
    one = stack()
    network = ExistingNetwork(one)
    proxy = DatabaseProxy(
        one,
        "Proxy",
        settings=settings().database.pool,
        network=network,
        database=database(one, network),
        users=[secret(one, user) for user in USERS],
    )
    function(one, network).connections.allow_to(proxy.connections, ec2.Port.tcp(5432), "For a test")
    return template(one)


@pytest.fixture(scope="module")
def built() -> Synthesized:
    return build()


def test_proxy_has_the_pool_of_the_settings(built: Synthesized) -> None:
    proxy = only(built.resources("AWS::RDS::DBProxy"))
    assert (proxy["RequireTLS"], proxy["IdleClientTimeout"], proxy["EngineFamily"]) == (True, 1800, "POSTGRESQL")
    pool = only(built.resources("AWS::RDS::DBProxyTargetGroup"))["ConnectionPoolConfigurationInfo"]
    assert pool == {"ConnectionBorrowTimeout": 2, "MaxConnectionsPercent": 90, "MaxIdleConnectionsPercent": 50}


def test_proxy_authenticates_its_users_by_password(built: Synthesized) -> None:
    authentication = only(built.resources("AWS::RDS::DBProxy"))["Auth"]
    assert [one["IAMAuth"] for one in authentication] == ["DISABLED"] * 3
    assert [str(one["SecretArn"]).split(":secret:")[1].rpartition("-")[0] for one in authentication] == list(USERS)


def test_clients_connect_to_the_proxy_and_it_to_the_instance(built: Synthesized) -> None:
    assert {(client, server) for client, server, _ in connections(built)} == {("Function", "Proxy"), ("Proxy", "Database")}


def test_proxy_is_in_two_of_three_zones(built: Synthesized) -> None:
    """A zone that is added later must not replace the proxy under the same name."""
    assert only(built.resources("AWS::RDS::DBProxy"))["VpcSubnetIds"] == ["subnet-isolated0", "subnet-isolated1"]
