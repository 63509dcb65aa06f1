"""Rules for every template: resources that belong together, least privilege, limits, tags (see rules.py)."""

from __future__ import annotations

import functools
import ipaddress
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from aws_lambda_powertools.shared import constants as powertools
from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER

from constructs_lib.network.vpc import ENDPOINTS
from stacks.base import UNTAGGED
from tests.conftest import ROOT
from tests.rules.rules import Findings, Template, Templates, actions, each, listed, opted_out, references, rule, statements
from tests.rules.variables import Readers
from tools.reports.security.authorization import EVERYTHING, NotRecorded, checked_against

LAMBDA_SRC = ROOT / "lambda_src"
# Libraries read these. Source: the pinned Powertools; Python's documentation, "Environment variables" and Path.home.
READ_BY_POWERTOOLS = {value for value in vars(powertools).values() if str(value).startswith("POWERTOOLS_")}
READ_BY_PYTHON = {"HOME", "PYTHONPATH"}
# The first is useless or unsafe without one of the second that refers to it, or to which it refers.
TOGETHER = {
    "AWS::S3::Bucket": ["AWS::S3::BucketPolicy"],
    "AWS::SQS::Queue": ["AWS::SQS::QueuePolicy"],
    "AWS::SNS::Topic": ["AWS::SNS::TopicPolicy"],
    "AWS::EC2::VPC": ["AWS::EC2::FlowLog", "AWS::EC2::VPCGatewayAttachment", "AWS::EC2::VPCEndpoint"],
    "AWS::EC2::Subnet": ["AWS::EC2::SubnetRouteTableAssociation"],
    "AWS::EC2::RouteTable": ["AWS::EC2::SubnetRouteTableAssociation"],
    "AWS::EC2::InternetGateway": ["AWS::EC2::VPCGatewayAttachment"],
    "AWS::EC2::NatGateway": ["AWS::EC2::Route"],
    "AWS::EC2::EIP": ["AWS::EC2::NatGateway"],
    "AWS::ECS::Cluster": ["AWS::ECS::ClusterCapacityProviderAssociations", "AWS::ECS::Service"],
    "AWS::ECS::Service": ["AWS::ApplicationAutoScaling::ScalableTarget"],
    "AWS::ApplicationAutoScaling::ScalableTarget": ["AWS::ApplicationAutoScaling::ScalingPolicy"],
    "AWS::RDS::DBProxy": ["AWS::RDS::DBProxyTargetGroup"],
    "AWS::RDS::DBInstance": ["AWS::SecretsManager::SecretTargetAttachment", "AWS::RDS::DBProxyTargetGroup"],
    "AWS::ElasticLoadBalancingV2::LoadBalancer": ["AWS::ElasticLoadBalancingV2::Listener", "AWS::CloudFront::VpcOrigin"],
    "AWS::ElasticLoadBalancingV2::TargetGroup": ["AWS::ElasticLoadBalancingV2::Listener"],
    "AWS::WAFv2::WebACL": ["AWS::WAFv2::LoggingConfiguration"],
    "AWS::CloudFront::VpcOrigin": ["AWS::CloudFront::Distribution"],
}
# Containers that need what others may not, each with its reason in docs/security.md ("Findings of other scanners").
KEEPS_CAPABILITIES = {"psql", "redis"}
WRITES_ROOT = {*KEEPS_CAPABILITIES, "migration", "backup", "drill", "release_files"}
# Minimum number of resources in every environment.
ALWAYS = {
    "AWS::EC2::VPC": 1,
    "AWS::S3::Bucket": 5,
    "AWS::ECR::Repository": 1,
    "AWS::RDS::DBInstance": 1,
    "AWS::RDS::DBProxy": 1,
    "AWS::ElastiCache::ReplicationGroup": 1,
    "AWS::CloudFront::Distribution": 1,
    "AWS::CloudFront::Function": 2,
    "AWS::WAFv2::WebACL": 1,
    "AWS::ElasticLoadBalancingV2::LoadBalancer": 1,
    "AWS::ECS::Service": 1,
    "AWS::ECS::TaskDefinition": 4,
    "AWS::ApplicationAutoScaling::ScalingPolicy": 3,
    "AWS::CloudWatch::Alarm": 50,
    "AWS::CloudWatch::CompositeAlarm": 15,
    "AWS::Budgets::Budget": 1,
    "AWS::CloudWatch::Dashboard": 1,
    "AWS::Scheduler::Schedule": 1,
    "AWS::SNS::Topic": 1,
    "AWS::SecretsManager::Secret": 12,
    "Custom::DatabaseRoles": 1,
}
ONLY_WITH_ALERTS = {"AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm", "AWS::CloudWatch::Dashboard"}


