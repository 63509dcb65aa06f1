"""The permissions of every role, and what no role may do. Add a new permission here first."""

from __future__ import annotations

from dataclasses import dataclass, field

from tools.reports.security.policies import ACCOUNT
from tools.reports.security.policy_evaluator import Context

EVERYWHERE = ("prod", "staging", "dev")
WITH_HOURS = ("dev",)
# Roles that an environment lacks (`[alarms] watched`, `[database] proxy`).
ABSENT = {
    "dev": {
        "/UptimeFunctionRole", "/UptimeMinutelyRole", "Alerts/NotifierDigestRole", "Data/DatabaseProxyIAMRole",
        "Operations/ProbeFunctionRole", "Operations/ProbeMinutelyRole", "Operations/ProbeMeasureAgesRole", "Operations/RotationMeasureAgesRole",
    }
}  # fmt: skip
READ_SECRET = "secretsmanager:DescribeSecret secretsmanager:GetSecretValue"
WRITE_LOG = "logs:CreateLogStream logs:PutLogEvents"
PULL_IMAGE = "ecr:BatchCheckLayerAvailability ecr:BatchGetImage ecr:GetDownloadUrlForLayer"
THROUGH_S3: Context = {"kms:ViaService": "s3.us-east-1.amazonaws.com"}
FOR_SIGNATURES: Context = {"kms:EncryptionContext:purpose": "carmen backup manifest"}
THROUGH_SNS: Context = {"kms:ViaService": "sns.us-east-1.amazonaws.com"}


@dataclass(frozen=True)
class Trust:
    """The service that assumes a role. `source`: the ARN it acts for; without one, `page` shows that AWS documents no condition."""

    service: str
    source: str = ""
    page: str = ""


FUNCTION = Trust(
    "lambda.amazonaws.com", page="Lambda Developer Guide, Defining Lambda function permissions with an execution role: no condition"
)
PROXY = Trust("rds.amazonaws.com", page="RDS User Guide, Configuring IAM authentication for RDS Proxy: no condition in the trust policy")
TASK = Trust("ecs-tasks.amazonaws.com", source=f"arn:aws:ecs:us-east-1:{ACCOUNT}:task/cluster/1")
TASK_EXECUTION = Trust("ecs-tasks.amazonaws.com", page="ECS Developer Guide, Amazon ECS task execution IAM role: no condition")
SCHEDULE = Trust("scheduler.amazonaws.com", source=f"arn:aws:scheduler:us-east-1:{ACCOUNT}:schedule-group/default")
FLOW_LOG = Trust("vpc-flow-logs.amazonaws.com", source=f"arn:aws:ec2:us-east-1:{ACCOUNT}:vpc-flow-log/fl-1")


@dataclass(frozen=True)
class Grant:
    """Actions, separated by spaces, on a policy's Resource (see Environment.pattern)."""

    actions: str
    resource: str = "*"
    context: Context = field(default_factory=dict)
    environments: tuple[str, ...] = EVERYWHERE


@dataclass(frozen=True)
class ExpectedRole:
    """Who assumes a role, all its permissions, and the environments that have it."""

    trust: Trust
    grants: tuple[Grant, ...] = ()
    environments: tuple[str, ...] = EVERYWHERE


def retention(log_group: str, environments: tuple[str, ...] = EVERYWHERE) -> Grant:
    """Sets the retention of a log group that an AWS service creates."""
    group = f"arn:aws:logs:us-east-1:{ACCOUNT}:log-group:{log_group}:*"
    return Grant("logs:CreateLogGroup logs:PutRetentionPolicy", group, environments=environments)


def outside_the_vpc(function: str) -> tuple[Grant, ...]:
    """Permissions of every function outside the VPC: its log group and its dead-letter queue."""
    return Grant(WRITE_LOG, f"{function}LogGroup"), Grant("sqs:SendMessage", f"{function}DeadLetters")


