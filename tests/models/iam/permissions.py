"""What every role may do, and what none may. A new permission belongs here first."""

from __future__ import annotations

from dataclasses import dataclass, field

from tools.reports.security.policies import ACCOUNT
from tools.reports.security.policy_evaluator import Context

REFERENCE = "https://docs.aws.amazon.com/service-authorization/latest/reference"
# Action → the page by which it knows no resources, so that a policy can name none.
NAMELESS = {
    "cloudwatch:GetMetricData": f"{REFERENCE}/list_amazoncloudwatch.html",
    "ec2:DescribeNetworkInterfaces": f"{REFERENCE}/list_amazonec2.html",
    "ec2:DescribeSecurityGroups": f"{REFERENCE}/list_amazonec2.html",
    "ec2:DescribeSubnets": f"{REFERENCE}/list_amazonec2.html",
    "ecr:GetAuthorizationToken": f"{REFERENCE}/list_amazonelasticcontainerregistry.html",
    "ssmmessages:CreateControlChannel": f"{REFERENCE}/list_amazonmessagegatewayservice.html",
    "ssmmessages:CreateDataChannel": f"{REFERENCE}/list_amazonmessagegatewayservice.html",
    "ssmmessages:OpenControlChannel": f"{REFERENCE}/list_amazonmessagegatewayservice.html",
    "ssmmessages:OpenDataChannel": f"{REFERENCE}/list_amazonmessagegatewayservice.html",
}

EVERYWHERE = ("prod", "staging", "dev")
WITH_HOURS = ("dev",)
# Roles of what an environment goes without (`[alarms] watched`, `[database] proxy`).
ABSENT = {
    "dev": {
        "/UptimeFunctionRole", "/UptimeMinutelyRole", "Alerts/NotifierDigestRole", "Data/DatabaseProxyIAMRole",
        "Operations/ProbeFunctionRole", "Operations/ProbeMinutelyRole", "Operations/ProbeAgesRole", "Operations/RotationAgesRole",
    }
}  # fmt: skip
READ_SECRET = "secretsmanager:DescribeSecret secretsmanager:GetSecretValue"
WRITE_LOG = "logs:CreateLogStream logs:PutLogEvents"
PULL_IMAGE = "ecr:BatchCheckLayerAvailability ecr:BatchGetImage ecr:GetDownloadUrlForLayer"
THROUGH_S3: Context = {"kms:ViaService": "s3.us-east-1.amazonaws.com"}
THROUGH_SNS: Context = {"kms:ViaService": "sns.us-east-1.amazonaws.com"}


@dataclass(frozen=True)
class Trust:
    """The service that assumes a role; `source` is what it acts for, and without one `page` is where AWS names no condition."""

    service: str
    source: str = ""
    page: str = ""


FUNCTION = Trust(
    "lambda.amazonaws.com", page="Lambda Developer Guide, Defining Lambda function permissions with an execution role: no condition"
)
PROXY = Trust("rds.amazonaws.com", page="RDS User Guide, Configuring IAM authentication for RDS Proxy: no condition in the trust policy")
TASK = Trust("ecs-tasks.amazonaws.com", source=f"arn:aws:ecs:us-east-1:{ACCOUNT}:task/cluster/1")
START_OF_TASK = Trust("ecs-tasks.amazonaws.com", page="ECS Developer Guide, Amazon ECS task execution IAM role: no condition")
SCHEDULE = Trust("scheduler.amazonaws.com", source=f"arn:aws:scheduler:us-east-1:{ACCOUNT}:schedule-group/default")
FLOW_LOG = Trust("vpc-flow-logs.amazonaws.com", source=f"arn:aws:ec2:us-east-1:{ACCOUNT}:vpc-flow-log/fl-1")


@dataclass(frozen=True)
class May:
    """Actions, separated by spaces, on what a policy names as Resource (Environment.pattern says how it is told)."""

    actions: str
    resource: str = "*"
    context: Context = field(default_factory=dict)
    environments: tuple[str, ...] = EVERYWHERE


@dataclass(frozen=True)
class RoleOf:
    """Who assumes a role, and all that it may; and in which environments there is one."""

    trust: Trust
    may: tuple[May, ...] = ()
    environments: tuple[str, ...] = EVERYWHERE


def retention(log_group: str, environments: tuple[str, ...] = EVERYWHERE) -> May:
    """Bounds a log group that an AWS service makes for itself."""
    group = f"arn:aws:logs:us-east-1:{ACCOUNT}:log-group:{log_group}:*"
    return May("logs:CreateLogGroup logs:PutRetentionPolicy", group, environments=environments)