@rule
def required_resources_exist(templates: Templates) -> Findings:
    for prefix in _environments(templates):
        mine = {name: template for name, template in templates.items() if _belongs(name, prefix, templates)}
        present: dict[str, int] = defaultdict(int)
        for _, _, resource in each(mine):
            present[resource["Type"]] += 1
        always = {**ALWAYS, **({"AWS::RDS::DBProxy": 0} if prefix in opted_out(templates, "Proxy") else {})}
        if "MonthlyUsdOptOut" in templates[prefix].get("Metadata", {}):
            always["AWS::Budgets::Budget"] = 0
        always |= dict.fromkeys(always.keys() & ONLY_WITH_ALERTS, 0) if prefix in opted_out(templates, "Watched") else {}
        yield from (f"{prefix} has {present[kind]} × {kind}" for kind, least in always.items() if present[kind] < least)
        users = {kind: json.dumps([r for _, _, r in each(mine, kind)]) for kinds in TOGETHER.values() for kind in kinds}
        for name, _, resource in each(mine, *TOGETHER):
            logical_id, text = name.split("/")[1], json.dumps(resource)
            for kind in TOGETHER[resource["Type"]]:
                if kind.startswith("AWS::RDS::DBProxy") and not always["AWS::RDS::DBProxy"]:
                    continue
                others = [other.split("/")[1] for other, _, _ in each(mine, kind)]
                if logical_id not in users[kind] and not any(other in text for other in others):
                    yield f"{name} has no {kind}"


@rule
def no_resource_is_unused(templates: Templates) -> Findings:
    kinds = ("AWS::EC2::SecurityGroup", "AWS::IAM::Role", "AWS::KMS::Key", "AWS::SecretsManager::Secret", "AWS::Logs::LogGroup",
             "AWS::Lambda::Function", "AWS::Lambda::LayerVersion", "AWS::SQS::Queue", "AWS::CloudFront::Function",
             "AWS::CloudFront::CachePolicy", "AWS::CloudFront::ResponseHeadersPolicy", "AWS::CloudFront::OriginAccessControl",
             "AWS::RDS::DBParameterGroup", "AWS::RDS::DBSubnetGroup", "AWS::ElastiCache::ParameterGroup",
             "AWS::ElastiCache::SubnetGroup", "AWS::SNS::Topic")  # fmt: skip
    for stack, template in templates.items():
        used = {
            target
            for logical_id, resource in template["Resources"].items()
            for target in references(resource.get("Properties", {}))
            if target != logical_id
        } | set(references(template.get("Outputs", {})))
        for logical_id, resource in template["Resources"].items():
            # tools/cli/commands/release.py runs a task in it; people invoke functions without a schedule.
            manual = logical_id.startswith("ReleaseFilesSecurityGroup") or "ScheduledBackupsOptOut" in resource.get("Metadata", {})
            if resource["Type"] in kinds and logical_id not in used and not manual:
                yield f"{stack}/{logical_id}"


def needs_everything(action: str) -> bool:
    """Return whether AWS checks some requests for the action against `*`."""
    try:
        return EVERYTHING in checked_against(action)
    except NotRecorded:
        return False


@rule
def roles_have_least_privilege(templates: Templates) -> Findings:
    for name, properties, resource in each(templates, "AWS::IAM::Policy", "AWS::IAM::ManagedPolicy", "AWS::IAM::Role"):
        trust = resource["Type"] == "AWS::IAM::Role"
        inline = [one for policy in properties.get("Policies", []) for one in policy["PolicyDocument"]["Statement"]]
        for statement in [*statements(properties), *inline]:
            if statement["Effect"] == "Deny":
                continue
            if "NotAction" in statement or "NotResource" in statement or any("*" in action for action in actions(statement)):
                yield f"{name} allows {actions(statement)}"
            if trust and statement not in inline and set(statement.get("Principal", {})) != {"Service"}:
                yield f"{name} is assumed by {statement.get('Principal')}"
            if "*" in listed(statement.get("Resource")) and not all(map(needs_everything, actions(statement))):
                yield f"{name} allows {actions(statement)} on everything"
            critical = ("iam:", "sts:assumerole", "kms:schedule", "s3:deletebucket")
            passed_on = actions(statement) == ["iam:PassRole"] and "iam:PassedToService" in str(statement.get("Condition"))
            if not trust and not passed_on and any(action.lower().startswith(critical) for action in actions(statement)):
                yield f"{name} allows {actions(statement)}"
        if properties.get("ManagedPolicyArns"):
            yield f"{name} has managed policies whose text is not in the template"
        if trust and not list(statements(properties)):
            yield f"{name} has no trust policy"


