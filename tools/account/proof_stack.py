"""The throwaway stack of `./carmen account check --prove`: everything that the proofs need, deleted as one stack.

Its name makes the release role's real policy apply to it: for an environment called `proof`, that policy allows the tasks of the stack
`CarmenProofService`. What CloudFormation does not delete is removed here by name or tag; the next run removes what an interrupted one left.
"""

from __future__ import annotations

import contextlib
import io
import json
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from settings.constants import CACHE_ENGINES, EDGE_REGION
from settings.model import Settings
from tools.environment import FailedError, RefusedError, find_stack

ROOT = Path(__file__).parents[2]
ENVIRONMENT, NAME = "proof", "CarmenProofService"
TAG = {"Key": "carmen-proof", "Value": "true"}
FAMILY = f"{NAME}MigrationTaskProof"  # of the task definition that a proof registers
MONITOR = "CarmenProof"
PROXY = "carmen-proof"
LOG_GROUPS = (f"/aws/rds/proxy/{PROXY}",)  # services create them, and no stack deletes them
ORIGIN_GROUP = "CloudFront-VPCOrigins-Service-SG"
DATABASE, MASTER, PROXY_USER = "carmen", "carmen_master", "carmen_proof"
NO_CACHING = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"  # CloudFront's managed policy CachingDisabled
POLL_SECONDS = 15
CREATE_SECONDS, DELETE_SECONDS = 45 * 60, 60 * 60  # network interfaces of functions take up to forty minutes
ATTEMPTS = 3

Say = Callable[[str], None]
Resource = dict[str, Any]


# The template


def template(settings: Settings) -> dict[str, Any]:
    """One small VPC without internet access, and what each proof uses in it."""
    return {
        "Description": "Throwaway proofs of `./carmen account check --prove`: delete this stack if it is still here tomorrow",
        "Parameters": {"CacheDescription": {"Type": "String", "Default": "Carmen proof"}},
        "Resources": {
            **_network(settings),
            **_database(settings),
            **_cache(settings),
            **_edge(),
            **_function(),
            **_tasks(settings),
            **_alerts(),
        },
        "Outputs": {
            name: {"Value": value}
            for name, value in {
                "Vpc": {"Ref": "Vpc"},
                "Group": {"Ref": "Group"},
                "Function": {"Ref": "Function"},
                "Cluster": {"Ref": "Cluster"},
                "ReleaseRole": _attribute("ReleaseRole", "Arn"),
                "MasterSecret": {"Ref": "MasterSecret"},
                "ProxySecret": {"Ref": "ProxySecret"},
                "CacheSecret": {"Ref": "CacheSecret"},
                "DatabaseHost": _attribute("Database", "Endpoint.Address"),
                "DatabasePort": _attribute("Database", "Endpoint.Port"),
                "ProxyHost": _attribute("Proxy", "Endpoint"),
                "CacheGroup": {"Ref": "Cache"},
                "CacheHost": _attribute("Cache", "PrimaryEndPoint.Address"),
                "CachePort": _attribute("Cache", "PrimaryEndPoint.Port"),
                "Queue": {"Ref": "Queue"},
                "IdleAlarm": {"Ref": "IdleAlarm"},
            }.items()
        },
    }


def _attribute(logical_id: str, name: str) -> dict[str, Any]:
    return {"Fn::GetAtt": [logical_id, name]}


def _resource(kind: str, properties: Resource, *, depends_on: str = "") -> Resource:
    """Deleted with the stack, also where CloudFormation's default is a final snapshot."""
    return {
        "Type": f"AWS::{kind}",
        "Properties": properties,
        "DeletionPolicy": "Delete",
        "UpdateReplacePolicy": "Delete",
        **({"DependsOn": depends_on} if depends_on else {}),
    }


def _role(service: str, statements: list[Resource], managed: str = "") -> Resource:
    return _resource(
        "IAM::Role",
        {
            "AssumeRolePolicyDocument": _policy(_allow("sts:AssumeRole", Principal={"Service": service})),
            "Policies": [{"PolicyName": "proof", "PolicyDocument": _policy(*statements)}],
            **({"ManagedPolicyArns": [{"Fn::Sub": f"arn:${{AWS::Partition}}:iam::aws:policy/{managed}"}]} if managed else {}),
        },
    )


def _policy(*statements: Resource) -> Resource:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def _allow(*actions: str, **elements: Any) -> Resource:
    return {"Effect": "Allow", "Action": list(actions), **elements}


