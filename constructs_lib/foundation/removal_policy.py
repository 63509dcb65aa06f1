"""Set RemovalPolicy.DESTROY on every resource, for environments with `keep_data = false`."""

from __future__ import annotations

from collections.abc import Iterable

from aws_cdk import CfnDeletionPolicy, CfnResource, RemovalPolicy
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_kms as kms
from aws_cdk import aws_rds as rds
from constructs import IConstruct

from constructs_lib.foundation.acknowledgements import record_opt_outs
from settings.model import Settings

RETAINED = (CfnDeletionPolicy.RETAIN, CfnDeletionPolicy.RETAIN_EXCEPT_ON_CREATE, CfnDeletionPolicy.SNAPSHOT)
MIN_PENDING_DAYS = 7  # the minimum of KMS; a key pending deletion costs nothing


def destroy_on_removal(stacks: Iterable[IConstruct], settings: Settings) -> None:
    """Delete every retained resource of `stacks` with its stack, including images and RDS's automated backups.

    Buckets must be empty by then: tools/cli/commands/preview.py empties them. The CDK's `auto_delete_objects` adds a function that may
    delete objects of every bucket with its tag.
    """
    for resource in (node for stack in stacks for node in stack.node.find_all() if isinstance(node, CfnResource)):
        if resource.cfn_options.deletion_policy not in RETAINED:
            continue
        resource.apply_removal_policy(RemovalPolicy.DESTROY)
        record_opt_outs(resource, settings, "keep_data")
        if isinstance(resource, ecr.CfnRepository):
            resource.empty_on_delete = True
        if isinstance(resource, rds.CfnDBInstance):
            resource.delete_automated_backups = True
        if isinstance(resource, kms.CfnKey):
            resource.pending_window_in_days = MIN_PENDING_DAYS