@rule
def private_subnets_have_the_endpoints_they_need(templates: Templates) -> Findings:
    """Without NAT, functions and tasks reach only services with an endpoint."""
    called = {service: caller for caller, service in calls_from_private_subnets(templates)}
    for service in sorted(called.keys() - ENDPOINTS):
        yield f"{called[service]} calls {service}, for which constructs_lib/network/vpc.py has no endpoint"
    for service in sorted(ENDPOINTS.keys() - called):
        yield f"constructs_lib/network/vpc.py has an endpoint for {service}, which nothing in the private subnets calls"


def calls_from_private_subnets(templates: Templates) -> Iterator[tuple[str, str]]:
    """Yield (name, IAM service prefix) of what functions in the VPC, tasks and Fargate itself may call through the VPC's network.

    The S3 gateway endpoint serves S3. These are no calls from there: Lambda's own, for logs, dead letters and network interfaces (Lambda
    Developer Guide, "Sending function logs", "Dead-letter queues", "Giving functions access to a VPC"); passing a role; a token for the
    database, which is made locally; and what another service does with a key.
    """
    for stack, template in templates.items():
        granted = _granted(template)
        for logical_id, resource in template["Resources"].items():
            properties = resource.get("Properties", {})
            if resource["Type"] == "AWS::Lambda::Function" and "VpcConfig" in properties:
                lambdas_own = {*references([properties.get("LoggingConfig"), properties.get("DeadLetterConfig")])}
                roles = references(properties["Role"])
            elif resource["Type"] == "AWS::ECS::TaskDefinition":
                lambdas_own = set()
                roles = references([properties["TaskRoleArn"], properties["ExecutionRoleArn"]])
            else:
                continue
            yield from ((f"{stack}/{logical_id}", service) for role in roles for service in _called(granted[role], lambdas_own))


def _called(granted: list[dict[str, Any]], lambdas_own: set[str]) -> Iterator[str]:
    denied = {action for statement in granted if statement["Effect"] == "Deny" for action in actions(statement)}
    for statement in granted:
        resources = {*references({"Resource": statement.get("Resource")})}
        of_lambda = resources and resources <= lambdas_own
        of_a_service = "kms:ViaService" in str(statement.get("Condition"))
        if statement["Effect"] == "Allow" and not of_lambda and not of_a_service:
            called = {*actions(statement)} - denied - {"iam:PassRole", "rds-db:connect"}
            yield from {action.partition(":")[0] for action in called} - {"s3"}