def _network(settings: Settings) -> dict[str, Resource]:
    """Security group rules are separate resources, as in the deployed stacks (constructs_lib/foundation/security_group.py).

    CloudFront's VPC origins need an internet gateway in the VPC, without a route to it (AWS, "Restrict access with VPC origins").
    """
    everything = {"IpProtocol": "tcp", "FromPort": 0, "ToPort": 65535, "Description": "Within the proof"}
    subnets = {
        f"Subnet{number}": _resource(
            "EC2::Subnet", {"VpcId": {"Ref": "Vpc"}, "AvailabilityZoneId": zone, "CidrBlock": f"10.255.255.{128 * number}/25"}
        )
        for number, zone in enumerate(settings.network.zones[:2])
    }
    return {
        "Vpc": _resource("EC2::VPC", {"CidrBlock": "10.255.255.0/24", "EnableDnsSupport": True, "EnableDnsHostnames": True}),
        "Gateway": _resource("EC2::InternetGateway", {}),
        "Attachment": _resource("EC2::VPCGatewayAttachment", {"VpcId": {"Ref": "Vpc"}, "InternetGatewayId": {"Ref": "Gateway"}}),
        **subnets,
        "Group": _resource(
            "EC2::SecurityGroup",
            {
                "GroupDescription": "Carmen proof",
                "VpcId": {"Ref": "Vpc"},
                "SecurityGroupEgress": [{"IpProtocol": "-1", "CidrIp": "127.0.0.1/32", "Description": "Replaces the default rule"}],
            },
        ),
        "Ingress": _resource(
            "EC2::SecurityGroupIngress",
            {**everything, "GroupId": _attribute("Group", "GroupId"), "SourceSecurityGroupId": _attribute("Group", "GroupId")},
        ),
        "Egress": _resource(
            "EC2::SecurityGroupEgress",
            {**everything, "GroupId": _attribute("Group", "GroupId"), "DestinationSecurityGroupId": _attribute("Group", "GroupId")},
        ),
    }


SUBNETS = [{"Ref": "Subnet0"}, {"Ref": "Subnet1"}]
GROUPS = [_attribute("Group", "GroupId")]


def _secret(user: str = "") -> Resource:
    """Letters and digits, which PostgreSQL, Redis and URLs accept."""
    generate: Resource = {"PasswordLength": 32, "ExcludePunctuation": True, "GenerateStringKey": "password"}
    return _resource(
        "SecretsManager::Secret",
        {"Description": "Carmen proof", "GenerateSecretString": {**generate, "SecretStringTemplate": json.dumps({"username": user})}},
    )


def _password(secret: str) -> Resource:
    return {"Fn::Sub": f"{{{{resolve:secretsmanager:${{{secret}}}:SecretString:password}}}}"}


def _database(settings: Settings) -> dict[str, Resource]:
    return {
        "MasterSecret": _secret(MASTER),
        "ProxySecret": _secret(PROXY_USER),
        "DatabaseSubnets": _resource("RDS::DBSubnetGroup", {"DBSubnetGroupDescription": "Carmen proof", "SubnetIds": SUBNETS}),
        "Database": _resource(
            "RDS::DBInstance",
            {
                "Engine": "postgres",
                "EngineVersion": settings.database.engine_major,
                "DBInstanceClass": "db.t4g.micro",
                "AllocatedStorage": "20",
                "StorageType": "gp3",
                "StorageEncrypted": True,
                "DBName": DATABASE,
                "MasterUsername": MASTER,
                "MasterUserPassword": _password("MasterSecret"),
                "DBSubnetGroupName": {"Ref": "DatabaseSubnets"},
                "VPCSecurityGroups": GROUPS,
                "EnableIAMDatabaseAuthentication": True,
                "BackupRetentionPeriod": 0,
                "MultiAZ": False,
                "PubliclyAccessible": False,
                "DeletionProtection": False,
            },
        ),
        "ProxyRole": _role("rds.amazonaws.com", [_allow("secretsmanager:GetSecretValue", Resource={"Ref": "ProxySecret"})]),
        "Proxy": _resource(
            "RDS::DBProxy",
            {
                "DBProxyName": PROXY,
                "EngineFamily": "POSTGRESQL",
                "RequireTLS": True,
                "RoleArn": _attribute("ProxyRole", "Arn"),
                "Auth": [{"AuthScheme": "SECRETS", "IAMAuth": "DISABLED", "SecretArn": {"Ref": "ProxySecret"}}],
                "VpcSubnetIds": SUBNETS,
                "VpcSecurityGroupIds": GROUPS,
            },
        ),
        "ProxyTargets": _resource(
            "RDS::DBProxyTargetGroup",
            {"DBProxyName": {"Ref": "Proxy"}, "TargetGroupName": "default", "DBInstanceIdentifiers": [{"Ref": "Database"}]},
        ),
    }


