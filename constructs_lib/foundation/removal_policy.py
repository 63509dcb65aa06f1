"""What does not outlive its stack: all that is kept elsewhere, for environments that say so (`keep_data = false`)."""

from __future__ import annotations

from collections.abc import Iterable

from aws_cdk import CfnDeletionPolicy, CfnResource, RemovalPolicy
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_kms as kms
from aws_cdk import aws_rds as rds
from constructs import IConstruct

from constructs_lib.foundation.acknowledgements import record_opt_outs
from settings.model import Settings

KEPT = (CfnDeletionPolicy.RETAIN, CfnDeletionPolicy.RETAIN_EXCEPT_ON_CREATE, CfnDeletionPolicy.SNAPSHOT)
SHORTEST_PENDING_DAYS = 7  # KMS's; a key that waits costs nothing


def destroy_on_removal(stacks: Iterable[IConstruct], settings: Settings) -> None:
    """Has CloudFormation delete whatever `stacks` would retain, and what would outlive that: images, backups of RDS, the key's wait.

    Buckets must be empty then, which is their remover's to see to (tools/cli/commands/preview.py): the CDK's own function for it may delete
    objects of any bucket that carries its tag.
    """
    for resource in (node for stack in stacks for node in stack.node.find_all() if isinstance(node, CfnResource)):
        if resource.cfn_options.deletion_policy not in KEPT:
            continue
        resource.apply_removal_policy(RemovalPolicy.DESTROY)
        record_opt_outs(resource, settings, "keep_data")
        if isinstance(resource, ecr.CfnRepository):
            resource.empty_on_delete = True
        if isinstance(resource, rds.CfnDBInstance):
            resource.delete_automated_backups = True
        if isinstance(resource, kms.CfnKey):
            resource.pending_window_in_days = SHORTEST_PENDING_DAYS
