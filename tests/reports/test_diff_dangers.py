"""Every kind of danger and its harmless counterpart: a real change of production's templates, and the exact text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.reports.changed_templates import GONE, Edit, Edits, Json, by_name, compare_all, setting, statements, together
from tools.reports.assembly import Assembly
from tools.reports.diff.collect import Comparison, compare
from tools.reports.diff.dangers import find_dangers

DB, REDIS, ACL = "Data/Database/Instance", "Data/Cache/Redis", "EdgeGlobal/WebFirewall/WebAcl"
UPLOADS, BACKUPS = "Storage/Uploads", "Storage/Backups"
CDN, HEADERS = "Edge/Edge/Distribution", "Edge/Edge/SecurityHeaders"
DEFAULT = "DistributionConfig.DefaultCacheBehavior"
SECURITY = "ResponseHeadersPolicyConfig.SecurityHeadersConfig"
IMAGES_KEY = "CachePolicyConfig.ParametersInCacheKeyAndForwardedToOrigin"
WEB, BUCKET_POLICY = "Service/Web/TaskRole/DefaultPolicy", "Storage/Uploads/Policy"
DB_IN_USE = (
    "The deployment of `Data` fails halfway: `Carmen`, `Operations`, `Service` use values that are replaced or no longer exported "
    "(`Data/Database/Instance`), and CloudFormation does not change or delete an export in use."
)
OPTIMIZED = "658327ea-f89d-4fab-a63d-7e88639e58f6"
ORPHANED = "stays in the account with its data, but no stack manages it (orphaned)."
IN_USE = "and CloudFormation does not change or delete an export in use."


def _rule(name: str) -> Callable[[Edits], Json]:
    return lambda edits: by_name(edits.properties(ACL)["Rules"], name)


def _without(name: str) -> Edit:
    return lambda edits: edits.properties(ACL)["Rules"].remove(_rule(name)(edits))


def _allowing(edits: Edits, priority: int) -> None:
    """Add a rule that allows what another rule blocks."""
    edits.properties(ACL)["Rules"].append({**_rule("RateApi")(edits), "Name": "Exception", "Action": {"Allow": {}}, "Priority": priority})


def _limit(name: str, limit: int) -> Edit:
    return lambda edits: _rule(name)(edits)["Statement"]["RateBasedStatement"].update(Limit=limit)


def _override(action: str) -> Edit:
    def edit(edits: Edits) -> None:
        group = _rule("SqlInjection")(edits)["Statement"]["ManagedRuleGroupStatement"]
        group["RuleActionOverrides"].append({"Name": "SQLi_COOKIE", "ActionToUse": {action: {}}})

    return edit


def _ingress(**rule: Any) -> Edit:
    """A new ingress rule of the database's security group."""

    def edit(edits: Edits) -> None:
        group = {"Fn::GetAtt": [edits.logical_id("Data/Database/SecurityGroup"), "GroupId"]}
        properties = {"GroupId": group, "IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5432, **rule}
        edits.add("Data", "NewIngress", {"Type": "AWS::EC2::SecurityGroupIngress", "Properties": properties})

    return edit


def _from_redis(edits: Edits) -> None:
    group = {"Fn::GetAtt": [edits.logical_id("Data/Cache/SecurityGroup"), "GroupId"]}
    _ingress(SourceSecurityGroupId=group)(edits)


def _egress(path: str, **rule: Any) -> Edit:
    return lambda edits: edits.properties(path)["SecurityGroupEgress"].append({"IpProtocol": "-1", **rule})


def _another_group(edits: Edits) -> None:
    """One that lets Redis's group in."""
    peer = {"SourceSecurityGroupId": {"Fn::GetAtt": [edits.logical_id("Data/Cache/SecurityGroup"), "GroupId"]}}
    rules = {"SecurityGroupIngress": [{"IpProtocol": "-1", **peer}], "SecurityGroupEgress": []}
    edits.add("Data", "NewGroup", {"Type": "AWS::EC2::SecurityGroup", "Properties": rules})
    edits.properties(DB)["VPCSecurityGroups"].append({"Fn::GetAtt": ["NewGroup", "GroupId"]})


def _wider_condition(edits: Edits) -> None:
    for statement in statements("Operations/Drill/FunctionRole/DefaultPolicy")(edits):
        if "daily/*" in statement.get("Condition", {}).get("StringLike", {}).get("s3:prefix", []):
            statement["Condition"]["StringLike"]["s3:prefix"] = ["*"]


def _default_route(edits: Edits) -> None:
    route = dict(edits.properties("Network/Network/Vpc/PrivateSubnet1/DefaultRoute"))
    route["RouteTableId"] = {"Ref": edits.logical_id("Network/Network/Vpc/IsolatedSubnet1/RouteTable")}
    edits.add("Network", "DefaultRoute", {"Type": "AWS::EC2::Route", "Properties": route})


def _behavior(pattern: str) -> Edit:
    """A cached path before all others."""

    def edit(edits: Edits) -> None:
        behaviors = edits.properties(CDN)["DistributionConfig"]["CacheBehaviors"]
        behaviors.insert(0, {**behaviors[0], "PathPattern": pattern})

    return edit


def _csp(**changed: str) -> Edit:
    """Change CSP directives by name, with `_` for `-`; an empty value removes one."""

    def edit(edits: Edits) -> None:
        policy = edits.properties(HEADERS)["ResponseHeadersPolicyConfig"]["SecurityHeadersConfig"]["ContentSecurityPolicy"]
        directives = {part.split()[0]: part.strip() for part in policy["ContentSecurityPolicy"].split(";")}
        directives |= {name.replace("_", "-"): f"{name.replace('_', '-')} {value}" for name, value in changed.items()}
        kept = [text for name, text in directives.items() if changed.get(name.replace("-", "_")) != ""]
        policy["ContentSecurityPolicy"] = "; ".join(kept)

    return edit


def _statement(path: str, number: int, **changed: Any) -> Edit:
    return lambda edits: statements(path)(edits)[number].update(changed)


def _more(path: str, **statement: Any) -> Edit:
    return lambda edits: statements(path)(edits).append({"Effect": "Allow", **statement})


def _uploads(edits: Edits, rest: str) -> Json:
    (first, *_) = statements(WEB)(edits)
    imported = first["Resource"]["Fn::Join"][1][0]
    return {"Fn::Join": ["", [imported, rest]]}


def _own(edits: Edits) -> Json:
    return {"Fn::Join": ["", [{"Fn::GetAtt": [edits.logical_id(UPLOADS), "Arn"]}, "/*"]]}


def _manifest(stack: str, **changed: Any) -> Edit:
    def edit(edits: Edits) -> None:
        artifact = edits.manifest["artifacts"][edits.stack(stack)]
        artifact.update({key: value for key, value in changed.items() if key == "environment"})
        artifact["properties"].update({key: value for key, value in changed.items() if key != "environment"})

    return edit


def _role_of_a_new_function(edits: Edits) -> None:
    """May write its own new log, and read all backups."""
    edits.add("Storage", "NewLog", {"Type": "AWS::Logs::LogGroup", "Properties": {}})
    trust = {"Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "lambda.amazonaws.com"}}]}
    bucket = {"Fn::Join": ["", [{"Fn::GetAtt": [edits.logical_id(BACKUPS), "Arn"]}, "/*"]]}
    allowed = [
        {"Effect": "Allow", "Action": "logs:PutLogEvents", "Resource": {"Fn::GetAtt": ["NewLog", "Arn"]}},
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": bucket},
    ]
    policies = [{"PolicyName": "Inline", "PolicyDocument": {"Statement": allowed}}]
    edits.add("Storage", "NewRole", {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": trust, "Policies": policies}})


def _trust(**principal: str) -> Edit:
    return _more("Service/Web/TaskRole", Action="sts:AssumeRole", Principal=principal)


def _alarm(edits: Edits) -> None:
    edits.add("Service", "NewAlarm", {**edits.resource("Service/Web/ServerErrors")})


def _lifecycle(path: str, **changed: Any) -> Edit:
    return lambda edits: edits.properties(path)["LifecycleConfiguration"]["Rules"][0].update(changed)


DANGEROUS: dict[str, tuple[Edit, list[str]]] = {
    # State
    "storage is no longer encrypted": (
        setting(DB, "StorageEncrypted", False),
        [
            f"`{DB}` (RDS DBInstance) is replaced by a new, empty one, because `StorageEncrypted` cannot be changed in place. The old one {ORPHANED}",
            DB_IN_USE,
            f"`{DB}` (RDS DBInstance): encryption is switched off.",
        ],
    ),
    "another key": (
        setting(DB, "KmsKeyId", "arn:aws:kms:us-east-1:123456789012:key/1"),
        [
            f"`{DB}` (RDS DBInstance) is replaced by a new, empty one, because `KmsKeyId` cannot be changed in place. The old one {ORPHANED}",
            DB_IN_USE,
        ],
    ),
    "another storage type": (
        setting(DB, "StorageType", "gp2"),
        [
            f"`{DB}` (RDS DBInstance) may be replaced by a new, empty one: according to CloudFormation’s schema, a change of `StorageType` "
            f"replaces it under some conditions. The old one then {ORPHANED}"
        ],
    ),
    "another subnet group": (
        setting("Data/Database/Instance/SubnetGroup", "DBSubnetGroupName", "another"),
        [
            f"`{DB}` (RDS DBInstance) is replaced by a new, empty one, because `DBSubnetGroupName` refers to a replaced resource. "
            f"The old one {ORPHANED}",
            DB_IN_USE,
        ],
    ),
    "a major version": (
        setting(DB, "EngineVersion", "18.1"),
        [f"`{DB}` changes its major version, 17 → 18.1: going back requires a restore."],
    ),
    "a bucket is renamed": (
        lambda edits: edits.rename(UPLOADS, "Files01234567", "Files/Resource"),
        [
            "`Storage/Files` (S3 Bucket) has another logical id: Storage/Uploads (Uploads4F6EB0FD) → Files01234567. "
            f"CloudFormation creates a new, empty one; the old one {ORPHANED}",
            f"The deployment of `Storage` fails halfway: `Carmen`, `Service` use values that are replaced or no longer exported (`{UPLOADS}`), {IN_USE}",
        ],
    ),
    "a logical id moves": (
        lambda edits: edits.rename("Data/CarmenAppA", "CarmenAppA01234567"),
        [
            "`Data/CarmenAppA` (SecretsManager Secret) has another logical id: Data/CarmenAppA (CarmenAppAD1485215) → "
            f"CarmenAppA01234567. CloudFormation creates a new, empty one; the old one {ORPHANED}",
            "The deployment of `Data` fails halfway: `Operations` uses values that are replaced or no longer exported (`Data/CarmenAppA`), "
            + IN_USE,
        ],
    ),
    "a repository is removed": (
        lambda edits: edits.remove("Storage/Images/Repository"),
        [
            f"`Storage/Images/Repository` (ECR Repository) is removed from the template. It {ORPHANED}",
            "The deployment of `Storage` fails halfway: `Carmen`, `Service` use values that are replaced or no longer exported "
            f"(`Storage/Images/Repository`), {IN_USE}",
            "The policies could not be evaluated, review them manually: one refers to 'ImagesRepository2D0F5B9C', which does not exist.",
        ],
    ),
    "a queue is removed with its messages": (
        together(
            lambda edits: edits.remove("Operations/Probe/FunctionDeadLetters/Policy"),
            lambda edits: edits.remove("Operations/Probe/FunctionDeadLetters"),
        ),
        [
            "`Operations/Probe/FunctionDeadLetters` (SQS Queue) is removed from the template. It is deleted with its data.",
            "The policies could not be evaluated, review them manually: one refers to 'ProbeFunctionDeadLettersDBEFEDEF', which does not exist.",
        ],
    ),
    "a route under another logical id": (
        lambda edits: edits.rename("Network/Network/Vpc/PrivateSubnet1/DefaultRoute", "NatRoute1"),
        [
            "The deployment of `Network` fails: `Network/Network/Vpc/PrivateSubnet1/DefaultRoute` is created while the old one still has the "
            "same `RouteTableId` and `DestinationCidrBlock`, and only one resource can have it."
        ],
    ),
    "a setting that cannot change": (
        lambda edits: edits.templates[edits.stack("Network")]["Outputs"]["Settings"].update(
            Value=edits.templates[edits.stack("Network")]["Outputs"]["Settings"]["Value"].replace('"17"', '"16"')
        ),
        [
            "database.engine_major: '17' → '16': cannot change once deployed. PostgreSQL cannot go back to an earlier major version. What "
            "works: 1. Create environments/NAME.toml with the earlier version, and deploy it: `./carmen deploy --env NAME`. 2. Restore a dump "
            "of before the upgrade there (docs/runbooks/restore-a-backup.md)."
        ],
    ),
    "the network's addresses": (
        setting("Network/Network/Vpc", "CidrBlock", "10.99.0.0/16"),
        [
            "The deployment of `Network` fails halfway: `Data`, `Edge`, `Operations`, `Service` use values that are replaced or no longer exported "
            "(`Network/Network/Vpc`, `Network/Network/Vpc/IsolatedSubnet1/Subnet`, `Network/Network/Vpc/IsolatedSubnet2/Subnet`, "
            f"`Network/Network/Vpc/IsolatedSubnet3/Subnet` and 3 more), {IN_USE}"
        ],
    ),
    # Secrets
    "a longer password": (
        setting("Data/CarmenAppA", "GenerateSecretString.PasswordLength", 64),
        ["`Data/CarmenAppA` gets a new generated value, because `PasswordLength` changes: clients with the old value are locked out."],
    ),
    "a secret that is no longer generated": (
        setting("Data/CarmenAppA", "GenerateSecretString", GONE),
        ["`Data/CarmenAppA` is no longer generated: its value becomes the template's value, or empty."],
    ),
    "a secret that the template writes": (
        setting("Data/DatabaseRoles/Connection", "SecretString", "{}"),
        ["`Data/DatabaseRoles/Connection` is overwritten with the template's value; the current value is lost."],
    ),
    # Protection
    "no deletion protection": (
        setting(DB, "DeletionProtection", False),
        [f"`{DB}` (RDS DBInstance): deletion protection is switched off."],
    ),
    "no standby": (
        setting(DB, "MultiAZ", False),
        [
            f"`{DB}` (RDS DBInstance) may be replaced by a new, empty one: according to CloudFormation’s schema, a change of `MultiAZ` "
            f"replaces it under some conditions. The old one then {ORPHANED}",
            f"`{DB}` (RDS DBInstance): the standby in another zone (Multi-AZ) is switched off.",
        ],
    ),
    "fewer days of backups": (
        setting(DB, "BackupRetentionPeriod", 3),
        [f"`{DB}` (RDS DBInstance): days of automated backups, 14 → 3."],
    ),
    "a public database": (
        setting(DB, "PubliclyAccessible", True),
        [f"`{DB}` (RDS DBInstance) becomes reachable from the internet."],
    ),
    "no longer retained": (
        lambda edits: edits.resource(UPLOADS).update(DeletionPolicy="Delete"),
        [
            f"`{UPLOADS}` (S3 Bucket): it is no longer retained when removed from the template (`DeletionPolicy`, RetainExceptOnCreate → Delete)."
        ],
    ),
    "PostgreSQL without TLS": (
        lambda edits: edits.properties("Data/Database/Parameters")["Parameters"].update({"rds.force_ssl": "0"}),
        ["`Data/Database/Parameters` (RDS DBParameterGroup): mandatory TLS (`rds.force_ssl`) is switched off."],
    ),
    "a proxy without TLS": (
        setting("Data/DatabaseProxy/Proxy", "RequireTLS", False),
        ["`Data/DatabaseProxy/Proxy` (RDS DBProxy): mandatory TLS is switched off."],
    ),
    "Redis alone": (
        together(setting(REDIS, "NumCacheClusters", 1), setting(REDIS, "AutomaticFailoverEnabled", False)),
        [
            f"The deployment of `Data` fails at `{REDIS}`: ElastiCache answers “Replication group must have at least one read replica to "
            "enable autofailover”. Change the replicas and the failover in two deployments: failover only while there is a replica.",
            f"`{REDIS}` (ElastiCache ReplicationGroup): failover is switched off.",
            f"`{REDIS}` (ElastiCache ReplicationGroup): nodes, 2 → 1.",
        ],
    ),
    "a public bucket": (
        setting(UPLOADS, "PublicAccessBlockConfiguration.BlockPublicPolicy", False),
        [f"`{UPLOADS}` (S3 Bucket): the block of public access (BlockPublicPolicy) is switched off."],
    ),
    "no versions": (
        setting(UPLOADS, "VersioningConfiguration.Status", "Suspended"),
        [f"`{UPLOADS}` (S3 Bucket): versioning, Enabled → Suspended."],
    ),
    "a shorter lock": (
        setting(BACKUPS, "ObjectLockConfiguration.Rule.DefaultRetention.Days", 1),
        [f"`{BACKUPS}` (S3 Bucket): days of object lock, 7 → 1."],
    ),
    "weaker encryption": (
        setting(UPLOADS, "BucketEncryption.ServerSideEncryptionConfiguration.0.ServerSideEncryptionByDefault", {"SSEAlgorithm": "AES256"}),
        [f"`{UPLOADS}` (S3 Bucket): encryption, aws:kms → AES256."],
    ),
    "backups go sooner": (
        _lifecycle(BACKUPS, ExpirationInDays=2),
        [f"`{BACKUPS}` (S3 Bucket): rule `expire-daily` keeps objects for fewer days, 7 → 2."],
    ),
    "more backups go": (
        _lifecycle(BACKUPS, TagFilters=[]),
        [
            f"`{BACKUPS}` (S3 Bucket): rule `expire-daily` deletes more objects than before, after 7 days.",
            f"`{BACKUPS}` (S3 Bucket): rule `expire-daily` deletes more old versions than before, after 1 days.",
        ],
    ),
    "a public access control list": (
        setting(UPLOADS, "AccessControl", "PublicRead"),
        [f"`{UPLOADS}` (S3 Bucket): its access control list, Private → PublicRead."],
    ),
    "wider CORS": (
        setting(UPLOADS, "CorsConfiguration", {"CorsRules": [{"AllowedOrigins": ["*"], "AllowedMethods": ["GET", "PUT"]}]}),
        [f"`{UPLOADS}` (S3 Bucket): pages of any site may now access it (GET, PUT; CORS)."],
    ),
    "shorter logs": (
        setting("Network/Network/FlowLogGroup", "RetentionInDays", 7),
        ["`Network/Network/FlowLogGroup` (Logs LogGroup): log retention in days, 90 → 7."],
    ),
    "no rotation of the key": (
        setting("Storage/Key", "EnableKeyRotation", False),
        ["`Storage/Key` (KMS Key): yearly rotation is switched off."],
    ),
    "images can be overwritten": (
        setting("Storage/Images/Repository", "ImageTagMutability", "MUTABLE"),
        ["`Storage/Images/Repository` (ECR Repository): tag mutability, IMMUTABLE → MUTABLE."],
    ),
    "a stack that can be deleted": (
        _manifest("Data", terminationProtection=False),
        ["The stack `Data`: termination protection is switched off."],
    ),
    "backups no longer start": (
        setting("Operations/Backup/Nightly", "State", "DISABLED"),
        ["`Operations/Backup/Nightly` (Scheduler Schedule): the schedule, ENABLED → DISABLED."],
    ),
    "no schedule": (
        lambda edits: edits.remove("Operations/Backup/Nightly"),
        ["`Operations/Backup/Nightly` (Scheduler Schedule) is removed: its target no longer runs on schedule."],
    ),
    "a container as root": (
        lambda edits: edits.properties("Service/Web/Task")["ContainerDefinitions"][0].update(User="0"),
        ["`Service/Web/Task` (ECS TaskDefinition): container carmen runs as root."],
    ),
    "a shell in production": (
        setting("Service/Web/Service/Service", "EnableExecuteCommand", True),
        ["`Service/Web/Service/Service` (ECS Service) allows a shell in its tasks (ECS Exec)."],
    ),
    "plain HTTP": (
        setting(CDN, f"{DEFAULT}.ViewerProtocolPolicy", "allow-all"),
        [f"`{CDN}` (CloudFront Distribution): answers plain HTTP on `*`."],
    ),
    # Network
    "the database for everybody": (
        _ingress(CidrIp="0.0.0.0/0"),
        ["`Data/Database/SecurityGroup` now accepts connections from any address (0.0.0.0/0) on tcp 5432."],
    ),
    "the database for a range of addresses": (
        _ingress(CidrIp="203.0.113.0/24", FromPort=0, ToPort=65535),
        ["`Data/Database/SecurityGroup` now accepts connections from 203.0.113.0/24 on tcp 0–65535."],
    ),
    "the database for another of our groups": (
        _from_redis,
        ["`Data/Database/SecurityGroup` now accepts connections from `Data/Cache/SecurityGroup` on tcp 5432."],
    ),
    "egress to any address": (
        _egress("Data/Database/SecurityGroup", CidrIp="0.0.0.0/0"),
        ["`Data/Database/SecurityGroup` may now connect to any address (0.0.0.0/0) on all ports."],
    ),
    "a group without egress rules": (
        setting("Data/Database/SecurityGroup", "SecurityGroupEgress", GONE),
        ["`Data/Database/SecurityGroup` may now connect to any address (0.0.0.0/0) on all ports."],
    ),
    "the database in a new group": (
        _another_group,
        ["`Data/Database/Instance` joins the security group `Data/NewGroup`: the rules of that group now also apply to it."],
    ),
    "a default route of an isolated subnet": (
        _default_route,
        [
            "`Network/Network/Vpc/IsolatedSubnet1/RouteTable` now has a default route, through `Network/Network/Vpc/PublicSubnet1/NATGateway`."
        ],
    ),
    # Permissions
    "any action": (_statement(WEB, 0, Action="s3:*"), ["`Service/Web/TaskRole` is now allowed `s3:*` on `Storage/Uploads/*`."]),
    "any resource": (_statement(WEB, 1, Resource="*"), ["`Service/Web/TaskRole` is now allowed `s3:ListBucket` on **everything**."]),
    "a condition less": (
        lambda edits: statements(WEB)(edits)[2].pop("Condition"),
        ["`Service/Web/TaskRole` is now allowed `kms:Decrypt`, `kms:GenerateDataKey` on `Storage/Key`."],
    ),
    "another resource": (
        _more(WEB, Action=["s3:GetObject", "s3:DeleteObject"], Resource="arn:aws:s3:::another-bucket/*"),
        ["`Service/Web/TaskRole` is now allowed `s3:DeleteObject`, `s3:GetObject` on `arn:aws:s3:::another-bucket/*`."],
    ),
    "everything but something": (
        _more(WEB, NotAction="iam:*", Resource="*"),
        ["`Service/Web/TaskRole` is now allowed `everything except iam:*` on **everything**."],
    ),
    "another account may assume a role": (
        _trust(AWS="arn:aws:iam::999999999999:root"),
        ["`Service/Web/TaskRole` may now be assumed by `arn:aws:iam::999999999999:root` (`sts:AssumeRole`)."],
    ),
    "anybody may assume a role": (_trust(AWS="*"), ["`Service/Web/TaskRole` may now be assumed by **anyone** (`sts:AssumeRole`)."]),
    "a bucket without TLS": (
        lambda edits: statements(BUCKET_POLICY)(edits).pop(0),
        [
            "`Storage/Uploads` no longer denies everyone `s3:*` on `Storage/Uploads`, `Storage/Uploads/*`, if `aws:SecureTransport` is `false`."
        ],
    ),
    "a public bucket by its policy": (
        lambda edits: _more(BUCKET_POLICY, Principal="*", Action="s3:GetObject", Resource=_own(edits))(edits),
        ["**anyone** is now allowed `s3:GetObject` on `Storage/Uploads/*`."],
    ),
    "a new function that reads backups": (
        _role_of_a_new_function,
        ["`Storage/NewRole` is now allowed `s3:GetObject` on `Storage/Backups/*`."],
    ),
    "administrator": (
        setting("Service/Web/TaskRole", "ManagedPolicyArns", ["arn:aws:iam::aws:policy/AdministratorAccess"]),
        [
            "The policies could not be evaluated, review them manually: CarmenProdService/WebTaskRoleA0C52095 uses "
            "arn:aws:iam::aws:policy/AdministratorAccess: AWS-managed policies name no resource; write a policy with the needed permissions."
        ],
    ),
    "a task that acts as another": (
        lambda edits: edits.set(
            "Service/Web/Task", "TaskRoleArn", {"Fn::GetAtt": [edits.logical_id("Service/Migration/Task/ExecutionRole"), "Arn"]}
        ),
        ["`Service/Web/Task` now uses the role `Service/Migration/Task/ExecutionRole` (`TaskRoleArn`) and has its permissions."],
    ),
    "a new function with an old role": (
        lambda edits: edits.add(
            "Operations",
            "New",
            {
                "Type": "AWS::Lambda::Function",
                "Properties": {"Role": {"Fn::GetAtt": [edits.logical_id("Operations/Backup/FunctionRole"), "Arn"]}},
            },
        ),
        ["`Operations/New` now uses the role `Operations/Backup/FunctionRole` (`Role`) and has its permissions."],
    ),
    "a wider condition": (
        _wider_condition,
        ["`Operations/Drill/FunctionRole` is now allowed `s3:ListBucket` on `Storage/Backups`, if `s3:prefix` is like `*`."],
    ),
    "anybody's key": (
        lambda edits: statements("Storage/Key")(edits).append(
            {"Effect": "Allow", "Action": "kms:Decrypt", "Resource": "*", "Principal": {"AWS": "*"}}
        ),
        ["**anyone** is now allowed `kms:Decrypt` on `Storage/Key`."],
    ),
    # Firewall
    "a rule less": (_without("AmazonIpReputation"), [f"`{ACL}`: rule AmazonIpReputation is removed."]),
    "a rule that counts": (
        lambda edits: _rule("SqlInjection")(edits).update(OverrideAction={"Count": {}}),
        [f"`{ACL}`: rule SqlInjection no longer blocks: it is set to Count."],
    ),
    "an exception": (
        lambda edits: _allowing(edits, 99),
        [f"`{ACL}`: new rule Exception allows its matches; later rules do not see them."],
    ),
    "part of a group that counts": (
        _override("Count"),
        [f"`{ACL}`: rule SqlInjection no longer applies its sub-rule SQLi_COOKIE: it is set to Count."],
    ),
    "a higher limit": (_limit("RateApi", 5000), [f"`{ACL}`: rule RateApi allows 5000 requests per window, was 1000."]),
    "no firewall": (
        setting(CDN, "DistributionConfig.WebACLId", GONE),
        [f"`{CDN}` (CloudFront Distribution): the firewall (WAF) is removed."],
    ),
    "no viewer function": (
        setting(CDN, f"{DEFAULT}.FunctionAssociations", []),
        [f"`{CDN}`: requests on `*` no longer go through the viewer function."],
    ),
    # Headers
    "scripts from elsewhere": (
        _csp(script_src="'self' 'unsafe-eval' 'unsafe-inline' https://cdn.example.com"),
        [f"`{HEADERS}`: ContentSecurityPolicy allows `https://cdn.example.com` in script-src."],
    ),
    "frames": (_csp(frame_ancestors=""), [f"`{HEADERS}`: ContentSecurityPolicy no longer contains frame-ancestors."]),
    "a minute of HSTS": (
        setting(HEADERS, f"{SECURITY}.StrictTransportSecurity.AccessControlMaxAgeSec", 60),
        [f"`{HEADERS}`: StrictTransportSecurity is valid for 60 seconds, was 31536000."],
    ),
    "a header that is no longer sent": (
        setting(HEADERS, f"{SECURITY}.FrameOptions", GONE),
        [f"`{HEADERS}`: FrameOptions is no longer sent."],
    ),
    "no headers at all": (
        setting(CDN, f"{DEFAULT}.ResponseHeadersPolicyId", GONE),
        [f"`{CDN}`: responses on `*` carry no security headers."],
    ),
    # Caching
    "everything is cached": (
        setting(CDN, f"{DEFAULT}.CachePolicyId", OPTIMIZED),
        [
            f"`{CDN}`: responses on `*` are now cached for up to 365 days and shared between users (CachingOptimized), ignoring cookies: "
            "one user's page could be served to another."
        ],
    ),
    "the API is cached": (
        _behavior("/api/*"),
        [
            f"`{CDN}`: responses on `/api/*` are now cached for up to 365 days and shared between users (Edge/Edge/ReleaseFiles), ignoring cookies: "
            "one user's page could be served to another."
        ],
    ),
    "a poorer key": (
        setting("Edge/Edge/Images", f"{IMAGES_KEY}.HeadersConfig", {"HeaderBehavior": "none"}),
        [f"`{CDN}`: responses on `/_next/image` no longer depend on the header Accept: different requests get the same cached response."],
    ),
    "private answers are cached too": (
        setting("Edge/Edge/Images", "CachePolicyConfig.MinTTL", 60),
        [f"`{CDN}`: responses on `/_next/image` are now cached for at least 60 s, even if the application sends private or no-store."],
    ),
    "errors are cached": (
        lambda edits: edits.properties(CDN)["DistributionConfig"]["CustomErrorResponses"][2].update(ErrorCachingMinTTL=300),
        [f"`{CDN}`: error 400 is cached for 300 s, was 0 s."],
    ),
}


def _narrower_trust(edits: Edits) -> None:
    trust = statements("Service/Web/TaskRole")(edits)
    trust.append({**trust[0], "Condition": {**trust[0]["Condition"], "Bool": {"aws:SecureTransport": True}}})


HARMLESS: dict[str, Edit] = {
    "a new, unused group": lambda edits: edits.add(
        "Data", "NewGroup", {"Type": "AWS::EC2::SecurityGroup", "Properties": {"SecurityGroupEgress": []}}
    ),
    "a group under another id": lambda edits: edits.rename("Operations/Backup/FunctionSecurityGroup", "Other01234567"),
    "a bigger instance": setting(DB, "DBInstanceClass", "db.t4g.large"),
    "a minor version": setting(DB, "EngineVersion", "17.12"),
    "more storage": setting(DB, "AllocatedStorage", "40"),
    "a tag": lambda edits: edits.properties(DB)["Tags"].append({"Key": "team", "Value": "erp"}),
    "a description": lambda edits: edits.templates[edits.stack("Data")].update(Description="Carmen prod: in other words"),
    "metadata": lambda edits: edits.resource(DB).update(Metadata={"aws:cdk:path": "elsewhere"}),
    "a function's code": setting("Operations/Backup/Function", "Code.S3Key", f"{'ab' * 32}.zip"),
    "a new alarm": _alarm,
    "more memory": setting("Service/Web/Task", "Memory", "4096"),
    "a description of a secret": setting("Data/CarmenAppA", "Description", "Another word"),
    "more Redis": setting(REDIS, "NumCacheClusters", 3),
    "longer logs": setting("Network/Network/FlowLogGroup", "RetentionInDays", 365),
    "logs for ever": setting("Network/Network/FlowLogGroup", "RetentionInDays", GONE),
    "a longer lock": setting(BACKUPS, "ObjectLockConfiguration.Rule.DefaultRetention.Days", 30),
    "backups stay longer": _lifecycle(BACKUPS, ExpirationInDays=30),
    "fewer backups go": _lifecycle(BACKUPS, Prefix="daily/old/"),
    "a stack that cannot be deleted": _manifest("Network", terminationProtection=True),
    "a rule's description": lambda edits: edits.properties(ACL).update(Description="In other words"),
    "a lower limit": _limit("RateApi", 500),
    "part of a group that blocks": _override("Block"),
    "another order of rules that block": lambda edits: _rule("Common")(edits).update(Priority=99),
    "egress to loopback": _egress("Data/Database/SecurityGroup", CidrIp="127.0.0.2/32"),
    "narrower egress": _egress("Service/Migration/SecurityGroup", CidrIp="10.20.0.0/16", IpProtocol="tcp", FromPort=443, ToPort=443),
    "an action less": lambda edits: statements(WEB)(edits)[0]["Action"].pop(),
    "a permission in other words": lambda edits: _more(WEB, Action="s3:GetObject", Resource=_uploads(edits, "/users/*"))(edits),
    "a permission in two statements": lambda edits: _more(WEB, Action=["s3:PutObject"], Resource=_uploads(edits, "/*"))(edits),
    "a condition more": _statement(WEB, 1, Condition={"StringEquals": {"aws:SourceVpc": "vpc-1"}}),
    "a statement that denies": lambda edits: statements(WEB)(edits).append({"Effect": "Deny", "Action": "s3:*", "Resource": "*"}),
    "a renamed role": lambda edits: edits.rename("Service/Web/TaskRole", "Other01234567", "Web/OtherRole/Resource"),
    "the same service may assume a role, under more conditions": lambda edits: _narrower_trust(edits),
    "fewer scripts": _csp(script_src="'self'"),
    "a directive more": _csp(object_src="'none'"),
    "two years of HSTS": setting(HEADERS, f"{SECURITY}.StrictTransportSecurity.AccessControlMaxAgeSec", 63_072_000),
    "pictures are cached": _behavior("/images/logos/*"),
    "a richer key": setting("Edge/Edge/Images", f"{IMAGES_KEY}.HeadersConfig.Headers", ["Accept", "Accept-Language"]),
    "a shorter time": setting("Edge/Edge/Images", "CachePolicyConfig.MaxTTL", 60),
}


@pytest.fixture(scope="module")
def comparisons(production: Assembly, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Comparison]:
    edits = {name: edit for name, (edit, _) in DANGEROUS.items()} | HARMLESS
    assert len(edits) == len(DANGEROUS) + len(HARMLESS)
    return compare_all(production, edits, tmp_path_factory.mktemp("changed"))


@pytest.mark.parametrize("name", DANGEROUS)
def test_danger_has_this_text(name: str, comparisons: dict[str, Comparison]) -> None:
    assert [danger.words for danger in find_dangers(comparisons[name])] == DANGEROUS[name][1]


@pytest.mark.parametrize("name", HARMLESS)
def test_harmless_change_is_not_a_danger(name: str, comparisons: dict[str, Comparison]) -> None:
    """The edit is a change, but not a danger."""
    assert comparisons[name].changes
    assert find_dangers(comparisons[name]) == []


def test_stack_that_moves_to_another_region(production: Assembly, tmp_path: Path) -> None:
    edits = Edits(production)
    _manifest("Alerts", environment="aws://unknown-account/eu-west-1")(edits)
    dangers = find_dangers(compare(production, Assembly(edits.write(tmp_path))))
    assert dangers[0].words == (
        "The stack `Alerts` moves from unknown-account/us-east-1 to unknown-account/eu-west-1: its resources are created again there, "
        "and the old ones stay orphaned here."
    )


def test_allow_rule_that_is_evaluated_earlier(production: Assembly, tmp_path: Path) -> None:
    before, after = Edits(production), Edits(production)
    _allowing(before, 99)
    _allowing(after, 99)
    by_name(after.properties(ACL)["Rules"], "Exception")["Priority"] = by_name(after.properties(ACL)["Rules"], "SqlInjection")["Priority"]
    by_name(after.properties(ACL)["Rules"], "SqlInjection")["Priority"] = 99
    comparison = compare(Assembly(before.write(tmp_path / "before")), Assembly(after.write(tmp_path / "after")))
    texts = [danger.words for danger in find_dangers(comparison)]
    assert f"`{ACL}`: rule Exception is now evaluated before SqlInjection, which does not see what it allows." in texts
    assert all("is now evaluated before" in words for words in texts)


def test_stack_that_leaves_the_app(production: Assembly, tmp_path: Path) -> None:
    """The stack stays deployed; its resources are not listed as removed or orphaned."""
    edits = Edits(production)
    name = edits.stack("Operations")
    del edits.templates[name], edits.manifest["artifacts"][name]
    edits.manifest["artifacts"]["CarmenProd"]["dependencies"].remove(name)
    comparison = compare(production, Assembly(edits.write(tmp_path)))
    assert [change.path for change in comparison.changes] == ["Operations (stack)"]
    assert [danger.words for danger in find_dangers(comparison)] == [
        "The stack `Operations` is no longer part of the app: it stays deployed (orphaned) until it is deleted manually."
    ]


def test_reason_in_the_settings_is_reported(production: Assembly, tmp_path: Path) -> None:
    edits = Edits(production)
    edits.set(DB, "DeletionProtection", False)
    edits.resource(DB).setdefault("Metadata", {})["DeletionProtectionOptOut"] = "It is taken down next week."
    (danger,) = find_dangers(compare(production, Assembly(edits.write(tmp_path))))
    assert danger.words == "`Data/Database/Instance` (RDS DBInstance): deletion protection is switched off."
    assert danger.reason == "It is taken down next week."