def _cache(settings: Settings) -> dict[str, Resource]:
    return {
        "CacheSecret": _secret(),
        "CacheSubnets": _resource("ElastiCache::SubnetGroup", {"Description": "Carmen proof", "SubnetIds": SUBNETS}),
        "Cache": _resource(
            "ElastiCache::ReplicationGroup",
            {
                "ReplicationGroupDescription": {"Ref": "CacheDescription"},
                "Engine": settings.cache.engine,
                "EngineVersion": CACHE_ENGINES[settings.cache.engine][0],
                "CacheNodeType": "cache.t4g.micro",
                "NumCacheClusters": 1,
                "AutomaticFailoverEnabled": False,
                "TransitEncryptionEnabled": True,
                "AtRestEncryptionEnabled": True,
                "AuthToken": _password("CacheSecret"),
                "CacheSubnetGroupName": {"Ref": "CacheSubnets"},
                "SecurityGroupIds": GROUPS,
            },
        ),
    }


def _edge() -> dict[str, Resource]:
    return {
        "LoadBalancer": _resource(
            "ElasticLoadBalancingV2::LoadBalancer",
            {"Type": "application", "Scheme": "internal", "Subnets": SUBNETS, "SecurityGroups": GROUPS},
        ),
        "Listener": _resource(
            "ElasticLoadBalancingV2::Listener",
            {
                "LoadBalancerArn": {"Ref": "LoadBalancer"},
                "Port": 80,
                "Protocol": "HTTP",
                "DefaultActions": [{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "200"}}],
            },
        ),
        "VpcOrigin": _resource(
            "CloudFront::VpcOrigin",
            {
                "VpcOriginEndpointConfig": {
                    "Name": "carmen-proof",
                    "Arn": {"Ref": "LoadBalancer"},
                    "HTTPPort": 80,
                    "OriginProtocolPolicy": "http-only",
                }
            },
            depends_on="Attachment",
        ),
        "Distribution": _resource(
            "CloudFront::Distribution",
            {
                "DistributionConfig": {
                    "Enabled": True,
                    "Comment": "Carmen proof",
                    "Origins": [
                        {
                            "Id": "proof",
                            "DomainName": _attribute("LoadBalancer", "DNSName"),
                            "VpcOriginConfig": {"VpcOriginId": _attribute("VpcOrigin", "Id")},
                        }
                    ],
                    "DefaultCacheBehavior": {
                        "TargetOriginId": "proof",
                        "ViewerProtocolPolicy": "https-only",
                        "CachePolicyId": NO_CACHING,
                    },
                }
            },
        ),
    }


def _function() -> dict[str, Resource]:
    """Its code is uploaded afterwards: it is larger than a template allows, and needs no bucket."""
    user = "arn:${AWS::Partition}:rds-db:${AWS::Region}:${AWS::AccountId}:dbuser:*/" + MASTER
    return {
        "FunctionRole": _role(
            "lambda.amazonaws.com",
            [_allow("rds-db:connect", Resource={"Fn::Sub": user})],
            managed="service-role/AWSLambdaVPCAccessExecutionRole",
        ),
        "FunctionLog": _resource("Logs::LogGroup", {"RetentionInDays": 1}),
        "Function": _resource(
            "Lambda::Function",
            {
                "Description": "Carmen proof",
                "Runtime": "python3.14",
                "Architectures": ["arm64"],
                "Handler": "account_proof.handler.handler",
                "Code": {"ZipFile": "# replaced by `./carmen account check --prove`"},
                "Role": _attribute("FunctionRole", "Arn"),
                "MemorySize": 1769,
                "Timeout": 600,
                "LoggingConfig": {"LogGroup": {"Ref": "FunctionLog"}},
                "VpcConfig": {"SubnetIds": SUBNETS, "SecurityGroupIds": GROUPS},
            },
        ),
    }