def in_the_vpc(function: str) -> tuple[Grant, ...]:
    """Permissions of every function in the VPC: Lambda also manages its network interfaces."""
    interfaces = "ec2:AssignPrivateIpAddresses ec2:CreateNetworkInterface ec2:DeleteNetworkInterface ec2:UnassignPrivateIpAddresses"
    return (
        *outside_the_vpc(function),
        Grant("ec2:DescribeNetworkInterfaces ec2:DescribeSubnets"),
        Grant(interfaces, f"arn:aws:ec2:us-east-1:{ACCOUNT}:network-interface/*"),
        Grant("ec2:CreateNetworkInterface", f"arn:aws:ec2:us-east-1:{ACCOUNT}:subnet/*"),
        Grant("ec2:CreateNetworkInterface", f"arn:aws:ec2:us-east-1:{ACCOUNT}:security-group/*"),
    )


def schedule_role(function: str, environments: tuple[str, ...] = EVERYWHERE) -> ExpectedRole:
    """Permissions of a schedule: invoke the function, and send undelivered events to its dead-letter queue."""
    return ExpectedRole(
        SCHEDULE,
        (
            Grant("lambda:InvokeFunction", function),
            Grant("lambda:InvokeFunction", f"{function} :*"),
            Grant("sqs:SendMessage", f"{function}DeadLetters"),
        ),
        environments,
    )


def working_hours_role(name: str) -> ExpectedRole:
    """Permissions of a working-hours schedule: start or stop the instance."""
    dlq = f"Data/WorkingHours{name}DeadLetters"
    return ExpectedRole(SCHEDULE, (Grant(f"rds:{name}DBInstance", "Data/DatabaseInstance"), Grant("sqs:SendMessage", dlq)), WITH_HOURS)


def database_login(role: str) -> Grant:
    """Log in to the database as this role, with an IAM token."""
    return Grant("rds-db:connect", f"arn:aws:rds-db:us-east-1:{ACCOUNT}:dbuser:{{Data/DatabaseInstance}}.DbiResourceId/{role}")


ASSETS = f"cdk-hnb659fds-assets-{ACCOUNT}-us-east-1"  # the CDK's asset bucket


def starts_task(task: str) -> tuple[Grant, ...]:
    """Permissions of a function that starts a task with its own code."""
    only_ecs = {"iam:PassedToService": "ecs-tasks.amazonaws.com"}
    return (
        Grant("ecs:RunTask", task, {"ecs:cluster": f"arn:aws:ecs:us-east-1:{ACCOUNT}:cluster/{{Service/Cluster}}"}),
        *(Grant("iam:PassRole", f"{task}{role}", only_ecs) for role in ("Role", "ExecutionRole")),
    )


def reads_code(*owners: str) -> tuple[Grant, ...]:
    """Return the grants for a task's downloads at its start: the code of functions, layers, or its own, whatever key encrypts it."""
    objects = [f"arn:aws:s3:::{ASSETS}/{{code of {name}}}" for name in owners]
    through_s3 = [{**THROUGH_S3, "kms:EncryptionContext:aws:s3:arn": one} for one in (f"arn:aws:s3:::{ASSETS}", *objects)]
    return (
        *(Grant("s3:GetObject", one) for one in objects),
        *(Grant("kms:Decrypt", f"arn:aws:kms:us-east-1:{ACCOUNT}:key/*", context) for context in through_s3),
    )


