"""ElastiCache Valkey, or Redis, whose protocol it speaks: cache and rate counters, behind TLS and AUTH."""

from __future__ import annotations

from aws_cdk import RemovalPolicy
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_elasticache as elasticache
from aws_cdk import aws_kms as kms
from constructs import Construct

from constructs_lib.foundation.acknowledgements import acknowledge, record_opt_outs
from constructs_lib.foundation.secret import GeneratedSecret
from constructs_lib.foundation.security_group import ClosedSecurityGroup
from constructs_lib.network.vpc import Network
from settings import sections

PORT = ec2.Port.tcp(6379)
# Engine → version an instance is created with, family of its parameters.
ENGINES = {"valkey": ("8.1", "valkey8"), "redis": ("7.1", "redis7")}


class Cache(Construct):
    """One Valkey 8 or Redis 7 with cluster mode disabled, so that one `rediss://` URL is all a client needs (ioredis does).

    `.connections` opens its door; `.endpoint` follows the primary through a failover.
    """

    def __init__(self, scope: Construct, construct_id: str, *, settings: sections.Cache, network: Network, key: kms.IKey) -> None:
        super().__init__(scope, construct_id)
        self._settings = settings
        self._network = network
        self.auth_token = GeneratedSecret(
            self,
            "AuthToken",
            description="Redis AUTH token",
            no_rotation_reason=(
                "Secrets Manager has no rotation for Redis AUTH; credential_rotation.py rotates it with the connection secret."
            ),
            length=64,
        )
        self.security_group = self._define_security_group()
        self._group = self._define_replication_group(key)
        self.connections = ec2.Connections(security_groups=[self.security_group], default_port=PORT)

    @property
    def endpoint(self) -> str:
        """Host name of the primary."""
        return self._group.attr_primary_end_point_address

    @property
    def port(self) -> str:
        """Port of the primary."""
        return self._group.attr_primary_end_point_port

    @property
    def replication_group_id(self) -> str:
        """Its name in metrics."""
        return self._group.ref

    def _define_security_group(self) -> ec2.SecurityGroup:
        return ClosedSecurityGroup(self, "SecurityGroup", vpc=self._network.vpc, description="Redis: entered by name, leaves for nowhere")

    def _define_replication_group(self, key: kms.IKey) -> elasticache.CfnReplicationGroup:
        settings = self._settings
        version, family = ENGINES[settings.engine]
        subnets = elasticache.CfnSubnetGroup(
            self,
            "Subnets",
            description="Isolated subnets",
            subnet_ids=self._network.vpc.select_subnets(subnet_group_name=self._network.isolated_subnets.subnet_group_name).subnet_ids,
        )
        parameters = elasticache.CfnParameterGroup(
            self,
            "Parameters",
            cache_parameter_group_family=family,
            description="Cache and rate counters share the memory",
            properties={"maxmemory-policy": settings.eviction_policy},
        )
        group = elasticache.CfnReplicationGroup(
            self,
            "Redis",
            replication_group_description="Carmen: cache and rate counters",
            engine=settings.engine,
            engine_version=version,
            cache_node_type=settings.node_type,
            num_cache_clusters=settings.replicas + 1,
            automatic_failover_enabled=settings.replicas > 0,
            multi_az_enabled=settings.replicas > 0,
            auto_minor_version_upgrade=True,
            cache_parameter_group_name=parameters.ref,
            cache_subnet_group_name=subnets.ref,
            security_group_ids=[self.security_group.security_group_id],
            transit_encryption_enabled=True,
            at_rest_encryption_enabled=True,
            kms_key_id=key.key_arn,
            auth_token=self.auth_token.secret_value_from_json("value").unsafe_unwrap(),  # a dynamic reference, not the value
            snapshot_retention_limit=settings.snapshot_days,
            preferred_maintenance_window=settings.maintenance_window,
        )
        group.apply_removal_policy(RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE)
        acknowledge(
            group,
            {
                "AwsSolutions-AEC5": (
                    "Every Redis client expects 6379; who may connect is decided by security groups, TLS and AUTH, not by the port."
                )
            },
        )
        if reason := settings.opt_outs("replicas").get("replicas"):
            acknowledge(group, {"AwsSolutions-AEC4": reason})
        record_opt_outs(group, settings, "replicas")
        return group