def _tasks(settings: Settings) -> dict[str, Resource]:
    """The cluster, and a role with the policy of the release role that people and pipelines use."""
    account = {"AWS": {"Fn::Sub": "arn:${AWS::Partition}:iam::${AWS::AccountId}:root"}}
    return {
        "Cluster": _resource("ECS::Cluster", {}),
        "ReleaseRole": _resource(
            "IAM::Role",
            {
                "AssumeRolePolicyDocument": _policy(_allow("sts:AssumeRole", Principal=account)),
                "Policies": [{"PolicyName": "release", "PolicyDocument": release_policy(settings)}],
            },
        ),
    }


def release_policy(settings: Settings) -> Resource:
    """The policy of the release role (constructs_lib/pipelines/roles.py) for an environment called `proof`."""
    import aws_cdk as cdk

    from constructs_lib.pipelines.oidc_trust import GITHUB, Platform
    from constructs_lib.pipelines.roles import PipelineWriters
    from settings.sections import Pipeline

    stack = cdk.Stack(cdk.App(), NAME)
    pipeline = Pipeline(repository="a/b", application_repository="a/c", branch="main", protected_environment="proof")
    environment = settings.model_copy(update={"name": ENVIRONMENT, "account": None, "pipeline": pipeline})
    platform = Platform(stack, "Platform", host=GITHUB, exists=True)
    role = PipelineWriters(stack, "Writers", settings=environment, pipeline=pipeline, platform=platform).release
    assert role
    (policy,) = [child for child in role.node.find_all() if isinstance(child, cdk.aws_iam.Policy)]
    return dict(stack.resolve(policy.document.to_json()))


def _alerts() -> dict[str, Resource]:
    """A topic with the key and the policies of constructs_lib/alerting/topics.py, a budget that is exceeded at once, and an idle metric."""
    budgets = {"Service": "budgets.amazonaws.com"}
    own = {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}
    root = {"AWS": {"Fn::Sub": "arn:${AWS::Partition}:iam::${AWS::AccountId}:root"}}
    topic = {"Service": "sns.amazonaws.com"}
    source = {"ArnLike": {"aws:SourceArn": {"Fn::Sub": "arn:${AWS::Partition}:budgets::${AWS::AccountId}:*"}}}
    from_topic = {"ArnEquals": {"aws:SourceArn": {"Ref": "Topic"}}}
    return {
        "Key": _resource(
            "KMS::Key",
            {
                "Description": "Carmen proof",
                "PendingWindowInDays": 7,
                "KeyPolicy": _policy(
                    _allow("kms:*", Principal=root, Resource="*"),
                    _allow("kms:Decrypt", "kms:GenerateDataKey", Principal=budgets, Resource="*", Condition=own),
                ),
            },
        ),
        "Topic": _resource("SNS::Topic", {"DisplayName": "Carmen proof", "KmsMasterKeyId": _attribute("Key", "Arn")}),
        "TopicPolicy": _resource(
            "SNS::TopicPolicy",
            {
                "Topics": [{"Ref": "Topic"}],
                "PolicyDocument": _policy(_allow("sns:Publish", Principal=budgets, Resource={"Ref": "Topic"}, Condition=own | source)),
            },
        ),
        "Queue": _resource("SQS::Queue", {"MessageRetentionPeriod": 86_400}),
        "QueuePolicy": _resource(
            "SQS::QueuePolicy",
            {
                "Queues": [{"Ref": "Queue"}],
                "PolicyDocument": _policy(
                    _allow("sqs:SendMessage", Principal=topic, Resource=_attribute("Queue", "Arn"), Condition=from_topic)
                ),
            },
        ),
        "Subscription": _resource(
            "SNS::Subscription", {"TopicArn": {"Ref": "Topic"}, "Protocol": "sqs", "Endpoint": _attribute("Queue", "Arn")}
        ),
        "Budget": _resource(
            "Budgets::Budget",
            {
                "Budget": {"BudgetType": "COST", "TimeUnit": "MONTHLY", "BudgetLimit": {"Amount": 0.01, "Unit": "USD"}},
                "NotificationsWithSubscribers": [
                    {
                        "Notification": {
                            "NotificationType": "ACTUAL",
                            "ComparisonOperator": "GREATER_THAN",
                            "Threshold": 1,
                            "ThresholdType": "PERCENTAGE",
                        },
                        "Subscribers": [{"SubscriptionType": "SNS", "Address": {"Ref": "Topic"}}],
                    }
                ],
            },
            depends_on="TopicPolicy",
        ),
        "IdleAlarm": _resource(
            "CloudWatch::Alarm",
            {
                "AlarmDescription": "Carmen proof: OK if FILL gives zeros for a metric without data",
                "ComparisonOperator": "GreaterThanThreshold",
                "Threshold": 0,
                "EvaluationPeriods": 1,
                "TreatMissingData": "missing",
                "Metrics": [
                    {
                        "Id": "idle",
                        "MetricStat": {
                            "Metric": {"Namespace": "CarmenProof", "MetricName": "NeverPublished"},
                            "Period": 60,
                            "Stat": "Sum",
                        },
                        "ReturnData": False,
                    },
                    {"Id": "filled", "Expression": "FILL(idle, 0)", "ReturnData": True},
                ],
            },
        ),
    }


