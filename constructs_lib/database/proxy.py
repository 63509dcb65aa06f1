"""RDS Proxy: the connection pool between the application and PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import CrossStackReferences, Duration, Names, ReferenceStrength
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_rds as rds
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from constructs_lib.database.instance import PORT, Database
from constructs_lib.foundation.security_group import ClosedSecurityGroup
from constructs_lib.network.vpc import Network
from settings import sections


class ProxySecurityGroup(ClosedSecurityGroup):
    """The proxy's group. It exists without a proxy too: rules of later stacks refer to it until they are updated."""

    def __init__(self, scope: Construct, *, network: Network) -> None:
        super().__init__(
            scope, "SecurityGroup", vpc=network.vpc, description="RDS Proxy: ingress from allowed security groups, egress to PostgreSQL"
        )


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
    ) -> None:
        super().__init__(scope, construct_id)
        self.security_group = ProxySecurityGroup(self, network=network)
        self.proxy = rds.DatabaseProxy(
            self,
            "Proxy",
            db_proxy_name=Names.unique_resource_name(self, max_length=60, separator="-"),
            proxy_target=rds.ProxyTarget.from_instance(database.instance),  # also allows the proxy to connect to the instance
            vpc=network.vpc,
            # Two zones, as many as RDS Proxy needs: a third one, added later, would replace the proxy under the same name.
            vpc_subnets=ec2.SubnetSelection(subnets=network.vpc.select_subnets(subnet_group_name="Isolated").subnets[:2]),
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
        # Later stacks read endpoint and name at deployment: an export in use would keep a proxy that the settings remove.
        CrossStackReferences.of(self.proxy).produce(ReferenceStrength.WEAK)