def outside_the_vpc(function: str) -> tuple[May, ...]:
    """What every function outside the VPC may: its log and its dead letters."""
    return May(WRITE_LOG, f"{function}LogGroup"), May("sqs:SendMessage", f"{function}DeadLetters")


def in_the_vpc(function: str) -> tuple[May, ...]:
    """What every function in the VPC may besides: (Lambda for it) its network interfaces."""
    interfaces = "ec2:AssignPrivateIpAddresses ec2:CreateNetworkInterface ec2:DeleteNetworkInterface ec2:UnassignPrivateIpAddresses"
    return (
        *outside_the_vpc(function),
        May("ec2:DescribeNetworkInterfaces ec2:DescribeSubnets"),
        May(interfaces, f"arn:aws:ec2:us-east-1:{ACCOUNT}:network-interface/*"),
        May("ec2:CreateNetworkInterface", f"arn:aws:ec2:us-east-1:{ACCOUNT}:subnet/*"),
        May("ec2:CreateNetworkInterface", f"arn:aws:ec2:us-east-1:{ACCOUNT}:security-group/*"),
    )


def schedule_of(function: str, environments: tuple[str, ...] = EVERYWHERE) -> RoleOf:
    """What EventBridge Scheduler may with a function: invoke it, and put aside what it could not deliver."""
    return RoleOf(
        SCHEDULE,
        (
            May("lambda:InvokeFunction", function),
            May("lambda:InvokeFunction", f"{function} :*"),
            May("sqs:SendMessage", f"{function}DeadLetters"),
        ),
        environments,
    )


def hours_of_the_database(name: str) -> RoleOf:
    """What EventBridge Scheduler may with the instance: start it, or stop it."""
    letters = f"Data/WorkingHours{name}DeadLetters"
    return RoleOf(SCHEDULE, (May(f"rds:{name}DBInstance", "Data/DatabaseInstance"), May("sqs:SendMessage", letters)), WITH_HOURS)


def log_in(role: str) -> May:
    """As this database role, by IAM."""
    return May("rds-db:connect", f"arn:aws:rds-db:us-east-1:{ACCOUNT}:dbuser:{{Data/DatabaseInstance}}.DbiResourceId/{role}")


ASSETS = f"cdk-hnb659fds-assets-{ACCOUNT}-us-east-1"  # where the CDK puts what it publishes


def hands_over(task: str) -> tuple[May, ...]:
    """What a function may that starts a task with its own code."""
    only_ecs = {"iam:PassedToService": "ecs-tasks.amazonaws.com"}
    return (
        May("ecs:RunTask", task, {"ecs:cluster": f"arn:aws:ecs:us-east-1:{ACCOUNT}:cluster/{{Service/Cluster}}"}),
        *(May("iam:PassRole", f"{task}{role}", only_ecs) for role in ("Role", "ExecutionRole")),
    )


def fetches(*owners: str) -> tuple[May, ...]:
    """What such a task reads at its start: the code of functions, layers, or its own."""
    return tuple(May("s3:GetObject", f"arn:aws:s3:::{ASSETS}/{{code of {name}}}") for name in owners)


