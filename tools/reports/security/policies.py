"""All roles and policies of the synthesized templates, with references resolved to the future ARNs.

Policy validators and the least-privilege tests need documents without intrinsic functions. Names that AWS generates at deployment
become `<stack>-<logical id>`, the account is ACCOUNT. All stacks of an assembly are in this one account, so that tests can ask what
one environment may do to another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.reports.assembly import Assembly

ACCOUNT = "123456789012"
Document = dict[str, Any]

# The value of `Fn::GetAtt … Arn`, or of `Ref` for the types below; `{id}` is the physical name.
ARNS = {
    "AWS::CloudFront::Distribution": "arn:aws:cloudfront::{account}:distribution/{id}",
    "AWS::Backup::BackupVault": "arn:aws:backup:{region}:{account}:backup-vault:{id}",
    "AWS::CloudWatch::Alarm": "arn:aws:cloudwatch:{region}:{account}:alarm:{id}",
    "AWS::DynamoDB::Table": "arn:aws:dynamodb:{region}:{account}:table/{id}",
    "AWS::EC2::SecurityGroup": "arn:aws:ec2:{region}:{account}:security-group/{id}",
    "AWS::EC2::VPC": "arn:aws:ec2:{region}:{account}:vpc/{id}",
    "AWS::ECR::Repository": "arn:aws:ecr:{region}:{account}:repository/{id}",
    "AWS::ECS::Cluster": "arn:aws:ecs:{region}:{account}:cluster/{id}",
    "AWS::ECS::Service": "arn:aws:ecs:{region}:{account}:service/cluster/{id}",
    "AWS::ECS::TaskDefinition": "arn:aws:ecs:{region}:{account}:task-definition/{id}:1",
    "AWS::ElastiCache::ReplicationGroup": "arn:aws:elasticache:{region}:{account}:replicationgroup:{id}",
    "AWS::IAM::ManagedPolicy": "arn:aws:iam::{account}:policy/{id}",
    "AWS::IAM::OIDCProvider": "arn:aws:iam::{account}:oidc-provider/{id}",
    "AWS::IAM::Role": "arn:aws:iam::{account}:role{path}{id}",
    "AWS::KMS::Key": "arn:aws:kms:{region}:{account}:key/{id}",
    "AWS::Lambda::Function": "arn:aws:lambda:{region}:{account}:function:{id}",
    "AWS::Logs::LogGroup": "arn:aws:logs:{region}:{account}:log-group:{id}:*",
    "AWS::RDS::DBInstance": "arn:aws:rds:{region}:{account}:db:{id}",
    "AWS::S3::Bucket": "arn:aws:s3:::{id}",
    "AWS::SNS::Topic": "arn:aws:sns:{region}:{account}:{id}",
    "AWS::SQS::Queue": "arn:aws:sqs:{region}:{account}:{id}",
    "AWS::SecretsManager::Secret": "arn:aws:secretsmanager:{region}:{account}:secret:{id}-AbCdEf",  # pragma: allowlist secret (a form)
    "AWS::WAFv2::WebACL": "arn:aws:wafv2:{region}:{account}:global/webacl/{id}/1",
}
REF_IS_ARN = {
    "AWS::ECS::Service",
    "AWS::ECS::TaskDefinition",
    "AWS::IAM::ManagedPolicy",
    "AWS::IAM::OIDCProvider",
    "AWS::SNS::Topic",
    "AWS::SecretsManager::Secret",
    "AWS::SecretsManager::SecretTargetAttachment",
}
LOWER_CASE = ("AWS::ECR::Repository", "AWS::RDS::DBInstance", "AWS::S3::Bucket")  # their names are in lower case
# Resource types with a policy: the property with the policy, and the property with the protected resource.
RESOURCE_POLICIES = {
    "AWS::ECR::Repository": ("RepositoryPolicyText", None),
    "AWS::KMS::Key": ("KeyPolicy", None),
    "AWS::S3::BucketPolicy": ("PolicyDocument", "Bucket"),
    "AWS::SNS::TopicPolicy": ("PolicyDocument", "Topics"),
    "AWS::SQS::QueuePolicy": ("PolicyDocument", "Queues"),
    "AWS::SecretsManager::ResourcePolicy": ("ResourcePolicy", "SecretId"),
}


@dataclass(frozen=True)
class Role:
    """A role with all its policies."""

    stack: str
    logical_id: str
    arn: str
    trust: Document
    policies: Mapping[str, Document] = field(default_factory=dict)
    boundary: str | None = None

    @property
    def name(self) -> str:
        """`Stack/LogicalId`, as tests and acknowledgements name resources."""
        return f"{self.stack}/{self.logical_id}"


class ResolvedAssembly:
    """The templates of an assembly, with references resolved."""

    def __init__(self, source: Path | Assembly) -> None:
        assembly = source if isinstance(source, Assembly) else Assembly(source)
        self.templates: dict[str, Document] = {name: stack.template for name, stack in assembly.stacks.items()}
        self._regions = {name: stack.place.rsplit("/", 1)[1] for name, stack in assembly.stacks.items()}
        self._exports = assembly.exports

    def resources(self, kind: str) -> Iterator[tuple[str, str, Document]]:
        """(stack, logical id, resource with its properties resolved) of a type."""
        for stack, template in self.templates.items():
            for logical_id, resource in template["Resources"].items():
                if resource["Type"] == kind:
                    yield stack, logical_id, {**resource, "Properties": self.resolve(stack, resource.get("Properties", {}))}

    def roles(self) -> list[Role]:
        """All roles with their inline and attached policies. ValueError for anything else that could grant a permission."""
        self._refuse_other_iam_resources()
        attached: dict[str, dict[str, Document]] = {}
        managed: dict[str, tuple[str, Document]] = {}
        for kind in ("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy"):
            for stack, logical_id, policy in self.resources(kind):
                name, document = f"{stack}/{logical_id}", policy["Properties"]["PolicyDocument"]
                if kind == "AWS::IAM::ManagedPolicy":
                    managed[self._arn(stack, logical_id, kind)] = name, document
                for role in policy["Properties"].get("Roles", []):
                    attached.setdefault(role, {})[name] = document
        roles = []
        for stack, logical_id, role in self.resources("AWS::IAM::Role"):
            properties = role["Properties"]
            inline = {f"{stack}/{logical_id}/{one['PolicyName']}": one["PolicyDocument"] for one in properties.get("Policies", [])}
            arns = properties.get("ManagedPolicyArns", [])
            if foreign := [arn for arn in arns if arn not in managed]:
                raise ValueError(
                    f"{stack}/{logical_id} uses {', '.join(foreign)}: AWS-managed policies name no resource; "
                    "write a policy with the needed permissions"
                )
            policies = {**inline, **dict(managed[arn] for arn in arns), **attached.get(self._name(stack, logical_id), {})}
            arn = self._arn(stack, logical_id, "AWS::IAM::Role")
            boundary = properties.get("PermissionsBoundary")
            roles.append(Role(stack, logical_id, arn, properties["AssumeRolePolicyDocument"], policies, boundary))
        return roles

    def _refuse_other_iam_resources(self) -> None:
        known = {"AWS::IAM::Role", "AWS::IAM::Policy", "AWS::IAM::ManagedPolicy", "AWS::IAM::OIDCProvider"}  # the last grants nothing
        for stack, template in self.templates.items():
            for logical_id, resource in template["Resources"].items():
                unread = {"Users", "Groups"} & set(resource.get("Properties", {}))
                if resource["Type"].startswith("AWS::IAM::") and (resource["Type"] not in known or unread):
                    raise ValueError(
                        f"{stack}/{logical_id} is {resource['Type']} {' '.join(unread)}: {__name__} supports policies of roles only"
                    )

    def resource_policies(self) -> dict[str, Document]:
        """ARN of the protected resource → its policy: buckets, keys, queues, topics, secrets, repositories, functions."""
        found: dict[str, Document] = {}
        for kind, (document, guarded) in RESOURCE_POLICIES.items():
            for stack, logical_id, resource in self.resources(kind):
                properties = resource["Properties"]
                if document not in properties:
                    continue
                names = [self._arn(stack, logical_id, kind)] if guarded is None else properties[guarded]
                for name in names if isinstance(names, list) else [names]:
                    found[self._guarded_arn(stack, kind, name)] = properties[document]
        for _, _, permission in self.resources("AWS::Lambda::Permission"):
            statement = _as_statement(permission["Properties"])
            found.setdefault(statement["Resource"], {"Statement": []})["Statement"].append(statement)
        return found

    def arn(self, stack: str, logical_id: str) -> str:
        """The future ARN of a resource."""
        return self._arn(stack, logical_id, self.templates[stack]["Resources"][logical_id]["Type"])

    def resolve(self, stack: str, value: Any) -> Any:
        """Replace every intrinsic function by its future value. Conditions count as false (an image is released)."""
        if isinstance(value, list):
            return [item for item in (self.resolve(stack, one) for one in value) if item is not None]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((function, argument),) = value.items()
            if function == "Ref" or function.startswith("Fn::"):
                return self._intrinsic(stack, function, argument)
        resolved = {key: self.resolve(stack, one) for key, one in value.items()}
        return {key: one for key, one in resolved.items() if one is not None}

    def _intrinsic(self, stack: str, function: str, argument: Any) -> Any:
        match function:
            case "Ref":
                return self._ref(stack, argument)
            case "Fn::GetAtt":
                return self._attribute(stack, *(argument if isinstance(argument, list) else argument.split(".", 1)))
            case "Fn::Join":
                return argument[0].join(str(part) for part in self.resolve(stack, argument[1]))
            case "Fn::Sub":
                return self._substitute(stack, argument)
            case "Fn::ImportValue":
                return self._export(self.resolve(stack, argument))
            case "Fn::GetStackOutput":
                return self.resolve(
                    argument["StackName"], self.templates[argument["StackName"]]["Outputs"][argument["OutputName"]]["Value"]
                )
            case "Fn::If":
                return self.resolve(stack, argument[2])
            case "Fn::Select":
                return self.resolve(stack, argument[1])[int(argument[0])]
            case "Fn::Split":
                return self.resolve(stack, argument[1]).split(argument[0])
        raise ValueError(f"{stack}: {function} is not supported; add it to {__name__}")

    def _ref(self, stack: str, name: str) -> Any:
        region = self._regions[stack]
        pseudo = {"AWS::Partition": "aws", "AWS::AccountId": ACCOUNT, "AWS::Region": region, "AWS::URLSuffix": "amazonaws.com"}
        pseudo |= {"AWS::StackName": stack, "AWS::StackId": f"arn:aws:cloudformation:{region}:{ACCOUNT}:stack/{stack}/1"}
        if name == "AWS::NoValue":
            return None
        if name in pseudo:
            return pseudo[name]
        template = self.templates[stack]
        if name in template.get("Parameters", {}):
            return template["Parameters"][name].get("Default", name)
        resource = template["Resources"][name]
        if resource["Type"] == "AWS::SecretsManager::SecretTargetAttachment":
            return self.resolve(stack, resource["Properties"]["SecretId"])
        return self._arn(stack, name, resource["Type"]) if resource["Type"] in REF_IS_ARN else self._name(stack, name)

    def _attribute(self, stack: str, name: str, attribute: str) -> str:
        kind = self.templates[stack]["Resources"][name]["Type"]
        return (
            self._arn(stack, name, kind)
            if attribute in ("Arn", f"{kind.rsplit('::')[-1]}Arn")
            else f"{self._name(stack, name)}.{attribute}"
        )

    def _export(self, name: str) -> Any:
        stack, value = self._exports[name]
        return self.resolve(stack.name, value)

    def _substitute(self, stack: str, argument: Any) -> str:
        text, values = argument if isinstance(argument, list) else (argument, {})
        for name in {part.split("}")[0] for part in text.split("${")[1:]}:
            value = self.resolve(stack, values[name]) if name in values else self._reference(stack, name)
            text = text.replace(f"${{{name}}}", str(value))
        return str(text)

    def _reference(self, stack: str, name: str) -> Any:
        return self._attribute(stack, *name.split(".", 1)) if "." in name else self._ref(stack, name)

    def _name(self, stack: str, logical_id: str) -> str:
        resource = self.templates[stack]["Resources"][logical_id]
        properties = resource.get("Properties", {})
        if resource["Type"] == "AWS::IAM::OIDCProvider":
            return str(properties["Url"]).removeprefix("https://")
        name = str(properties.get("RoleName", f"{stack}-{logical_id}"))
        return name.lower() if resource["Type"] in LOWER_CASE else name

    def _arn(self, stack: str, logical_id: str, kind: str) -> str:
        if kind not in ARNS:
            raise ValueError(f"{stack}/{logical_id}: the ARN format of {kind} is unknown; add it to {__name__}.ARNS")
        path = self.templates[stack]["Resources"][logical_id].get("Properties", {}).get("Path", "/") if kind == "AWS::IAM::Role" else "/"
        return ARNS[kind].format(region=self._regions[stack], account=ACCOUNT, path=path, id=self._name(stack, logical_id))

    def _guarded_arn(self, stack: str, kind: str, name: str) -> str:
        """Bucket and queue policies refer to a name, the others to an ARN."""
        guarded = {"AWS::S3::BucketPolicy": "AWS::S3::Bucket", "AWS::SQS::QueuePolicy": "AWS::SQS::Queue"}.get(kind)
        return ARNS[guarded].format(region=self._regions[stack], account=ACCOUNT, id=name) if guarded else name


def _as_statement(permission: Document) -> Document:
    """A Lambda permission as a statement of the function's policy."""
    principal = permission["Principal"]
    conditions: Document = {}
    if "SourceAccount" in permission:
        conditions["StringEquals"] = {"aws:SourceAccount": permission["SourceAccount"]}
    if "SourceArn" in permission:
        conditions["ArnLike"] = {"aws:SourceArn": permission["SourceArn"]}
    if unknown := set(permission) - {"Action", "FunctionName", "Principal", "SourceAccount", "SourceArn"}:
        raise ValueError(f"{', '.join(sorted(unknown))} of AWS::Lambda::Permission is not supported; add it to {__name__}")
    return {
        "Effect": "Allow",
        "Principal": {"Service" if principal.endswith(".amazonaws.com") else "AWS": principal},
        "Action": permission["Action"],
        "Resource": permission["FunctionName"],
        "Condition": conditions,
    }
