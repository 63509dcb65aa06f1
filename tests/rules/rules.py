"""Rules for every template, whatever the settings. A rule yields what violates it, named by `Stack/LogicalId`.

Rules read templates only, so they apply to the real environments, to generated ones and to mutated ones.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Template = dict[str, Any]
Templates = Mapping[str, Template]
Findings = Iterator[str]
RULES: dict[str, Callable[[Templates], Findings]] = {}

# Functions that CloudFormation calls at deployment and waits for, so they need no dead-letter queue and no alarm.
AT_DEPLOYMENT = re.compile("AWS679f53fac002430cb0da5b7982bd2287|OriginSecurityGroupFunction")
STATEFUL = {
    "AWS::KMS::Key",
    "AWS::S3::Bucket",
    "AWS::ECR::Repository",
    "AWS::RDS::DBInstance",
    "AWS::ElastiCache::ReplicationGroup",
    "AWS::SecretsManager::Secret",
    "AWS::Backup::BackupVault",
}
SECRET_NAME = re.compile(r"SECRET|PASSWORD|TOKEN|DSN|DATABASE_URL|DIRECT_URL|REDIS_URL|PRIVATE|API_KEY")
SECRET_VALUE = re.compile(r"AKIA[0-9A-Z]{16}|-----BEGIN [A-Z ]*PRIVATE|xox[abp]-|hooks\.slack\.com/services/T|://[^/\s:\"{]+:[^@\s/\"{]+@")


def rule(check: Callable[[Templates], Findings]) -> Callable[[Templates], Findings]:
    """Register a rule under its name."""
    RULES[check.__name__] = check
    return check


def each(templates: Templates, *kinds: str) -> Iterator[tuple[str, dict[str, Any], Template]]:
    """Yield (name, properties, resource) of all resources of these types; of all types by default."""
    for stack, template in templates.items():
        for logical_id, resource in template["Resources"].items():
            if not kinds or resource["Type"] in kinds:
                yield f"{stack}/{logical_id}", resource.get("Properties", {}), resource


def nodes(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield every (key, value) inside `value`."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key, inner
            yield from nodes(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from nodes(inner)


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def references(value: Any) -> Iterator[str]:
    """Yield the logical ids to which `value` refers."""
    for key, target in nodes(value):
        if key == "Ref":
            yield target
        elif key == "Fn::GetAtt":
            yield target[0] if isinstance(target, list) else target.split(".")[0]


def opted_out(templates: Templates, protection: str) -> set[str]:
    """The stack prefixes, such as `CarmenDev`, of environments whose templates give a reason for opting out of this protection."""
    return {
        re.sub(r"(?<=.)(Alerts|Data|Service|Storage|Network)$", "", name.split("/")[0])
        for name, _, resource in each(templates)
        if f"{protection}OptOut" in resource.get("Metadata", {})
    }


def statements(properties: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for document in ("PolicyDocument", "KeyPolicy", "AssumeRolePolicyDocument", "RepositoryPolicyText", "ResourcePolicy"):
        if document in properties:
            yield from listed(properties[document]["Statement"])


def actions(statement: dict[str, Any]) -> list[str]:
    return [*listed(statement.get("Action")), *listed(statement.get("NotAction"))]


@rule
def references_resolve(templates: Templates) -> Findings:
    exports = {
        output["Export"]["Name"] for template in templates.values() for output in template.get("Outputs", {}).values() if "Export" in output
    }
    for stack, template in templates.items():
        known = {*template["Resources"], *template.get("Parameters", {}), *template.get("Conditions", {})}
        everything = [template["Resources"], template.get("Outputs", {}), template.get("Conditions", {})]
        for target in references(everything):
            if target not in known and not target.startswith("AWS::"):
                yield f"{stack} refers to {target}"
        for logical_id, resource in template["Resources"].items():
            for target in listed(resource.get("DependsOn")):
                if target not in template["Resources"]:
                    yield f"{stack}/{logical_id} depends on {target}"
        for key, value in nodes(everything):
            if key == "Fn::ImportValue" and value not in exports:
                yield f"{stack} imports {value}"
            if key == "Fn::GetStackOutput" and value["OutputName"] not in templates[value["StackName"]].get("Outputs", {}):
                yield f"{stack} reads {value}"


@rule
def only_the_edge_is_public(templates: Templates) -> Findings:
    wanted: dict[str, dict[str, Any]] = {
        "AWS::ElasticLoadBalancingV2::LoadBalancer": {"Scheme": "internal"},
        "AWS::RDS::DBInstance": {"PubliclyAccessible": False},
    }
    for kind, properties_wanted in wanted.items():
        for name, properties, _ in each(templates, kind):
            yield from (f"{name} {key}" for key, value in properties_wanted.items() if properties.get(key) != value)
    for name, properties, _ in each(templates, "AWS::EC2::Subnet"):
        if properties.get("MapPublicIpOnLaunch"):
            yield f"{name} gives public addresses"
    for name, properties, _ in each(templates, "AWS::ECS::Service"):
        if properties["NetworkConfiguration"]["AwsvpcConfiguration"].get("AssignPublicIp") != "DISABLED":
            yield f"{name} has public addresses"
    for name, properties, _ in each(templates, "AWS::S3::Bucket"):
        block = properties.get("PublicAccessBlockConfiguration", {})
        if [block.get(key) for key in ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")] != [True] * 4:
            yield f"{name} does not block public access"
    for name, _, _ in each(templates, "AWS::Lambda::Url", "AWS::ApiGateway::RestApi", "AWS::ApiGatewayV2::Api"):
        yield f"{name} is reachable from outside the edge"
    for name, properties, _ in each(templates, "AWS::EC2::Instance"):
        resources = templates[name.split("/")[0]]["Resources"]
        groups = [resources[group]["Properties"] for one in properties["NetworkInterfaces"] for group in references(one["GroupSet"])]
        (own,) = {vpc["CidrBlock"] for _, vpc, _ in each({"": {"Resources": resources}}, "AWS::EC2::VPC")}
        if not groups or any(rule.get("CidrIp") != own for group in groups for rule in group.get("SecurityGroupIngress", [])):
            yield f"{name} is reachable from outside the edge"
    for name, properties, resource in each(templates):
        for statement in statements(properties):
            principal = statement.get("Principal", {})
            everyone = principal == "*" or "*" in [one for value in getattr(principal, "values", list)() for one in listed(value)]
            if statement["Effect"] == "Allow" and (everyone or "NotPrincipal" in statement):
                yield f"{name} lets everyone {statement.get('Action')}"
        if resource["Type"] == "AWS::Lambda::Permission" and "." not in str(properties.get("Principal")):
            yield f"{name} lets {properties.get('Principal')} invoke"


@rule
def security_group_rules_name_a_group_and_one_port(templates: Templates) -> Findings:
    own = {properties["CidrBlock"] for _, properties, _ in each(templates, "AWS::EC2::VPC")}
    loose = [
        (name, rule, "Ingress" in direction)
        for name, properties, _ in each(templates, "AWS::EC2::SecurityGroup")
        for direction in ("SecurityGroupIngress", "SecurityGroupEgress")
        for rule in properties.get(direction, [])
    ]
    loose += [
        (name, properties, resource["Type"].endswith("Ingress"))
        for name, properties, resource in each(templates, "AWS::EC2::SecurityGroupIngress", "AWS::EC2::SecurityGroupEgress")
    ]
    for name, one, inward in loose:
        if one.get("CidrIp") == "127.0.0.1/32":  # replaces EC2's default rule and allows nothing
            continue
        if one.get("IpProtocol") != "tcp" or "FromPort" not in one or one["FromPort"] != one.get("ToPort"):
            yield f"{name} allows more than one port"
        if inward and "CidrIp" in one and one["CidrIp"] not in own:
            yield f"{name} allows ingress from {one['CidrIp']}"
        if "CidrIpv6" in one or (not inward and "CidrIp" in one and one["FromPort"] not in (443, 25, 465, 587, 2465, 2587)):
            yield f"{name} allows egress on {one.get('FromPort')}"
    for name, properties, _ in each(templates, "AWS::EC2::SecurityGroup"):
        if not properties.get("SecurityGroupEgress"):
            yield f"{name} keeps EC2's default rule, which allows all egress"


@rule
def security_group_rules_exist_on_both_sides(templates: Templates) -> Findings:
    """An egress rule to a security group needs the matching ingress rule, on the same port, and the reverse."""

    def port(one: dict[str, Any]) -> str:
        return "database" if "Port" in json.dumps(one["FromPort"]) or one["FromPort"] == 5432 else str(one["FromPort"])

    groups = r"((?:Network|Balancer|Database|Cache|Migration|Operations|ReleaseFiles|Endpoint|Probe|Backup)\w*?SecurityGroup)"

    def ends(one: dict[str, Any], this: str, other: str) -> tuple[str, ...]:
        ids = [re.findall(groups, json.dumps(one.get(key, ""))) for key in (this, other)]
        return (*(found[-1] if found else "elsewhere" for found in ids), port(one))

    ingress = Counter(ends(p, "SourceSecurityGroupId", "GroupId") for _, p, _ in each(templates, "AWS::EC2::SecurityGroupIngress"))
    egress = Counter(ends(p, "GroupId", "DestinationSecurityGroupId") for _, p, _ in each(templates, "AWS::EC2::SecurityGroupEgress"))
    for pair in {*ingress, *egress}:
        if "elsewhere" not in pair and "OriginSecurityGroup" not in pair[0] and ingress[pair] != egress[pair]:
            yield f"{pair[0]} to {pair[1]} on {pair[2]}: {egress[pair]} egress rules, {ingress[pair]} ingress rules"


@rule
def data_at_rest_is_encrypted(templates: Templates) -> Findings:
    for name, properties, _ in each(templates, "AWS::RDS::DBInstance"):
        if not (properties.get("StorageEncrypted") is True and "KmsKeyId" in properties and "PerformanceInsightsKMSKeyId" in properties):
            yield name
    for name, properties, _ in each(templates, "AWS::ElastiCache::ReplicationGroup"):
        if not (properties.get("AtRestEncryptionEnabled") is True and "KmsKeyId" in properties):
            yield name
    for name, properties, _ in each(templates, "AWS::S3::Bucket"):
        encryption = properties.get("BucketEncryption", {}).get("ServerSideEncryptionConfiguration", [{}])[0]
        default = encryption.get("ServerSideEncryptionByDefault", {})
        holds_data = any(part in name for part in ("/Uploads", "/Backups"))
        if default.get("SSEAlgorithm") != ("aws:kms" if holds_data else "AES256") or (holds_data and "KMSMasterKeyID" not in default):
            yield name
        if holds_data and encryption.get("BucketKeyEnabled") is not True:
            yield f"{name} calls KMS for every object"
    for name, properties, _ in each(templates, "AWS::SQS::Queue"):
        if not (properties.get("SqsManagedSseEnabled") is True or "KmsMasterKeyId" in properties):
            yield name
    for name, properties, _ in each(templates, "AWS::SNS::Topic"):
        if "KmsMasterKeyId" not in properties:
            yield name
    for name, properties, _ in each(templates, "AWS::KMS::Key"):
        if properties.get("EnableKeyRotation") is not True:
            yield f"{name} does not rotate"


@rule
def connections_are_encrypted(templates: Templates) -> Findings:
    guarded = {"AWS::S3::BucketPolicy": "s3:*", "AWS::SQS::QueuePolicy": "sqs:*", "AWS::SNS::TopicPolicy": "sns:Publish"}
    for name, properties, resource in each(templates, *guarded):
        denied = [
            statement.get("Condition", {})
            for statement in statements(properties)
            if statement["Effect"] == "Deny"
            and statement["Principal"] in ("*", {"AWS": "*"})
            and guarded[resource["Type"]] in listed(statement["Action"])
        ]
        if {"Bool": {"aws:SecureTransport": "false"}} not in denied:
            yield f"{name} allows plain HTTP"
        if resource["Type"] == "AWS::S3::BucketPolicy" and {"NumericLessThan": {"s3:TlsVersion": 1.2}} not in denied:
            yield f"{name} allows old TLS"
    for name, properties, _ in each(templates, "AWS::RDS::DBParameterGroup"):
        if properties["Parameters"].get("rds.force_ssl") != "1":
            yield f"{name} accepts connections without TLS"
    for name, properties, _ in each(templates, "AWS::RDS::DBProxy"):
        if properties.get("RequireTLS") is not True:
            yield f"{name} accepts connections without TLS"
    for name, properties, _ in each(templates, "AWS::ElastiCache::ReplicationGroup"):
        if properties.get("TransitEncryptionEnabled") is not True or "AuthToken" not in properties:
            yield f"{name} accepts connections without TLS or token"
    for name, properties, _ in each(templates, "AWS::CloudFront::Distribution"):
        config = properties["DistributionConfig"]
        for behavior in [config["DefaultCacheBehavior"], *config["CacheBehaviors"]]:
            if behavior["ViewerProtocolPolicy"] not in ("redirect-to-https", "https-only"):
                yield f"{name} serves {behavior.get('PathPattern', '*')} without TLS"
        if "Aliases" in config and config.get("ViewerCertificate", {}).get("MinimumProtocolVersion") != "TLSv1.2_2021":
            yield f"{name} allows old TLS"
    certificate = any(each(templates, "AWS::CertificateManager::Certificate"))
    for name, properties, _ in each(templates, "AWS::ElasticLoadBalancingV2::Listener"):
        if properties["Protocol"] != ("HTTPS" if certificate else "HTTP"):  # ADR 0005: HTTP inside the VPC without a certificate
            yield f"{name} speaks {properties['Protocol']}"
    for name, properties, _ in each(templates, "AWS::CloudFront::VpcOrigin"):
        if properties["VpcOriginEndpointConfig"]["OriginProtocolPolicy"] != ("https-only" if certificate else "http-only"):
            yield f"{name} speaks {properties['VpcOriginEndpointConfig']['OriginProtocolPolicy']}"


@rule
def log_groups_have_a_retention(templates: Templates) -> Findings:
    for name, properties, _ in each(templates, "AWS::Logs::LogGroup"):
        if not properties.get("RetentionInDays"):
            yield name
    for name, properties, _ in each(templates, "AWS::RDS::DBInstance"):
        calls = _calls(templates[name.split("/")[0]])
        bounded = re.findall(r"PutRetentionPolicy[^}]*?/aws/rds/instance/.*?/(\w+)\W+retentionInDays", calls)
        yield from (f"{name} {export}" for export in properties.get("EnableCloudwatchLogsExports", []) if export not in bounded)
    for name, properties, _ in each(templates, "AWS::ECS::Cluster"):
        calls = _calls(templates[name.split("/")[0]])
        insights = [setting["Value"] for setting in properties.get("ClusterSettings", [])]
        if insights != ["disabled"] and not re.search(r"PutRetentionPolicy.*?/aws/ecs/containerinsights/.*?retentionInDays", calls):
            yield f"{name} insights"


def _calls(template: Template) -> str:
    return json.dumps([r["Properties"]["Create"] for r in template["Resources"].values() if r["Type"] == "Custom::AWS"])


@rule
def stateful_resources_are_retained(templates: Templates) -> Findings:
    kinds = {*STATEFUL, "AWS::RDS::DBParameterGroup"}
    for name, properties, resource in each(templates, *kinds):
        if "AlertsKey" in name:  # encrypts messages in transit, not stored data
            continue
        deletable = len(resource.get("Metadata", {}).get("KeepDataOptOut", "")) >= 15
        policies = ("Delete", "Delete") if deletable else ("RetainExceptOnCreate", "Retain")
        if (resource.get("DeletionPolicy"), resource.get("UpdateReplacePolicy")) != policies:
            yield name
        if resource["Type"] == "AWS::S3::Bucket":
            if properties.get("VersioningConfiguration") != {"Status": "Enabled"}:
                yield f"{name} is not versioned"
            if "/AccessLogs" not in name and "DestinationBucketName" not in properties.get("LoggingConfiguration", {}):
                yield f"{name} has no access log"
        if resource["Type"] == "AWS::RDS::DBInstance":
            if not 1 <= int(properties.get("BackupRetentionPeriod", 0)) <= 35:
                yield f"{name} has no point-in-time recovery"
            if properties.get("DeleteAutomatedBackups") is not deletable or properties.get("CopyTagsToSnapshot") is not True:
                yield f"{name} deletes its backups or their tags"
            if (
                properties.get("DeletionProtection") is not True
                and len(resource.get("Metadata", {}).get("DeletionProtectionOptOut", "")) < 15
            ):
                yield f"{name} can be deleted, without a reason"
        if resource["Type"] == "AWS::ECR::Repository" and properties.get("ImageTagMutability") != "IMMUTABLE":
            yield f"{name} has mutable tags"


@rule
def backups_are_locked_and_expire_by_tier(templates: Templates) -> Findings:
    for name, properties, resource in each(templates, "AWS::S3::Bucket"):
        if "/Backups" not in name:
            continue
        rules = {one.get("Prefix"): one for one in properties.get("LifecycleConfiguration", {}).get("Rules", [])}
        days = [rules.get(f"{tier}/", {}).get("ExpirationInDays", 0) for tier in ("daily", "weekly", "monthly")]
        if not 0 < days[0] <= days[1] <= days[2]:
            yield f"{name} keeps its tiers {days} days"
        if not any("AbortIncompleteMultipartUpload" in one and "Prefix" not in one for one in rules.values()):
            yield f"{name} keeps incomplete uploads"
        for prefix, one in rules.items():
            if one.get("Status") != "Enabled" or (prefix and "NoncurrentVersionExpiration" not in one):
                yield f"{name} {prefix} does not expire"
            # Age alone would delete the last good backup.
            if prefix in ("daily/", "weekly/", "monthly/") and one.get("TagFilters") != [{"Key": "superseded", "Value": "true"}]:
                yield f"{name} {prefix} may delete the last good backup"
        stack, logical_id = name.split("/")
        policies = [p for _, p, _ in each({stack: templates[stack]}, "AWS::S3::BucketPolicy") if p["Bucket"] == {"Ref": logical_id}]
        if not any("s3:if-none-match" in json.dumps(s.get("Condition")) for p in policies for s in statements(p) if s["Effect"] == "Deny"):
            yield f"{name} allows overwriting a backup"
        # Object Lock itself is always on, since it cannot be switched on later; without a default retention nothing is locked.
        lock = properties.get("ObjectLockConfiguration", {}).get("Rule", {}).get("DefaultRetention")
        if not properties.get("ObjectLockEnabled"):
            yield f"{name} cannot lock backups"
        if lock and not (lock["Mode"] == "GOVERNANCE" and 0 < lock["Days"] <= days[0]):
            yield f"{name} is locked for {lock}"
        if not lock and not resource.get("Metadata", {}).get("ObjectLockOptOut"):
            yield f"{name} is not locked, without a reason"


@rule
def no_secret_is_in_plain_text(templates: Templates) -> Findings:
    for stack, template in templates.items():
        if found := SECRET_VALUE.search(json.dumps(template)):
            yield f"{stack} holds {found[0][:12]}…"
    for name, properties, _ in each(templates, "AWS::SecretsManager::Secret"):
        if "SecretString" in properties:
            yield f"{name} has its value in the template"
        generate = properties.get("GenerateSecretString")
        if generate is not None and generate.get("PasswordLength", 32) < 30:
            yield f"{name} is short"
    for name, properties, _ in each(templates, "AWS::ECS::TaskDefinition"):
        for container in properties["ContainerDefinitions"]:
            for variable in container.get("Environment", []):
                if SECRET_NAME.search(variable["Name"]):
                    yield f"{name} has {variable['Name']} in plain text"
    for name, properties, _ in each(templates, "AWS::RDS::DBInstance", "AWS::ElastiCache::ReplicationGroup"):
        for key in ("MasterUserPassword", "AuthToken"):
            if key in properties and "{{resolve:secretsmanager:" not in json.dumps(properties[key]):
                yield f"{name} {key}"


@rule
def functions_have_limits_and_separate_roles(templates: Templates) -> Findings:
    roles: dict[str, list[str]] = defaultdict(list)
    for name, properties, _ in each(templates, "AWS::Lambda::Function"):
        roles[name.split("/")[0] + json.dumps(properties["Role"])].append(name)
        if not 1 <= properties.get("Timeout", 0) <= 900 or not 128 <= properties.get("MemorySize", 0) <= 10_240:
            yield f"{name} has no valid timeout or memory"
        if "LogGroup" not in properties.get("LoggingConfig", {}):
            yield f"{name} has no log group with a retention"
        if not AT_DEPLOYMENT.search(name) and "TargetArn" not in properties.get("DeadLetterConfig", {}):
            yield f"{name} has no dead-letter queue"
    yield from (f"{', '.join(names)} share a role" for names in roles.values() if len(names) > 1)
    for name, properties, _ in each(templates, "AWS::Scheduler::Schedule"):
        target = properties["Target"]
        if "DeadLetterConfig" not in target or not target.get("RetryPolicy", {}).get("MaximumRetryAttempts"):
            yield f"{name} has no dead-letter queue or retries"
        if properties.get("State", "ENABLED") != "ENABLED":
            yield f"{name} is disabled"
    for name, properties, _ in each(templates, "AWS::SQS::Queue"):
        if properties.get("MessageRetentionPeriod", 0) < 1_209_600 and "DeadLetters" in name:
            yield f"{name} keeps messages for less than 14 days"
