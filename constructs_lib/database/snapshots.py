"""Daily snapshots of the database by AWS Backup, retained independently of the instance."""

from __future__ import annotations

from aws_cdk import Duration, RemovalPolicy, Stack
from aws_cdk import aws_backup as backup
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from constructs import Construct

from constructs_lib.database.instance import Database
from constructs_lib.foundation.acknowledgements import acknowledge, record_opt_outs, resource_in_finding
from constructs_lib.foundation.arns import account_arn
from settings import sections

START_WITHIN, COMPLETE_WITHIN = Duration.hours(1), Duration.hours(8)


class DatabaseSnapshots(Construct):
    """A vault, a daily plan and a role for one instance. Snapshots keep the instance's KMS key.

    The vault lock is in governance mode: deleting younger snapshots than the settings allow needs permission to remove the lock first.
    """

    def __init__(self, scope: Construct, construct_id: str, *, settings: sections.Database, database: Database, key: kms.IKey) -> None:
        super().__init__(scope, construct_id)
        retention = Duration.days(settings.aws_backup_days)
        self.vault = self._define_vault(settings, retention, key)
        self.role = self._define_role(database, key)
        self._define_plan(settings, database, retention)

    def _define_plan(self, settings: sections.Database, database: Database, retention: Duration) -> None:
        plan = backup.BackupPlan(self, "Plan", backup_plan_name=f"{Stack.of(self).stack_name}-database", backup_vault=self.vault)
        plan.add_rule(
            backup.BackupPlanRule(
                rule_name="daily",
                schedule_expression=events.Schedule.expression(settings.aws_backup_schedule),
                start_window=START_WITHIN,
                completion_window=COMPLETE_WITHIN,
                delete_after=retention,
            )
        )
        plan.add_selection(
            "Database",
            resources=[backup.BackupResource.from_rds_database_instance(database.instance)],
            role=self.role,
            disable_default_backup_policy=True,
        )

    def _define_vault(self, settings: sections.Database, retention: Duration, key: kms.IKey) -> backup.BackupVault:
        vault = backup.BackupVault(
            self,
            "Vault",
            encryption_key=key,
            lock_configuration=backup.LockConfiguration(min_retention=retention) if settings.aws_backup_lock else None,
            removal_policy=RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE,
        )
        resource = vault.node.default_child
        assert isinstance(resource, backup.CfnBackupVault)
        record_opt_outs(resource, settings, "aws_backup_lock")
        return vault

    def _define_role(self, database: Database, key: kms.IKey) -> iam.Role:
        """AWS's managed policy for snapshots of RDS, limited to one instance and to AWS Backup's snapshots.

        Source: AWS Backup Developer Guide, "Managed policies for AWS Backup", customer managed policies, Amazon RDS.
        """
        role = iam.Role(
            self,
            "Role",
            assumed_by=iam.ServicePrincipal("backup.amazonaws.com"),
            description="AWS Backup: creates and deletes snapshots of the database",
        )
        instance = database.instance.instance_arn
        snapshots = account_arn("rds", "snapshot:awsbackup:*")
        for sid, actions, resources, conditions in (
            ("DescribeDatabase", ["rds:DescribeDBInstances"], [instance], {}),
            (
                "CreateSnapshots",
                ["rds:AddTagsToResource", "rds:CreateDBSnapshot", "rds:DescribeDBSnapshots", "rds:ListTagsForResource"],
                [instance, snapshots],
                {},
            ),
            ("DeleteSnapshots", ["rds:DeleteDBSnapshot"], [snapshots], {}),
            ("DescribeBackupVault", ["backup:DescribeBackupVault"], [self.vault.backup_vault_arn], {}),
            ("DescribeKey", ["kms:DescribeKey"], [key.key_arn], {}),
            ("CreateKeyGrantsForSnapshots", ["kms:CreateGrant"], [key.key_arn], {"Bool": {"kms:GrantIsForAWSResource": "true"}}),
        ):
            role.add_to_policy(iam.PolicyStatement(sid=sid, actions=actions, resources=resources, conditions=conditions))
        acknowledge(
            role.node.find_child("DefaultPolicy"),
            {
                f"AwsSolutions-IAM5[Resource::{resource_in_finding(self, snapshots)}]": (
                    "AWS Backup names its snapshots awsbackup: and the job's id; RDS reserves this prefix."
                ),
            },
        )
        return role