CHANGE_STAGE = "secretsmanager:UpdateSecretVersionStage"
BACKUP_FOLDERS = ("daily", "weekly", "monthly")
BACKUP_GRANTS = (
    database_login("carmen_backup"),
    *(
        Grant("s3:AbortMultipartUpload s3:GetObject s3:PutObject s3:PutObjectTagging", f"Storage/Backups /{folder}/*")
        for folder in BACKUP_FOLDERS
    ),
    Grant("s3:ListBucket", "Storage/Backups", {"s3:prefix": "daily/"}),
    Grant("kms:Decrypt kms:GenerateDataKey", "Storage/Key", THROUGH_S3),
    Grant("kms:Decrypt kms:Encrypt", "Storage/Key", FOR_SIGNATURES),
)
# Added by `storage.backup_copy_region`: the same in that region, with its key and S3 endpoint.
COPY_GRANTS = (
    *(
        Grant("s3:AbortMultipartUpload s3:GetObject s3:PutObject s3:PutObjectTagging", f"BackupCopies/Backups /{folder}/*")
        for folder in BACKUP_FOLDERS
    ),
    Grant("s3:ListBucket", "BackupCopies/Backups", {"s3:prefix": "daily/"}),
    Grant("kms:Decrypt kms:GenerateDataKey", "BackupCopies/Key", {"kms:ViaService": "s3.eu-west-1.amazonaws.com"}),
)
# Added by `database.aws_backup_days`: AWS Backup's role.
AWS_BACKUP = Trust("backup.amazonaws.com", page="AWS Backup Developer Guide, IAM service roles: no condition in the trust policy")
OF_AWS_BACKUP = f"arn:aws:rds:us-east-1:{ACCOUNT}:snapshot:awsbackup:*"
MAKE_SNAPSHOTS = "rds:AddTagsToResource rds:CreateDBSnapshot rds:DescribeDBSnapshots rds:ListTagsForResource"
SNAPSHOT_GRANTS = (
    Grant(f"{MAKE_SNAPSHOTS} rds:DescribeDBInstances", "Data/DatabaseInstance"),
    Grant(f"{MAKE_SNAPSHOTS} rds:DeleteDBSnapshot", OF_AWS_BACKUP),
    Grant("backup:DescribeBackupVault", "Data/SnapshotsVault"),
    Grant("kms:DescribeKey", "Storage/Key"),
    Grant("kms:CreateGrant", "Storage/Key", {"kms:GrantIsForAWSResource": "true"}),
)
DRILL_GRANTS = (
    *(Grant("s3:GetObject", f"Storage/Backups /{folder}/*") for folder in BACKUP_FOLDERS),
    Grant("s3:GetObject s3:PutObject", "Storage/Backups /reports/drill/*"),
    Grant("s3:ListBucket", "Storage/Backups", {"s3:prefix": "daily/"}),
    Grant("s3:ListBucket", "Storage/Backups", {"s3:prefix": "reports/drill/"}),
    Grant("kms:Decrypt kms:GenerateDataKey", "Storage/Key", THROUGH_S3),
    Grant("kms:Decrypt", "Storage/Key", FOR_SIGNATURES),
)
ROLES = {
    "Network/NetworkFlowLogRole": ExpectedRole(FLOW_LOG, (Grant(f"{WRITE_LOG} logs:DescribeLogStreams", "Network/NetworkFlowLogGroup"),)),
    "Network/SdkCallRole": ExpectedRole(
        FUNCTION,
        (
            Grant(WRITE_LOG, "Network/SdkCallLogGroup"),
            Grant(
                "ec2:RevokeSecurityGroupEgress ec2:RevokeSecurityGroupIngress",
                f"arn:aws:ec2:us-east-1:{ACCOUNT}:security-group/{{Network/NetworkVpc}}.DefaultSecurityGroup",
            ),
        ),
    ),
    "Alerts/NotifierFunctionRole": ExpectedRole(
        FUNCTION,
        (
            Grant(WRITE_LOG, "Alerts/NotifierFunctionLogGroup"),
            Grant("sqs:SendMessage", "Alerts/NotifierFunctionDeadLetters"),
            Grant(
                "sqs:ChangeMessageVisibility sqs:DeleteMessage sqs:GetQueueAttributes sqs:GetQueueUrl sqs:ReceiveMessage sqs:SendMessage",
                "Alerts/NotifierQueue",
            ),
            Grant("sns:Publish", "Alerts/AlertsEmailTopic"),
            Grant("kms:Decrypt kms:GenerateDataKey", "Alerts/AlertsKey", THROUGH_SNS),
            Grant(READ_SECRET, "Alerts/NotifierSlackWebhook"),
            Grant("dynamodb:GetItem dynamodb:PutItem dynamodb:Query dynamodb:UpdateItem", "Alerts/NotifierAlertStore"),
            Grant("cloudwatch:GetMetricData"),
        ),
    ),
    "Alerts/NotifierDigestRole": schedule_role("Alerts/NotifierFunction"),
    "Alerts/NotifierNightRole": schedule_role("Alerts/NotifierFunction", WITH_HOURS),
    "Alerts/NotifierMorningRole": schedule_role("Alerts/NotifierFunction", WITH_HOURS),
    "Data/WorkingHoursStartRole": working_hours_role("Start"),
    "Data/WorkingHoursStopRole": working_hours_role("Stop"),
    "Alerts/SdkCallRole": ExpectedRole(
        FUNCTION,
        (Grant(WRITE_LOG, "Alerts/SdkCallLogGroup"), Grant("secretsmanager:PutSecretValue", "Alerts/NotifierSlackWebhook")),
    ),
    "Storage/SdkCallRole": ExpectedRole(
        FUNCTION,
        (
            Grant(WRITE_LOG, "Storage/SdkCallLogGroup"),
            Grant("ssm:PutParameter", f"arn:aws:ssm:us-east-1:{ACCOUNT}:parameter/carmen/{{environment}}/image"),
        ),
    ),
    "Data/SdkCallRole": ExpectedRole(
        FUNCTION,
        (
            Grant(WRITE_LOG, "Data/SdkCallLogGroup"),
            retention("/aws/rds/instance/{Data/DatabaseInstance}/postgresql"),
            retention("/aws/rds/instance/{Data/DatabaseInstance}/upgrade"),
        ),
    ),
    "Data/DatabaseProxyIAMRole": ExpectedRole(
        PROXY, tuple(Grant(READ_SECRET, f"Data/{user}") for user in ("CarmenAppA", "CarmenAppB", "CarmenMonitorProxy"))
    ),
    "Data/DatabaseRolesFunctionRole": ExpectedRole(
        FUNCTION,
        (
            *in_the_vpc("Data/DatabaseRolesFunction"),
            database_login("carmen_admin"),
            *(Grant(READ_SECRET, f"Data/{user}") for user in ("CarmenAppA", "CarmenAppB", "CarmenMonitorProxy")),
            *(Grant(READ_SECRET, f"Data/{secret}") for secret in ("CacheAuthToken", "DatabaseInstanceSecret")),
            Grant(f"{READ_SECRET} secretsmanager:PutSecretValue", "Data/DatabaseRolesConnection"),
            Grant(f"{READ_SECRET} secretsmanager:PutSecretValue", "Data/DatabaseRolesMigrationConnection"),
        ),
    ),
    "Data/DatabaseRolesDailyRole": schedule_role("Data/DatabaseRolesFunction"),
    "Edge/SdkCallRole": ExpectedRole(
        FUNCTION,
        (
            Grant(WRITE_LOG, "Edge/SdkCallLogGroup"),
            Grant("s3:PutObject", "Storage/Pages /errors/unavailable.html"),
        ),
    ),
    "Edge/BalancerOriginSecurityGroupRole": ExpectedRole(
        FUNCTION, (Grant(WRITE_LOG, "Edge/BalancerOriginSecurityGroupLogGroup"), Grant("ec2:DescribeSecurityGroups"))
    ),
    "Service/SdkCallRole": ExpectedRole(
        FUNCTION,
        (
            Grant(WRITE_LOG, "Service/SdkCallLogGroup"),
            Grant("secretsmanager:PutSecretValue", "Service/EnvironmentSmtpPassword"),
            Grant("secretsmanager:PutSecretValue", "Service/EnvironmentSentryDsn"),
            retention("/aws/ecs/containerinsights/{Service/Cluster}/performance", environments=("prod", "staging")),
        ),
    ),
    "Service/WebTaskRole": ExpectedRole(
        TASK,
        (
            Grant(
                "s3:AbortMultipartUpload s3:DeleteObject s3:GetObject s3:ListMultipartUploadParts s3:PutObject",
                "Storage/Uploads /*",
            ),
            Grant("s3:ListBucket", "Storage/Uploads"),
            Grant("kms:Decrypt kms:GenerateDataKey", "Storage/Key", THROUGH_S3),
        ),
    ),
    "Service/WebTaskExecutionRole": ExpectedRole(
        TASK_EXECUTION,
        (
            Grant(WRITE_LOG, "Service/WebLogGroup"),
            Grant("ecr:GetAuthorizationToken"),
            Grant(PULL_IMAGE, "Storage/ImagesRepository"),
            Grant(READ_SECRET, "Data/DatabaseRolesConnection"),
            *(
                Grant(READ_SECRET, f"Service/Environment{secret}")
                for secret in ("JwtSecret", "NextauthSecret", "SentryDsn", "SmtpPassword", "WebhookSecret")
            ),
        ),
    ),
    "Service/MigrationTaskRole": ExpectedRole(TASK),
    "Service/MigrationTaskExecutionRole": ExpectedRole(
        TASK_EXECUTION,
        (
            Grant(WRITE_LOG, "Service/MigrationLogGroup"),
            Grant("ecr:GetAuthorizationToken"),
            Grant(PULL_IMAGE, "Storage/ImagesRepository"),
            Grant(READ_SECRET, "Data/DatabaseRolesMigrationConnection"),
        ),
    ),
    "Service/ReleaseFilesTaskRole": ExpectedRole(
        TASK, (*reads_code("Service/ReleaseFilesTask"), Grant("s3:PutObject", "Edge/ReleaseFiles /_next/static/*"))
    ),
    "Service/ReleaseFilesTaskExecutionRole": ExpectedRole(
        TASK_EXECUTION,
        (
            Grant(WRITE_LOG, "Service/ReleaseFilesLogGroup"),
            Grant("ecr:GetAuthorizationToken"),
            Grant(PULL_IMAGE, "Storage/ImagesRepository"),
        ),
    ),
    "Service/OperationsTaskRole": ExpectedRole(
        TASK,
        (
            Grant(
                "ssmmessages:CreateControlChannel ssmmessages:CreateDataChannel ssmmessages:OpenControlChannel ssmmessages:OpenDataChannel"
            ),
        ),
    ),
    "Service/OperationsTaskExecutionRole": ExpectedRole(
        TASK_EXECUTION, (Grant(WRITE_LOG, "Service/OperationsLogGroup"), Grant(READ_SECRET, "Data/DatabaseRolesConnection"))
    ),
    "Operations/BackupFunctionRole": ExpectedRole(
        FUNCTION, (*in_the_vpc("Operations/BackupFunction"), *starts_task("Operations/BackupFargateTask"), *BACKUP_GRANTS)
    ),
    "Operations/BackupFargateTaskRole": ExpectedRole(
        TASK, (*reads_code("Operations/BackupFunction", "Operations/Libraries", "Operations/ClientTools"), *BACKUP_GRANTS)
    ),
    "Operations/BackupFargateTaskExecutionRole": ExpectedRole(TASK_EXECUTION, (Grant(WRITE_LOG, "Operations/BackupFargateLogGroup"),)),
    "Operations/BackupNightlyRole": schedule_role("Operations/BackupFunction"),
    "Operations/DrillFunctionRole": ExpectedRole(
        FUNCTION, (*outside_the_vpc("Operations/DrillFunction"), *starts_task("Operations/DrillFargateTask"), *DRILL_GRANTS)
    ),
    "Operations/DrillFargateTaskRole": ExpectedRole(
        TASK,
        (
            *reads_code("Operations/DrillFunction", "Operations/Libraries", "Operations/ClientTools", "Operations/DrillServer"),
            *DRILL_GRANTS,
        ),
    ),
    "Operations/DrillFargateTaskExecutionRole": ExpectedRole(TASK_EXECUTION, (Grant(WRITE_LOG, "Operations/DrillFargateLogGroup"),)),
    "Operations/DrillMonthlyRole": schedule_role("Operations/DrillFunction"),
    "Operations/MaintenanceFunctionRole": ExpectedRole(
        FUNCTION,
        (
            *in_the_vpc("Operations/MaintenanceFunction"),
            database_login("carmen_maintenance"),
            database_login("carmen_monitor"),
            Grant("s3:GetObject s3:PutObject", "Storage/Backups /reports/maintenance/*"),
            Grant("s3:ListBucket", "Storage/Backups", {"s3:prefix": "reports/maintenance/"}),
            Grant("kms:Decrypt kms:GenerateDataKey", "Storage/Key", THROUGH_S3),
        ),
    ),
    "Operations/MaintenanceWeeklyRole": schedule_role("Operations/MaintenanceFunction"),
    "Operations/MaintenanceMonthlyRole": schedule_role("Operations/MaintenanceFunction"),
    "Operations/RotationFunctionRole": ExpectedRole(
        FUNCTION,
        (
            *in_the_vpc("Operations/RotationFunction"),
            database_login("carmen_rotation"),
            *(
                Grant(f"{READ_SECRET} secretsmanager:PutSecretValue", f"Data/{secret}")
                for secret in ("CarmenAppA", "CarmenAppB", "DatabaseRolesConnection", "DatabaseRolesMigrationConnection")
            ),
            Grant(f"{READ_SECRET} secretsmanager:PutSecretValue {CHANGE_STAGE}", "Data/CacheAuthToken"),
            Grant("ecs:ListTasks", "*", {"ecs:cluster": f"arn:aws:ecs:us-east-1:{ACCOUNT}:cluster/{{Service/Cluster}}"}),
            Grant("ecs:DescribeTasks", f"arn:aws:ecs:us-east-1:{ACCOUNT}:task/{{Service/Cluster}}/*"),
            Grant("ecs:DescribeServices ecs:UpdateService", "Service/WebService"),
            Grant(
                "elasticache:ModifyReplicationGroup",
                f"arn:aws:elasticache:us-east-1:{ACCOUNT}:replicationgroup:{{Data/CacheRedis}}",
            ),
        ),
    ),
    "Operations/RotationDailyRole": schedule_role("Operations/RotationFunction"),
    "Operations/RotationMeasureAgesRole": schedule_role("Operations/RotationFunction"),
    "Operations/ProbeFunctionRole": ExpectedRole(
        FUNCTION,
        (
            *in_the_vpc("Operations/ProbeFunction"),
            database_login("carmen_monitor"),
            Grant(READ_SECRET, "Data/CarmenMonitorProxy"),
            Grant(READ_SECRET, "Data/CacheAuthToken"),
            *(Grant("s3:GetObject", f"Storage/Backups /{folder}/*") for folder in (*BACKUP_FOLDERS, "reports")),
            Grant("s3:ListBucket", "Storage/Backups", {"s3:prefix": "daily/"}),
            Grant("kms:Decrypt kms:GenerateDataKey", "Storage/Key", THROUGH_S3),
            Grant("kms:Decrypt", "Storage/Key", FOR_SIGNATURES),
        ),
    ),
    "Operations/ProbeMinutelyRole": schedule_role("Operations/ProbeFunction"),
    "Operations/ProbeMeasureAgesRole": schedule_role("Operations/ProbeFunction"),
    "/UptimeFunctionRole": ExpectedRole(FUNCTION, outside_the_vpc("/UptimeFunction")),
    "/UptimeMinutelyRole": schedule_role("/UptimeFunction"),
}