CHANGE_STAGE = "secretsmanager:UpdateSecretVersionStage"
BACKUP_FOLDERS = ("daily", "weekly", "monthly")
BACKS_UP = (
    log_in("carmen_backup"),
    *(
        May("s3:AbortMultipartUpload s3:GetObject s3:PutObject s3:PutObjectTagging", f"Storage/Backups /{folder}/*")
        for folder in BACKUP_FOLDERS
    ),
    May("s3:ListBucket", "Storage/Backups", {"s3:prefix": "daily/"}),
    May("kms:Decrypt kms:GenerateDataKey", "Storage/Key", THROUGH_S3),
)
# What `storage.backup_copy_region` adds: the same there, under the key and through the S3 of that region.
COPIES = (
    *(
        May("s3:AbortMultipartUpload s3:GetObject s3:PutObject s3:PutObjectTagging", f"BackupCopies/Backups /{folder}/*")
        for folder in BACKUP_FOLDERS
    ),
    May("s3:ListBucket", "BackupCopies/Backups", {"s3:prefix": "daily/"}),
    May("kms:Decrypt kms:GenerateDataKey", "BackupCopies/Key", {"kms:ViaService": "s3.eu-west-1.amazonaws.com"}),
)
# What `database.aws_backup_days` adds: AWS Backup's role.
AWS_BACKUP = Trust("backup.amazonaws.com", page="AWS Backup Developer Guide, IAM service roles: no condition in the trust policy")
OF_AWS_BACKUP = f"arn:aws:rds:us-east-1:{ACCOUNT}:snapshot:awsbackup:*"
MAKE_SNAPSHOTS = "rds:AddTagsToResource rds:CreateDBSnapshot rds:DescribeDBSnapshots rds:ListTagsForResource"
SNAPSHOTS = (
    May(f"{MAKE_SNAPSHOTS} rds:DescribeDBInstances", "Data/DatabaseInstance"),
    May(f"{MAKE_SNAPSHOTS} rds:DeleteDBSnapshot", OF_AWS_BACKUP),
    May("backup:DescribeBackupVault", "Data/SnapshotsVault"),
    May("kms:DescribeKey", "Storage/Key"),
    May("kms:CreateGrant", "Storage/Key", {"kms:GrantIsForAWSResource": "true"}),
)
DRILLS = (
    *(May("s3:GetObject", f"Storage/Backups /{folder}/*") for folder in BACKUP_FOLDERS),
    May("s3:GetObject s3:PutObject", "Storage/Backups /reports/drill/*"),
    May("s3:ListBucket", "Storage/Backups", {"s3:prefix": "daily/"}),
    May("s3:ListBucket", "Storage/Backups", {"s3:prefix": "reports/drill/"}),
    May("kms:Decrypt kms:GenerateDataKey", "Storage/Key", THROUGH_S3),
)
ROLES = {
    "Network/NetworkFlowLogRole": RoleOf(FLOW_LOG, (May(f"{WRITE_LOG} logs:DescribeLogStreams", "Network/NetworkFlowLogGroup"),)),
    "Network/SdkCallRole": RoleOf(
        FUNCTION,
        (
            May(WRITE_LOG, "Network/SdkCallLogGroup"),
            May(
                "ec2:RevokeSecurityGroupEgress ec2:RevokeSecurityGroupIngress",
                f"arn:aws:ec2:us-east-1:{ACCOUNT}:security-group/{{Network/NetworkVpc}}.DefaultSecurityGroup",
            ),
        ),
    ),
    "Alerts/NotifierFunctionRole": RoleOf(
        FUNCTION,
        (
            May(WRITE_LOG, "Alerts/NotifierFunctionLogGroup"),
            May("sqs:SendMessage", "Alerts/NotifierFunctionDeadLetters"),
            May(
                "sqs:ChangeMessageVisibility sqs:DeleteMessage sqs:GetQueueAttributes sqs:GetQueueUrl sqs:ReceiveMessage sqs:SendMessage",
                "Alerts/NotifierQueue",
            ),
            May("sns:Publish", "Alerts/AlertsEmailTopic"),
            May("kms:Decrypt kms:GenerateDataKey", "Alerts/AlertsKey", THROUGH_SNS),
            May(READ_SECRET, "Alerts/NotifierSlackWebhook"),
            May("dynamodb:GetItem dynamodb:PutItem dynamodb:Query dynamodb:UpdateItem", "Alerts/NotifierAlertStore"),
            May("cloudwatch:GetMetricData"),
        ),
    ),
    "Alerts/NotifierDigestRole": schedule_of("Alerts/NotifierFunction"),
    "Alerts/NotifierNightRole": schedule_of("Alerts/NotifierFunction", WITH_HOURS),
    "Alerts/NotifierMorningRole": schedule_of("Alerts/NotifierFunction", WITH_HOURS),
    "Data/WorkingHoursStartRole": hours_of_the_database("Start"),
    "Data/WorkingHoursStopRole": hours_of_the_database("Stop"),
    "Alerts/SdkCallRole": RoleOf(
        FUNCTION,
        (May(WRITE_LOG, "Alerts/SdkCallLogGroup"), May("secretsmanager:PutSecretValue", "Alerts/NotifierSlackWebhook")),
    ),
    "Storage/SdkCallRole": RoleOf(
        FUNCTION,
        (
            May(WRITE_LOG, "Storage/SdkCallLogGroup"),
            May("ssm:PutParameter", f"arn:aws:ssm:us-east-1:{ACCOUNT}:parameter/carmen/{{environment}}/image"),
        ),
    ),
    "Data/SdkCallRole": RoleOf(
        FUNCTION,
        (
            May(WRITE_LOG, "Data/SdkCallLogGroup"),
            retention("/aws/rds/instance/{Data/DatabaseInstance}/postgresql"),
            retention("/aws/rds/instance/{Data/DatabaseInstance}/upgrade"),
        ),
    ),
    "Data/DatabaseProxyIAMRole": RoleOf(
        PROXY, tuple(May(READ_SECRET, f"Data/{user}") for user in ("CarmenAppA", "CarmenAppB", "CarmenMonitorProxy"))
    ),
    "Data/DatabaseRolesFunctionRole": RoleOf(
        FUNCTION,
        (
            *in_the_vpc("Data/DatabaseRolesFunction"),
            *(May(READ_SECRET, f"Data/{user}") for user in ("CarmenAppA", "CarmenAppB", "CarmenMonitorProxy")),
            *(May(READ_SECRET, f"Data/{secret}") for secret in ("CacheAuthToken", "DatabaseInstanceSecret")),
            May(f"{READ_SECRET} secretsmanager:PutSecretValue", "Data/DatabaseRolesConnection"),
            May(f"{READ_SECRET} secretsmanager:PutSecretValue", "Data/DatabaseRolesMigrationConnection"),
        ),
    ),
    "Data/DatabaseRolesDailyRole": schedule_of("Data/DatabaseRolesFunction"),
    "Edge/SdkCallRole": RoleOf(
        FUNCTION,
        (
            May(WRITE_LOG, "Edge/SdkCallLogGroup"),
            May("ec2:DescribeSecurityGroups"),
            May("s3:PutObject", "Storage/Pages /errors/unavailable.html"),
        ),
    ),
    "Service/SdkCallRole": RoleOf(
        FUNCTION,
        (
            May(WRITE_LOG, "Service/SdkCallLogGroup"),
            May("secretsmanager:PutSecretValue", "Service/EnvironmentSmtpPassword"),
            May("secretsmanager:PutSecretValue", "Service/EnvironmentSentryDsn"),
            retention("/aws/ecs/containerinsights/{Service/Cluster}/performance", environments=("prod", "staging")),
        ),
    ),
    "Service/WebTaskRole": RoleOf(
        TASK,
        (
            May(
                "s3:AbortMultipartUpload s3:DeleteObject s3:GetObject s3:ListMultipartUploadParts s3:PutObject",
                "Storage/Uploads /*",
            ),
            May("s3:ListBucket", "Storage/Uploads"),
            May("kms:Decrypt kms:GenerateDataKey", "Storage/Key", THROUGH_S3),
        ),
    ),
    "Service/WebTaskExecutionRole": RoleOf(
        START_OF_TASK,
        (
            May(WRITE_LOG, "Service/WebLogGroup"),
            May("ecr:GetAuthorizationToken"),
            May(PULL_IMAGE, "Storage/ImagesRepository"),
            May(READ_SECRET, "Data/DatabaseRolesConnection"),
            *(
                May(READ_SECRET, f"Service/Environment{secret}")
                for secret in ("JwtSecret", "NextauthSecret", "SentryDsn", "SmtpPassword", "WebhookSecret")
            ),
        ),
    ),
    "Service/MigrationTaskRole": RoleOf(TASK),
    "Service/MigrationTaskExecutionRole": RoleOf(
        START_OF_TASK,
        (
            May(WRITE_LOG, "Service/MigrationLogGroup"),
            May("ecr:GetAuthorizationToken"),
            May(PULL_IMAGE, "Storage/ImagesRepository"),
            May(READ_SECRET, "Data/DatabaseRolesMigrationConnection"),
        ),
    ),
    "Service/ReleaseFilesTaskRole": RoleOf(
        TASK, (*fetches("Service/ReleaseFilesTask"), May("s3:PutObject", "Edge/ReleaseFiles /_next/static/*"))
    ),
    "Service/ReleaseFilesTaskExecutionRole": RoleOf(
        START_OF_TASK,
        (
            May(WRITE_LOG, "Service/ReleaseFilesLogGroup"),
            May("ecr:GetAuthorizationToken"),
            May(PULL_IMAGE, "Storage/ImagesRepository"),
        ),
    ),
    "Service/OperationsTaskRole": RoleOf(
        TASK,
        (May("ssmmessages:CreateControlChannel ssmmessages:CreateDataChannel ssmmessages:OpenControlChannel ssmmessages:OpenDataChannel"),),
    ),
    "Service/OperationsTaskExecutionRole": RoleOf(
        START_OF_TASK, (May(WRITE_LOG, "Service/OperationsLogGroup"), May(READ_SECRET, "Data/DatabaseRolesConnection"))
    ),
    "Operations/BackupFunctionRole": RoleOf(
        FUNCTION, (*in_the_vpc("Operations/BackupFunction"), *hands_over("Operations/BackupFargateTask"), *BACKS_UP)
    ),
    "Operations/BackupFargateTaskRole": RoleOf(
        TASK, (*fetches("Operations/BackupFunction", "Operations/Libraries", "Operations/ClientTools"), *BACKS_UP)
    ),
    "Operations/BackupFargateTaskExecutionRole": RoleOf(START_OF_TASK, (May(WRITE_LOG, "Operations/BackupFargateLogGroup"),)),
    "Operations/BackupNightlyRole": schedule_of("Operations/BackupFunction"),
    "Operations/DrillFunctionRole": RoleOf(
        FUNCTION, (*outside_the_vpc("Operations/DrillFunction"), *hands_over("Operations/DrillFargateTask"), *DRILLS)
    ),
    "Operations/DrillFargateTaskRole": RoleOf(
        TASK,
        (*fetches("Operations/DrillFunction", "Operations/Libraries", "Operations/ClientTools", "Operations/DrillServer"), *DRILLS),
    ),
    "Operations/DrillFargateTaskExecutionRole": RoleOf(START_OF_TASK, (May(WRITE_LOG, "Operations/DrillFargateLogGroup"),)),
    "Operations/DrillMonthlyRole": schedule_of("Operations/DrillFunction"),
    "Operations/MaintenanceFunctionRole": RoleOf(
        FUNCTION,
        (
            *in_the_vpc("Operations/MaintenanceFunction"),
            log_in("carmen_maintenance"),
            log_in("carmen_monitor"),
            May("s3:GetObject s3:PutObject", "Storage/Backups /reports/maintenance/*"),
            May("s3:ListBucket", "Storage/Backups", {"s3:prefix": "reports/maintenance/"}),
            May("kms:Decrypt kms:GenerateDataKey", "Storage/Key", THROUGH_S3),
        ),
    ),
    "Operations/MaintenanceWeeklyRole": schedule_of("Operations/MaintenanceFunction"),
    "Operations/MaintenanceMonthlyRole": schedule_of("Operations/MaintenanceFunction"),
    "Operations/RotationFunctionRole": RoleOf(
        FUNCTION,
        (
            *in_the_vpc("Operations/RotationFunction"),
            *(
                May(f"{READ_SECRET} secretsmanager:PutSecretValue", f"Data/{secret}")
                for secret in ("CarmenAppA", "CarmenAppB", "DatabaseRolesConnection", "DatabaseRolesMigrationConnection")
            ),
            May(f"{READ_SECRET} secretsmanager:PutSecretValue {CHANGE_STAGE}", "Data/CacheAuthToken"),
            May("ecs:ListTasks", f"arn:aws:ecs:us-east-1:{ACCOUNT}:container-instance/{{Service/Cluster}}/*"),
            May("ecs:DescribeTasks", f"arn:aws:ecs:us-east-1:{ACCOUNT}:task/{{Service/Cluster}}/*"),
            May("ecs:DescribeServices ecs:UpdateService", "Service/WebService"),
            May(
                "elasticache:ModifyReplicationGroup",
                f"arn:aws:elasticache:us-east-1:{ACCOUNT}:replicationgroup:{{Data/CacheRedis}}",
            ),
        ),
    ),
    "Operations/RotationDailyRole": schedule_of("Operations/RotationFunction"),
    "Operations/RotationAgesRole": schedule_of("Operations/RotationFunction"),
    "Operations/ProbeFunctionRole": RoleOf(
        FUNCTION,
        (
            *in_the_vpc("Operations/ProbeFunction"),
            log_in("carmen_monitor"),
            May(READ_SECRET, "Data/CarmenMonitorProxy"),
            May(READ_SECRET, "Data/CacheAuthToken"),
            *(May("s3:GetObject", f"Storage/Backups /{folder}/*") for folder in (*BACKUP_FOLDERS, "reports")),
            May("s3:ListBucket", "Storage/Backups", {"s3:prefix": "daily/"}),
            May("kms:Decrypt kms:GenerateDataKey", "Storage/Key", THROUGH_S3),
        ),
    ),
    "Operations/ProbeMinutelyRole": schedule_of("Operations/ProbeFunction"),
    "Operations/ProbeAgesRole": schedule_of("Operations/ProbeFunction"),
    "/UptimeFunctionRole": RoleOf(FUNCTION, outside_the_vpc("/UptimeFunction")),
    "/UptimeMinutelyRole": schedule_of("/UptimeFunction"),
}

# Type of resource, `Stack/Name` or an ARN → what no role may do to any of them, in whichever environment.
NEVER = {
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