def _granted(template: Template) -> dict[str, list[dict[str, Any]]]:
    """Logical id of a role → the statements of its policies."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for logical_id, resource in template["Resources"].items():
        properties = resource.get("Properties", {})
        if resource["Type"] == "AWS::IAM::Policy":
            for role in references(properties["Roles"]):
                found[role] += statements(properties)
        elif resource["Type"] == "AWS::IAM::Role":
            for policy in properties.get("Policies", []):
                found[logical_id] += statements(policy)
    return found


# Action → the condition key without which it would allow too much.
REQUIRED_CONDITION = {
    "kms:Decrypt": "kms:ViaService",
    "kms:GenerateDataKey": "kms:ViaService",
    "ecs:ListTasks": "ecs:cluster",
    "ecs:RunTask": "ecs:cluster",
    "iam:PassRole": "iam:PassedToService",
    "s3:ListBucket": "s3:prefix",
}
LISTS_WHOLE_BUCKET = "ServiceWebTaskRole"  # the application owns the bucket of users' files


@rule
def broad_actions_have_conditions(templates: Templates) -> Findings:
    """Keys through one service, tasks in one cluster, roles for one service, bucket lists of readable prefixes."""
    for name, properties, _ in each(templates, "AWS::IAM::Policy"):
        for statement in statements(properties):
            keys = {key for condition in statement.get("Condition", {}).values() for key in condition}
            for action in actions(statement) if statement["Effect"] == "Allow" else ():
                whole = action == "s3:ListBucket" and LISTS_WHOLE_BUCKET in name.replace("/", "")
                signature = action == "kms:Decrypt" and "kms:EncryptionContext:purpose" in keys  # of a manifest (ADR 0030)
                if action in REQUIRED_CONDITION and REQUIRED_CONDITION[action] not in keys and not whole and not signature:
                    yield f"{name} allows {action} without {REQUIRED_CONDITION[action]}"


@rule
def functions_and_tasks_read_their_variables(templates: Templates) -> Findings:
    """A variable without a reader suggests that it has an effect."""
    for name, properties, _ in each(templates, "AWS::Lambda::Function"):
        file = properties["Handler"].rpartition(".")[0].replace(".", "/") + ".py"
        if (LAMBDA_SRC / file).is_file():  # not the CDK's own functions
            given = set(properties.get("Environment", {}).get("Variables", {})) - READ_BY_POWERTOOLS
            yield from (f"{name}: {file} does not read {one}" for one in _readers().unread([file], given))
    for name, properties, _ in each(templates, "AWS::ECS::TaskDefinition"):
        for container in properties["ContainerDefinitions"]:
            values = {one["Name"]: one["Value"] for one in container.get("Environment", [])}
            if package := values.get("TASK_PACKAGE"):
                files = [f"{package}/__main__.py", "common/task_bootstrap.py"]
                given = set(values) - READ_BY_POWERTOOLS - READ_BY_PYTHON
                yield from (f"{name}: {files[0]} does not read {one}" for one in _readers().unread(files, given))


@functools.cache
def _readers() -> Readers:
    return Readers(LAMBDA_SRC)


@rule
def roles_have_permissions(templates: Templates) -> Findings:
    """A role without its policy still deploys, but fails at run time."""
    for stack, template in templates.items():
        with_policy = {
            role
            for resource in template["Resources"].values()
            if resource["Type"] == "AWS::IAM::Policy"
            for role in references(resource["Properties"]["Roles"])
        }
        for logical_id, resource in template["Resources"].items():
            # Prisma's migrations call no AWS API.
            if resource["Type"] == "AWS::IAM::Role" and logical_id not in with_policy and not logical_id.startswith("MigrationTaskRole"):
                yield f"{stack}/{logical_id}"


@rule
def function_code_is_denied_network_interfaces(templates: Templates) -> Findings:
    for name, properties, _ in each(templates, "AWS::IAM::Policy"):
        interface_statements = [s for s in statements(properties) if "ec2:CreateNetworkInterface" in actions(s)]
        if interface_statements and [("lambda:SourceFunctionArn" in json.dumps(s), s["Effect"]) for s in interface_statements] != [
            (False, "Allow"),
            (True, "Deny"),
        ]:
            yield name
        for statement in statements(properties):
            condition = json.dumps(statement.get("Condition", {}))
            if "kms:Decrypt" in actions(statement) and not re.search("kms:ViaService|kms:EncryptionContext:purpose", condition):
                yield f"{name} may decrypt everything that the key encrypted"


@rule
def resource_policies_name_principal_and_account(templates: Templates) -> Findings:
    for name, properties, resource in each(
        templates, "AWS::S3::BucketPolicy", "AWS::SQS::QueuePolicy", "AWS::SNS::TopicPolicy", "AWS::KMS::Key"
    ):
        for statement in statements(properties):
            principal = statement["Principal"]
            if statement["Effect"] == "Deny" or (resource["Type"] == "AWS::KMS::Key" and ":root" in json.dumps(principal)):
                continue
            if "*" in json.dumps(actions(statement)) or (resource["Type"] != "AWS::KMS::Key" and "*" in listed(statement["Resource"])):
                yield f"{name} allows {principal} {actions(statement)} on {statement['Resource']}"
            # The CDK's statements for load balancer logs have no such condition.
            delivery = principal == {"Service": "delivery.logs.amazonaws.com"} or "Service" not in principal
            condition = json.dumps(statement.get("Condition", {}))
            if not delivery and not re.search("aws:Source(Account|Arn)", condition, re.IGNORECASE):  # IAM's keys are case-insensitive
                yield f"{name} allows {principal} for any account"
            if delivery and "s3:PutObject" in actions(statement) and "AWSLogs" not in json.dumps(statement["Resource"]):
                yield f"{name} allows {principal} to write anywhere"
            if (
                principal == {"Service": "delivery.logs.amazonaws.com"}
                and "s3:PutObject" in actions(statement)
                and "s3:x-amz-acl" not in condition
            ):
                yield f"{name} allows {principal} to own what it writes"


@rule
def required_api_calls_exist(templates: Templates) -> Findings:
    needed = (
        "RevokeSecurityGroupIngress",
        "RevokeSecurityGroupEgress",
        "PutParameter",
        "unavailable.html",
        "PutSecretValue",
    )
    for prefix in _environments(templates):
        mine = {name: template for name, template in templates.items() if _belongs(name, prefix, templates)}
        calls = json.dumps([properties["Create"] for _, properties, _ in each(mine, "Custom::AWS")])
        yield from (f"{prefix} calls no {call}" for call in needed if call not in calls)


@rule
def subnets_have_the_right_routes(templates: Templates) -> Findings:
    for stack, template in templates.items():
        resources = template["Resources"]
        networks = [ipaddress.IPv4Network(r["Properties"]["CidrBlock"]) for r in resources.values() if r["Type"] == "AWS::EC2::VPC"]
        if not networks:
            continue
        ranges = {n: ipaddress.IPv4Network(r["Properties"]["CidrBlock"]) for n, r in resources.items() if r["Type"] == "AWS::EC2::Subnet"}
        for name, one in ranges.items():
            if not one.subnet_of(networks[0]) or any(one.overlaps(other) for key, other in ranges.items() if key != name):
                yield f"{stack}/{name} {one}"
        nat = any(r["Type"] == "AWS::EC2::NatGateway" for r in resources.values())
        instance = any(r["Type"] == "AWS::EC2::Instance" for r in resources.values())
        targets = {"Public": "GatewayId", "Private": "NatGatewayId" if nat else "InstanceId" if instance else None, "Isolated": None}
        for name in ranges:
            tables = [
                r["Properties"]["RouteTableId"]["Ref"]
                for r in resources.values()
                if r["Type"] == "AWS::EC2::SubnetRouteTableAssociation" and r["Properties"]["SubnetId"] == {"Ref": name}
            ]
            routes = [
                r["Properties"]
                for r in resources.values()
                if r["Type"] == "AWS::EC2::Route" and r["Properties"]["RouteTableId"]["Ref"] in tables
            ]
            target = next(target for tier, target in targets.items() if f"Vpc{tier}Subnet" in name)
            found = [next((key for key in ("GatewayId", "NatGatewayId", "InstanceId") if key in route), "?") for route in routes]
            if len(tables) != 1 or found != ([target] if target else []):
                yield f"{stack}/{name} routes to {found}"
            if any(route.get("DestinationCidrBlock") != "0.0.0.0/0" for route in routes):
                yield f"{stack}/{name} has no default route"
        (endpoint,) = [r["Properties"] for n, r in resources.items() if "S3Endpoint" in n and r["Type"] == "AWS::EC2::VPCEndpoint"]
        if len(endpoint["RouteTableIds"]) != len(ranges) or ".s3" not in json.dumps(endpoint["ServiceName"]):
            yield f"{stack}: the S3 endpoint does not serve every subnet"
        flow = [r["Properties"] for r in resources.values() if r["Type"] == "AWS::EC2::FlowLog"]
        if [one.get("TrafficType") for one in flow] != ["ALL"]:
            yield f"{stack}: flow logs do not record all traffic"


@rule
def application_is_confined_and_rolls_back(templates: Templates) -> Findings:
    for name, properties, _ in each(templates, "AWS::ECS::Service"):
        deployment = properties["DeploymentConfiguration"]
        for part in ("DeploymentCircuitBreaker", "Alarms"):
            if (deployment.get(part, {}).get("Enable"), deployment.get(part, {}).get("Rollback")) != (True, True):
                yield f"{name} does not roll back on {part}"
        if (deployment.get("MinimumHealthyPercent"), properties.get("EnableExecuteCommand", False)) != (100, False):
            yield f"{name} goes below 100 % healthy tasks, or allows ECS Exec"
    for name, properties, _ in each(templates, "AWS::ECS::TaskDefinition"):
        if properties.get("NetworkMode") != "awsvpc" or "TaskRoleArn" not in properties or "ExecutionRoleArn" not in properties:
            yield f"{name} has no separate network or role"
        for container in properties["ContainerDefinitions"]:
            if "LogConfiguration" not in container or container.get("Privileged"):
                yield f"{name} {container['Name']} has no log, or is privileged"
            if container.get("User") in (None, "0", "root"):
                yield f"{name} {container['Name']} runs as root"
            dropped = container.get("LinuxParameters", {}).get("Capabilities", {}).get("Drop")
            if dropped != ["ALL"] and container["Name"] not in KEEPS_CAPABILITIES:
                yield f"{name} {container['Name']} keeps Linux capabilities"
            if container.get("ReadonlyRootFilesystem") is not True and container["Name"] not in WRITES_ROOT:
                yield f"{name} {container['Name']} may write to its root file system"


@rule
def web_acl_protects_and_logs(templates: Templates) -> Findings:
    for name, properties, _ in each(templates, "AWS::CloudFront::Distribution"):
        config = properties["DistributionConfig"]
        if "WebAcl" not in json.dumps(config.get("WebACLId", "")) or "Logging" not in config:
            yield f"{name} has no web ACL, or no log"
        for behavior in [config["DefaultCacheBehavior"], *config["CacheBehaviors"]]:
            if "ResponseHeadersPolicyId" not in behavior:
                yield f"{name} sends {behavior.get('PathPattern', '*')} without security headers"
    for name, properties, _ in each(templates, "AWS::WAFv2::WebACL"):
        if properties.get("Scope") != "CLOUDFRONT" or "Allow" not in properties["DefaultAction"]:
            yield f"{name} has the wrong scope or default action"
        priorities = [one["Priority"] for one in properties["Rules"]]
        if priorities != sorted(set(priorities)):
            yield f"{name} has rules of the same priority"
        managed = {one["Statement"].get("ManagedRuleGroupStatement", {}).get("Name") for one in properties["Rules"]}
        needed = {
            f"AWSManagedRules{group}" for group in ("CommonRuleSet", "KnownBadInputsRuleSet", "SQLiRuleSet", "AmazonIpReputationList")
        }
        yield from (f"{name} lacks {group}" for group in sorted(needed - managed))
        for one in properties["Rules"]:
            acts = one.get("Action", {}).keys() & {"Block", "Challenge"} or "None" in one.get("OverrideAction", {})
            if not acts or not all(one["VisibilityConfig"].get(key) for key in ("CloudWatchMetricsEnabled", "SampledRequestsEnabled")):
                yield f"{name} {one['Name']} does not block, or has no metrics"


@rule
def templates_are_within_cloudformation_limits(templates: Templates) -> Findings:
    for stack, template in templates.items():
        sizes = {
            "resources of 500": (len(template["Resources"]), 350),
            "outputs of 200": (len(template.get("Outputs", {})), 140),
            "parameters of 200": (len(template.get("Parameters", {})), 100),
            "bytes of 1 MB": (len(json.dumps(template, indent=1)), 700_000),
            "characters of description of 1024": (len(template.get("Description", "")), 800),
        }
        yield from (f"{stack}: {number} {what}" for what, (number, most) in sizes.items() if number > most)
        per_role: dict[str, int] = defaultdict(int)
        for resource in template["Resources"].values():
            if resource["Type"] == "AWS::IAM::Policy":
                for role in references(resource["Properties"]["Roles"]):
                    per_role[role] += len(json.dumps(resource["Properties"]["PolicyDocument"], separators=(",", ":")))
        yield from (f"{stack}/{role} has {size} characters of inline policy of 10240" for role, size in per_role.items() if size > 9000)
    for name, properties, _ in each(templates, "AWS::Lambda::Function"):
        if len(json.dumps(properties.get("Environment", {}))) > 3500:
            yield f"{name} has an environment of more than 4 KB"
    for name, properties, _ in each(templates, "AWS::CloudFront::Function"):
        if len(properties["FunctionCode"].encode()) > 10_000:
            yield f"{name} is longer than 10 KB"


@rule
def taggable_resources_are_tagged(templates: Templates) -> Findings:
    wanted = {"environment", "owner", "cost-center", "repository"}
    for name, properties, resource in each(templates):
        if _takes_tags(resource["Type"]) and not wanted <= {tag["Key"] for tag in properties.get("Tags", [])}:
            yield name


def _environments(templates: Templates) -> list[str]:
    """The top stacks, such as `CarmenProd`, which have the output Url."""
    return [name for name, template in templates.items() if "Url" in template.get("Outputs", {})]


def _belongs(name: str, prefix: str, templates: Templates) -> bool:
    return name.startswith(prefix) and not any(name.startswith(o) and len(o) > len(prefix) for o in _environments(templates) if o != prefix)


@functools.cache
def _takes_tags(kind: str) -> bool:
    """Whether CloudFormation's schema of the type has tags."""
    if kind.startswith("Custom::") or kind in UNTAGGED:
        return False
    properties = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", kind).schema["properties"]
    return bool(properties.get("Tags", {}).get("type") == "array")
