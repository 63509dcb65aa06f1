"""RDS Proxy: the connection pool between the application and PostgreSQL."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from aws_cdk import Duration, Names
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_rds as rds
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from constructs_lib.database.instance import PORT, Database
from constructs_lib.foundation.security_group import ClosedSecurityGroup
from constructs_lib.network.vpc import Network
from settings import sections


class DatabaseProxy(Construct):
    """A proxy that accepts TLS connections of the users whose secrets it gets. Clients connect with `.connections`; `.proxy` is the L2.

    Prisma pins its sessions (prisma/orm#5866): the proxy keeps connections open during a failover and limits them, but does not
    multiplex. docs/connection-pool.md sizes them one to one.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: sections.ConnectionPool,
        network: Network,
        database: Database,
        users: Sequence[secretsmanager.ISecret],
        zones: Sequence[str],
    ) -> None:
        super().__init__(scope, construct_id)
        self.security_group = ClosedSecurityGroup(
            self, "SecurityGroup", vpc=network.vpc, description="RDS Proxy: ingress from allowed security groups, egress to PostgreSQL"
        )
        self.proxy = rds.DatabaseProxy(
            self,
            "Proxy",
            # Other subnets replace the proxy, and CloudFormation creates the new one first: other zones need another name.
            db_proxy_name=f"{Names.unique_resource_name(self, max_length=50, separator='-')}-{_short_hash(zones)}",
            proxy_target=rds.ProxyTarget.from_instance(database.instance),  # also allows the proxy to connect to the instance
            vpc=network.vpc,
            vpc_subnets=network.isolated_subnets,
            security_groups=[self.security_group],
            secrets=list(users),
            require_tls=True,
            iam_auth=False,
            borrow_timeout=Duration.seconds(settings.acquire_timeout_seconds),
            idle_client_timeout=Duration.seconds(settings.proxy_idle_client_seconds),
            max_connections_percent=settings.proxy_max_connections_percent,
            max_idle_connections_percent=settings.proxy_max_idle_percent,
        )
        self.target_group = self.proxy.node.find_child("ProxyTargetGroup")
        self.connections = ec2.Connections(security_groups=[self.security_group], default_port=PORT)


def _short_hash(zones: Sequence[str]) -> str:
    return hashlib.sha256(" ".join(zones).encode()).hexdigest()[:6]