# Type of resource, `Stack/Name` or ARN → actions that no role may perform on any of them, in any environment.
FORBIDDEN = {
    "AWS::IAM::Role": (
        "iam:AttachRolePolicy iam:CreateRole iam:DeleteRole iam:DeleteRolePermissionsBoundary iam:DeleteRolePolicy iam:DetachRolePolicy "
        "iam:PassRole iam:PutRolePermissionsBoundary iam:PutRolePolicy iam:UpdateAssumeRolePolicy sts:AssumeRole sts:TagSession"
    ),
    f"arn:aws:iam::{ACCOUNT}:user/anybody": (
        "iam:AttachUserPolicy iam:CreateAccessKey iam:CreateLoginProfile iam:CreateUser iam:PutUserPolicy iam:UpdateLoginProfile"
    ),
    f"arn:aws:iam::{ACCOUNT}:policy/anything": "iam:CreatePolicy iam:CreatePolicyVersion iam:SetDefaultPolicyVersion",
    "arn:aws:iam::999999999999:role/deploy": "sts:AssumeRole",
    "AWS::S3::Bucket": (
        "s3:DeleteBucket s3:DeleteBucketPolicy s3:PutBucketAcl s3:PutBucketObjectLockConfiguration s3:PutBucketPolicy "
        "s3:PutBucketPublicAccessBlock s3:PutBucketVersioning s3:PutEncryptionConfiguration s3:PutLifecycleConfiguration "
        "s3:PutReplicationConfiguration s3:ListBucketVersions"
    ),
    "AWS::S3::Bucket /one": (
        "s3:BypassGovernanceRetention s3:DeleteObjectVersion s3:PutObjectAcl s3:PutObjectLegalHold s3:PutObjectRetention s3:RestoreObject"
    ),
    "Storage/Backups /daily/one.sql.gz": "s3:DeleteObject",
    "Edge/ReleaseFiles /_next/static/1a.js": "s3:DeleteObject s3:GetObject",
    "Edge/ReleaseFiles /index.html": "s3:PutObject",
    "AWS::KMS::Key": (
        "kms:CreateGrant kms:Decrypt kms:DeleteImportedKeyMaterial kms:DisableKey kms:DisableKeyRotation kms:Encrypt kms:GenerateDataKey "
        "kms:PutKeyPolicy kms:ReEncryptFrom kms:ScheduleKeyDeletion"
    ),
    "AWS::SecretsManager::Secret": (
        "secretsmanager:CancelRotateSecret secretsmanager:DeleteResourcePolicy secretsmanager:DeleteSecret "
        "secretsmanager:PutResourcePolicy secretsmanager:ReplicateSecretToRegions secretsmanager:RotateSecret "
        "secretsmanager:UpdateSecret secretsmanager:UpdateSecretVersionStage"
    ),
    f"arn:aws:ssm:us-east-1:{ACCOUNT}:parameter/carmen/prod/image": "ssm:DeleteParameter ssm:GetParameter ssm:GetParameters",
    f"arn:aws:ec2:us-east-1:{ACCOUNT}:instance/i-1": "ec2:RunInstances ec2:TerminateInstances ssm:SendCommand ssm:StartSession",
    "AWS::EC2::SecurityGroup": (
        "ec2:AuthorizeSecurityGroupEgress ec2:AuthorizeSecurityGroupIngress ec2:DeleteSecurityGroup ec2:ModifySecurityGroupRules"
    ),
    f"arn:aws:ec2:us-east-1:{ACCOUNT}:vpc-flow-log/fl-1": "ec2:DeleteFlowLogs",
    "AWS::RDS::DBInstance": (
        "rds:CreateDBSnapshot rds:DeleteDBInstance rds:ModifyDBInstance rds:RebootDBInstance rds:RestoreDBInstanceToPointInTime "
        "rds:StopDBInstance"
    ),
    "AWS::Backup::BackupVault": "backup:DeleteBackupVault backup:DeleteBackupVaultLockConfiguration backup:PutBackupVaultLockConfiguration",
    f"arn:aws:rds:us-east-1:{ACCOUNT}:snapshot:rds-1": "rds:CopyDBSnapshot rds:DeleteDBSnapshot rds:ModifyDBSnapshotAttribute",
    f"arn:aws:rds-db:us-east-1:{ACCOUNT}:dbuser:db-1/master": "rds-db:connect",
    f"arn:aws:elasticache:us-east-1:{ACCOUNT}:replicationgroup:one": "elasticache:DeleteReplicationGroup elasticache:ModifyReplicationGroup",
    "AWS::Lambda::Function": (
        "lambda:AddPermission lambda:CreateFunction lambda:DeleteFunction lambda:PutFunctionConcurrency lambda:UpdateFunctionCode "
        "lambda:UpdateFunctionConfiguration"
    ),
    "AWS::ECS::Cluster": "ecs:DeleteCluster ecs:ExecuteCommand ecs:UpdateCluster",
    "AWS::ECS::TaskDefinition": "ecs:RunTask ecs:StartTask",
    f"arn:aws:ecs:us-east-1:{ACCOUNT}:service/cluster/web": "ecs:DeleteService ecs:UpdateService",
    f"arn:aws:ecs:us-east-1:{ACCOUNT}:task/cluster/1": "ecs:ExecuteCommand ecs:StopTask",
    "AWS::ECR::Repository": (
        "ecr:BatchDeleteImage ecr:CompleteLayerUpload ecr:DeleteRepository ecr:PutImage ecr:PutImageTagMutability ecr:SetRepositoryPolicy"
    ),
    "AWS::Logs::LogGroup": (
        "logs:DeleteLogGroup logs:DeleteLogStream logs:DeleteRetentionPolicy logs:FilterLogEvents logs:GetLogEvents "
        "logs:PutSubscriptionFilter"
    ),
    "AWS::SNS::Topic": "sns:AddPermission sns:DeleteTopic sns:Publish sns:SetTopicAttributes sns:Subscribe",
    "AWS::SQS::Queue": "sqs:DeleteMessage sqs:DeleteQueue sqs:PurgeQueue sqs:ReceiveMessage sqs:SetQueueAttributes",
    f"arn:aws:cloudformation:us-east-1:{ACCOUNT}:stack/CarmenProd/1": (
        "cloudformation:CreateStack cloudformation:DeleteStack cloudformation:UpdateStack cloudformation:UpdateTerminationProtection"
    ),
    "AWS::CloudFront::Distribution": "cloudfront:CreateInvalidation cloudfront:DeleteDistribution cloudfront:UpdateDistribution",
    "AWS::WAFv2::WebACL": "wafv2:DeleteLoggingConfiguration wafv2:DeleteWebACL wafv2:UpdateWebACL",
    f"arn:aws:scheduler:us-east-1:{ACCOUNT}:schedule/default/one": "scheduler:CreateSchedule scheduler:DeleteSchedule scheduler:UpdateSchedule",
    f"arn:aws:cloudwatch:us-east-1:{ACCOUNT}:alarm:one": "cloudwatch:DeleteAlarms cloudwatch:DisableAlarmActions cloudwatch:PutMetricAlarm",
    f"arn:aws:cloudtrail:us-east-1:{ACCOUNT}:trail/one": "cloudtrail:DeleteTrail cloudtrail:StopLogging",
    "*": "organizations:LeaveOrganization iam:CreateAccountAlias kms:CreateKey sts:GetSessionToken",
}
