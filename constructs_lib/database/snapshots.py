"""Daily snapshots of the database by AWS Backup: kept for as long as it takes, and not deleted with the instance."""

from __future__ import annotations

from aws_cdk import Aws, Duration, RemovalPolicy, Stack
from aws_cdk import aws_backup as backup
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from constructs import Construct

from constructs_lib.database.instance import Database
from constructs_lib.foundation.acknowledgements import acknowledge, record_opt_outs, resource_in_finding
from settings import sections

START_WITHIN, COMPLETE_WITHIN = Duration.hours(1), Duration.hours(8)


class DatabaseSnapshots(Construct):
    """A vault, a daily plan and a role for one instance. Its snapshots stay under the instance's key, as AWS Backup keeps RDS's.

    The lock is one of governance: nobody deletes what is younger than the settings say but who may first take the lock off.
    """

    def __init__(self, scope: Construct, construct_id: str, *, settings: sections.Database, database: Database, key: kms.IKey) -> None:
        super().__init__(scope, construct_id)
        kept = Duration.days(settings.aws_backup_days)
        self.vault = self._define_vault(settings, kept, key)
        self.role = self._define_role(database, key)
        plan = backup.BackupPlan(self, "Plan", backup_plan_name=f"{Stack.of(self).stack_name}-database", backup_vault=self.vault)
        plan.add_rule(
            backup.BackupPlanRule(
                rule_name="daily",
                schedule_expression=events.Schedule.expression(settings.aws_backup_schedule),
                start_window=START_WITHIN,
                completion_window=COMPLETE_WITHIN,
                delete_after=kept,
            )
        )
        plan.add_selection(
            "Database",
            resources=[backup.BackupResource.from_rds_database_instance(database.instance)],
            role=self.role,
            disable_default_backup_policy=True,
        )

    def _define_vault(self, settings: sections.Database, kept: Duration, key: kms.IKey) -> backup.BackupVault:
        vault = backup.BackupVault(
            self,
            "Vault",
            encryption_key=key,
            lock_configuration=backup.LockConfiguration(min_retention=kept) if settings.aws_backup_lock else None,
            removal_policy=RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE,
        )
        resource = vault.node.default_child
        assert isinstance(resource, backup.CfnBackupVault)
        record_opt_outs(resource, settings, "aws_backup_lock")
        return vault

    def _define_role(self, database: Database, key: kms.IKey) -> iam.Role:
        """What AWS's managed policy gives for snapshots of RDS, on one instance and the snapshots AWS Backup makes.

        Source: AWS Backup Developer Guide, "Managed policies for AWS Backup", customer managed policies, Amazon RDS.
        """
        role = iam.Role(
            self, "Role", assumed_by=iam.ServicePrincipal("backup.amazonaws.com"), description="AWS Backup: snapshots of the database"
        )
        instance = database.instance.instance_arn
        snapshots = f"arn:{Aws.PARTITION}:rds:{Aws.REGION}:{Aws.ACCOUNT_ID}:snapshot:awsbackup:*"
        for sid, actions, resources, conditions in (
            ("SeeTheDatabase", ["rds:DescribeDBInstances"], [instance], {}),
            (
                "MakeSnapshots",
                ["rds:AddTagsToResource", "rds:CreateDBSnapshot", "rds:DescribeDBSnapshots", "rds:ListTagsForResource"],
                [instance, snapshots],
                {},
            ),
            ("EndSnapshots", ["rds:DeleteDBSnapshot"], [snapshots], {}),
            ("SeeTheVault", ["backup:DescribeBackupVault"], [self.vault.backup_vault_arn], {}),
            ("SeeTheKey", ["kms:DescribeKey"], [key.key_arn], {}),
            ("LendTheKeyToSnapshots", ["kms:CreateGrant"], [key.key_arn], {"Bool": {"kms:GrantIsForAWSResource": "true"}}),
        ):
            role.add_to_policy(iam.PolicyStatement(sid=sid, actions=actions, resources=resources, conditions=conditions))
        acknowledge(
            role.node.find_child("DefaultPolicy"),
            {
                f"AwsSolutions-IAM5[Resource::{resource_in_finding(self, snapshots)}]": (
                    "AWS Backup names its snapshots itself, awsbackup: and the job's id; RDS gives that prefix to no one else."
                ),
            },
        )
        return role
