"""ElastiCache with Valkey or Redis: cache and rate counters, with TLS and AUTH."""

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
from settings.constants import CACHE_ENGINES

PORT = ec2.Port.tcp(6379)


class Cache(Construct):
    """Valkey 8 or Redis 7 with cluster mode disabled, so that clients such as ioredis need only one `rediss://` URL.

    Clients connect with `.connections`; `.endpoint` follows the primary through a failover; `.replication_group` is the L1.
    """

    def __init__(self, scope: Construct, construct_id: str, *, settings: sections.Cache, network: Network, key: kms.IKey) -> None:
        super().__init__(scope, construct_id)
        self._settings = settings
        self._network = network
        self.auth_token = self._define_auth_token()
        self.security_group = self._define_security_group()
        self.replication_group = self._define_replication_group(key)
        self.connections = ec2.Connections(security_groups=[self.security_group], default_port=PORT)

    @property
    def endpoint(self) -> str:
        """Host name of the primary."""
        return self.replication_group.attr_primary_end_point_address

    @property
    def port(self) -> str:
        """Port of the primary."""
        return self.replication_group.attr_primary_end_point_port

    def _define_auth_token(self) -> GeneratedSecret:
        return GeneratedSecret(
            self,
            "AuthToken",
            description="Redis AUTH token",
            no_rotation_reason=(
                "Secrets Manager cannot rotate Redis AUTH tokens; credential_rotation.py rotates it together with the connection secret."
            ),
            length=64,
        )

    def _define_security_group(self) -> ec2.SecurityGroup:
        return ClosedSecurityGroup(
            self, "SecurityGroup", vpc=self._network.vpc, description="Redis: ingress from allowed security groups, no egress"
        )

    def _define_replication_group(self, key: kms.IKey) -> elasticache.CfnReplicationGroup:
        settings = self._settings
        fails_over = settings.failover and settings.replicas > 0
        version, family = CACHE_ENGINES[settings.engine]
        subnets = self._define_subnet_group()
        parameters = self._define_parameter_group(family)
        group = elasticache.CfnReplicationGroup(
            self,
            "Redis",
            replication_group_description="Carmen: cache and rate counters",
            engine=settings.engine,
            engine_version=version,
            cache_node_type=settings.node_type,
            num_cache_clusters=settings.replicas + 1,
            automatic_failover_enabled=fails_over,
            multi_az_enabled=fails_over,
            auto_minor_version_upgrade=False,  # the template names the minor version: ADR 0023
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
        self._acknowledge_findings(group)
        return group

    def _define_subnet_group(self) -> elasticache.CfnSubnetGroup:
        return elasticache.CfnSubnetGroup(
            self,
            "Subnets",
            description="The isolated subnets of the VPC",
            subnet_ids=self._network.vpc.select_subnets(subnet_group_name=self._network.isolated_subnets.subnet_group_name).subnet_ids,
        )

    def _define_parameter_group(self, family: str) -> elasticache.CfnParameterGroup:
        return elasticache.CfnParameterGroup(
            self,
            "Parameters",
            cache_parameter_group_family=family,
            description="Eviction policy: cache and rate counters share the memory",
            properties={"maxmemory-policy": self._settings.eviction_policy},
        )

    def _acknowledge_findings(self, group: elasticache.CfnReplicationGroup) -> None:
        acknowledge(
            group,
            {"AwsSolutions-AEC5": ("All Redis clients use 6379; security groups, TLS and AUTH control access, not the port.")},
        )
        if reasons := self._settings.opt_outs("replicas", "failover"):
            acknowledge(group, {"AwsSolutions-AEC4": " ".join(dict.fromkeys(reasons.values()))})
        record_opt_outs(group, self._settings, "replicas", "failover")