# The function's code


def function_archive(major: str) -> bytes:
    """A zip of the proof's packages, the functions' libraries and a PostgreSQL server. Raises FailedError when `make install` is needed.

    Lambda accepts 50 MB in a request (AWS Lambda quotas).
    """
    from constructs_lib.compute.python_function import LIBRARIES, drill_server_archive

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as target:
        for package in ("account_proof", "common", "drill"):
            for path in sorted((ROOT / "lambda_src" / package).rglob("*")):
                if path.is_file() and path.suffix != ".pyc":
                    target.write(path, path.relative_to(ROOT / "lambda_src"))
        for archive, prefix in ((LIBRARIES, "python/"), (drill_server_archive(major), "")):
            if not archive.is_file():
                raise FailedError(f"{archive} does not exist. Run `make install`.")
            with zipfile.ZipFile(archive) as source:
                for entry in source.infolist():
                    copied = zipfile.ZipInfo(entry.filename.removeprefix(prefix), entry.date_time)
                    copied.external_attr, copied.compress_type = entry.external_attr, zipfile.ZIP_DEFLATED
                    target.writestr(copied, source.read(entry))
    return buffer.getvalue()


# The stack


@dataclass
class ProofStack:
    """The stack in the account of `session`. `outputs` are empty, and `failure` says why, when it was not created."""

    session: Any
    settings: Settings
    say: Say
    outputs: Mapping[str, str] = field(default_factory=dict)
    failure: str = ""

    def client(self, service: str, region: str = "", **arguments: Any) -> Any:
        """A client in the application's region, or in another one."""
        return self.session.client(service, region_name=region or self.settings.region, **arguments)

    def output(self, name: str) -> str:
        """Raises FailedError with the reason why the stack was not created."""
        if name not in self.outputs:
            raise FailedError(f"not answered, because the stack {NAME} was not created: {self.failure}")
        return self.outputs[name]

    def create(self) -> None:
        """Create the stack and upload the function's code. A resource that AWS refuses is the stack's `failure`, not an error."""
        self.client("cloudformation").create_stack(
            StackName=NAME,
            TemplateBody=json.dumps(template(self.settings), separators=(",", ":")),
            Capabilities=["CAPABILITY_IAM"],
            OnFailure="DO_NOTHING",
            Tags=[TAG],
        )
        stack = self._wait("CREATE_IN_PROGRESS", CREATE_SECONDS)
        if not stack or stack["StackStatus"] != "CREATE_COMPLETE":
            self.failure = self._reason("CREATE_FAILED") or "it disappeared"
            return
        self.outputs = {one["OutputKey"]: one["OutputValue"] for one in stack["Outputs"]}
        function = self.outputs["Function"]
        self.client("lambda").update_function_code(FunctionName=function, ZipFile=function_archive(self.settings.database.engine_major))
        self.client("lambda").get_waiter("function_updated_v2").wait(FunctionName=function)

    def remove(self) -> bool:
        """Remove the stack and what CloudFormation does not delete; returns whether there was anything. Safe to repeat.

        Raises RefusedError for a stack that another command created, FailedError with what blocks the deletion.
        """
        stack = self._describe()
        if stack and TAG not in stack.get("Tags", []):
            raise RefusedError(
                f"The stack {NAME} exists, and this command did not create it: it has no tag {TAG['Key']}. Nothing was changed."
            )
        found = self._remove_monitors() | self._remove_task_definitions()
        for attempt in range(ATTEMPTS if stack else 0):
            if attempt:
                self._remove_origin_group()
            self.client("cloudformation").delete_stack(StackName=NAME)
            self.say(f"removing {NAME}")
            stack_left = self._wait("DELETE_IN_PROGRESS", DELETE_SECONDS)
            if not stack_left:
                break
        else:
            if stack:
                raise FailedError(
                    f"{NAME} was not deleted: {self._reason('DELETE_FAILED') or 'the deletion continues in AWS'}. Remove what blocks it, "
                    "then run `./carmen account check --prove` again, which removes it first."
                )
        for group in LOG_GROUPS:
            with _ignoring("ResourceNotFoundException"):
                self.client("logs").delete_log_group(logGroupName=group)
        return found or bool(stack)

    def origin_groups(self, vpc: str) -> list[dict[str, Any]]:
        """The security groups that AWS creates for VPC origins in `vpc`."""
        filters = [{"Name": "group-name", "Values": [ORIGIN_GROUP]}, {"Name": "vpc-id", "Values": [vpc]}]
        return list(self.client("ec2").describe_security_groups(Filters=filters)["SecurityGroups"])

    def _remove_monitors(self) -> bool:
        """Anomaly monitors are global."""
        client = self.client("ce", EDGE_REGION)
        try:
            arns = [one["MonitorArn"] for one in client.get_anomaly_monitors()["AnomalyMonitors"] if one["MonitorName"] == MONITOR]
        except ClientError:
            return False  # an account without this permission could not create one either
        for arn in arns:
            client.delete_anomaly_monitor(MonitorArn=arn)
        return bool(arns)

    def _remove_task_definitions(self) -> bool:
        """A deregistered definition keeps its revision until it is deleted."""
        ecs, found = self.client("ecs"), []
        for status in ("ACTIVE", "INACTIVE"):
            found += ecs.list_task_definitions(familyPrefix=FAMILY, status=status)["taskDefinitionArns"]
        for arn in found:
            with _ignoring("ClientException"):  # it is inactive already
                ecs.deregister_task_definition(taskDefinition=arn)
        if found:
            ecs.delete_task_definitions(taskDefinitions=found[:10])
        return bool(found)

    def _remove_origin_group(self) -> None:
        """AWS creates this group for a VPC origin, and a group that remains keeps the VPC from being deleted."""
        for group in self.origin_groups(self._physical_id("Vpc")):
            with _ignoring("DependencyViolation"):
                self.client("ec2").delete_security_group(GroupId=group["GroupId"])

    def _physical_id(self, logical_id: str) -> str:
        found = self.client("cloudformation").describe_stack_resources(StackName=NAME, LogicalResourceId=logical_id)["StackResources"]
        return str(found[0].get("PhysicalResourceId", "")) if found else ""

    def _describe(self) -> dict[str, Any] | None:
        return find_stack(self.client("cloudformation"), NAME)

    def _wait(self, status: str, seconds: float) -> dict[str, Any] | None:
        """Wait while the stack has this status; says how many resources are done. None: the stack does not exist."""
        deadline, said = time.monotonic() + seconds, ""
        while (stack := self._describe()) and stack["StackStatus"] == status and time.monotonic() < deadline:
            resources = self.client("cloudformation").describe_stack_resources(StackName=NAME)["StackResources"]
            done = sum(one["ResourceStatus"].endswith("_COMPLETE") for one in resources)
            text = f"{NAME}: {status.lower().replace('_', ' ')}, {done} of {len(resources)} resources"
            if text != said:
                self.say(text)
            said = text
            time.sleep(POLL_SECONDS)
        return stack

    def _reason(self, status: str) -> str:
        """The first failure that is not a consequence of another one."""
        events = self.client("cloudformation").describe_stack_events(StackName=NAME)["StackEvents"]
        failed = [one for one in events if one["ResourceStatus"] == status and one["LogicalResourceId"] != NAME]
        return f"{failed[-1]['LogicalResourceId']}: {failed[-1].get('ResourceStatusReason', '')}" if failed else ""


@contextlib.contextmanager
def _ignoring(code: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] != code:
            raise


@contextlib.contextmanager
def proof_stack(session: Any, settings: Settings, say: Say) -> Iterator[ProofStack]:
    """The stack for the block; afterwards it is removed, however the block ends. First, the remains of an interrupted run are removed."""
    stack = ProofStack(session, settings, say)
    if stack.remove():
        say("removed what an interrupted run had left")
    try:
        say(f"creating {NAME}")
        stack.create()
        yield stack
    finally:
        stack.remove()
        say(f"{NAME} is removed")
