"""Check the templates of all environments with external validators (`make judge`).

A finding is fixed, or acknowledged at its resource under its exact name with a reason (constructs_lib/foundation/acknowledgements.py).
Anything else fails, and so does an acknowledgement without a finding.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tarfile
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

import aws_cdk as cdk
import cfnlint.core

with warnings.catch_warnings(action="ignore"):  # of pkg_resources, which parliament imports
    import parliament
from cdk_nag import AwsSolutionsChecks, NIST80053R5Checks
from cdk_preflight import Preflight
from cloudformation_validate import CompositeEngine
from cloudsplaining.scan.policy_document import PolicyDocument
from detect_secrets import SecretsCollection
from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
from detect_secrets.settings import transient_settings

from settings.loader import environment_names, load
from stacks.pipeline_access import build_pipeline_access
from tools.reports.security.policies import ResolvedAssembly
from tools.reports.synthesis import ROOT, Built, build

ACKNOWLEDGED = "aws:cdk:acknowledged-rules"
NIST = "NIST.800.53.R5"
# Rules that are not applied to any resource, each with its reason. A rule without a finding must not be here.
NOT_APPLIED = {
    "cfn-lint W3005": "The CDK writes DependsOn in addition to GetAtt: redundant, but correct.",
    "cfn-lint W6001": "The CDK passes values between stacks through outputs with imports.",
    "cfn-lint W3691": "Templates name the major version of PostgreSQL only; RDS chooses the minor version (ADR 0023).",
    "cloudformation-validate W3005": "The CDK writes DependsOn in addition to GetAtt: redundant, but correct.",
    "cloudformation-validate W9013": "With `account` set, the CDK writes the account's number into the template.",
    **{
        f"{NIST}::{NIST}-{rule}": reason
        for rule, reason in {
            "ALBHttpToHttpsRedirection": "The load balancer is internal; CloudFront, its only client, redirects browsers to HTTPS.",
            "ALBWAFEnabled": "AWS WAF is in front of CloudFront, the only client of the load balancer.",
            "CloudWatchAlarmAction": "Parts of a composite alarm do not notify, the composite does; a test checks that each notifies once.",
            "CloudWatchLogGroupEncrypted": (
                "CloudWatch Logs encrypts every log group with its own key. A customer key would cost a key in each region, would have to "
                "exist before the first stack, and its loss would be the loss of all logs; functions keep secrets out of their logs."
            ),
            "DynamoDBInBackupPlan": "The table holds the states of alerts, which expire; without them, alerts are sent again.",
            "EC2InstanceNoPublicIp": "A NAT instance (dev) needs a public address; it accepts connections from the VPC only.",
            "EC2InstanceProfileAttached": "A NAT instance (dev) calls no AWS API and has therefore no role.",
            "EC2InstancesInVPC": "The rule reads SubnetId; the template names the subnet in NetworkInterfaces.",
            "EC2RestrictedCommonPorts": "The rule cannot read a port that is a reference; a test checks every security group rule.",
            "EC2RestrictedSSH": "The rule cannot read a port that is a reference; a test checks every security group rule.",
            "ELBv2ACMCertificateRequired": "With [domain] the listener uses TLS; without one, no certificate exists (ADR 0005).",
            "ElastiCacheRedisClusterAutomaticBackup": "All content of the cache can be recomputed; `cache.snapshot_days` adds snapshots.",
            "IAMNoInlinePolicy": "Each role has its own permissions, which no other role shares; its policy is deleted with it.",
            "LambdaConcurrency": "Reserved concurrency is taken from the account's quota, which is low in new accounts.",
            "LambdaDLQ": "Only functions without one are those that CloudFormation calls at deployment: it waits for their answer.",
            "LambdaInsideVPC": "Only functions that reach a data store are in the VPC; for others it would add traffic through NAT.",
            "RDSEnhancedMonitoringEnabled": (
                "CloudWatch's metrics each minute, Database Insights and the probe cover CPU, memory, disk and sessions. The operating "
                "system's process list, which it adds, costs about USD 2 a month and a role, and no alarm or runbook uses it."
            ),
            "RDSInBackupPlan": "Point-in-time recovery and daily dumps in a locked bucket; `database.aws_backup_days` adds AWS Backup.",
            "RDSInstanceDeletionProtectionEnabled": "The same as AwsSolutions-RDS10, which is acknowledged where it is off.",
            "RDSMultiAZSupport": "The same as AwsSolutions-RDS3, which is acknowledged where it is off.",
            "S3BucketReplicationEnabled": "`storage.backup_copy_region` copies backups to a second region; uploads are versioned.",
            "S3DefaultEncryptionKMS": "Public files, and access logs, which load balancers cannot write with a KMS key, use SSE-S3.",
            "SecretsManagerRotationEnabled": (
                "The same as AwsSolutions-SMG4, which is acknowledged at each secret that Secrets Manager does not rotate, with the reason "
                "of that secret."
            ),
            "SecretsManagerUsingKMSKey": "Secrets use AWS's key: a customer key would name readers of later stacks, which is a cycle.",
            "VPCDefaultSecurityGroupClosed": "CloudFormation cannot change the default group; every interface names another one.",
            "VPCNoUnrestrictedRouteToIGW": "The default route of public subnets, which contain the NAT gateways or instances only.",
        }.items()
    },
}
NEEDS_AN_ACCOUNT = {"cloudformation-validate W9013"}
# Findings of scanners that are not among the validators (checkov 3.3.30; AWS Config and Security Hub), with the resource type and the
# property that they miss, and the reason for accepting them. A test requires that some resource still misses the property.
OTHER_SCANNERS = {
    ("checkov CKV_AWS_136", "AWS::ECR::Repository", "EncryptionConfiguration"): (
        "ECR encrypts images with AES-256. A customer key adds a way to lose every image, and images contain no secrets."
    ),
    ("checkov CKV_AWS_27", "AWS::SQS::Queue", "KmsMasterKeyId"): (
        "SQS encrypts with its own key (SqsManagedSseEnabled). With a customer key, each service that sends failed events would need it; "
        "a missing permission would lose the message that reports a failure."
    ),
    ("checkov CKV_AWS_119", "AWS::DynamoDB::Table", "SSESpecification.KMSMasterKeyId"): (
        "The table is encrypted with AWS's KMS key for DynamoDB; it holds states of alerts, which expire."
    ),
    ("checkov CKV_AWS_173", "AWS::Lambda::Function", "KmsKeyArn"): (
        "Lambda encrypts variables with its own key; they hold names and numbers, and a test refuses secrets."
    ),
    ("checkov CKV_AWS_18", "AWS::S3::Bucket", "LoggingConfiguration"): "The access-log bucket: it would log its own logs without end.",
    ("ECS.5, ecs-containers-readonly-access: psql, redis", "AWS::ECS::TaskDefinition", "ReadonlyRootFilesystem"): (
        "ECS Exec's agent writes to the root file system (aws/containers-roadmap#1359). The task exists while an operator needs a shell."
    ),
    ("ECS.5, ecs-containers-readonly-access: migration", "AWS::ECS::TaskDefinition", "ReadonlyRootFilesystem"): (
        "Prisma's CLI writes into its working directory and its own package (prisma/orm#20768, #25020)."
    ),
    ("ECS.5, ecs-containers-readonly-access: backup, drill, release_files", "AWS::ECS::TaskDefinition", "ReadonlyRootFilesystem"): (
        "Work files are large, and a Fargate volume belongs to root where the image declares none, so that the task's user could not write "
        "(aws/containers-roadmap#863, #938)."
    ),
    ("Linux capabilities: psql, redis", "AWS::ECS::TaskDefinition", "LinuxParameters.Capabilities"): (
        "AWS does not document what ECS Exec's agent needs (aws/containers-roadmap#1360)."
    ),
}
# Harmless values that look random: 0.0.0.0, content hashes, names of exports, resources and constructs.
HARMLESS = (
    r"^(0\.0\.0\.0|192\.0\.2\.|198\.51\.100\.|203\.0\.113\.)",  # the last three are for documentation (RFC 5737)
    r"^[0-9a-f]{64}$",
    r"^[0-9a-f]{32}$",
    r"[0-9A-F]{8}(-us-east-1|/Resource|/Code)?$",
    r"^AWS::",
    r"^[A-Z][A-Za-z]+InitialValue$",
    r"[0-9A-F]{8}[0-9a-f]{32}$",
)
TEMPLATE = ".template.json"
# Tests and the local deployment contain invented passwords, addresses and request bodies; only patterns of real credentials count there.
MADE_UP = ("tests/", "local/")
GUESSES = ("Secret Keyword", "Basic Auth Credentials", "Public IP (ipv4)", "Base64 High Entropy String", "Hex High Entropy String")
LISTS_OF_HASHES = ("requirements.txt", "requirements-dev.txt", "tools/build/uv.txt", "package-lock.json")


@dataclass(frozen=True, order=True)
class Finding:
    """A finding. `name` is the name for acknowledging it, `where` the path of a construct or file."""

    name: str
    where: str
    text: str = ""

    def __str__(self) -> str:
        return f"{self.name} at {self.where}" + (f": {self.text}" if self.text else "")


@dataclass(frozen=True)
class Result:
    """The result of one validator: number of rules, findings, the acknowledged ones among them, and rules of NOT_APPLIED with findings."""

    validator: str
    rules: int
    findings: frozenset[Finding]
    acknowledged: frozenset[Finding]
    not_applied: frozenset[str]

    @property
    def open(self) -> list[Finding]:
        """Findings that are not acknowledged."""
        return sorted(self.findings - self.acknowledged)


def run_validators(built: Built, preflight_folder: Path) -> list[Result]:
    """Run all validators. The app is synthesized again into `preflight_folder` with cdk-preflight's rules."""
    known = acknowledgements(built)
    found = {
        "cfn-lint": (len(_cfn_lint_rules()), cfn_lint(template_files(built))),
        "cloudformation-validate": (len(_engine().list_rules()), cloudformation_validate(template_files(built))),
        "cdk-preflight": (len(Preflight.rule_ids()), preflight(preflight_folder)),
        "cdk-nag AwsSolutions": (nag_rules("aws-solutions"), nag(built)),
        "cdk-nag NIST 800-53": (nag_rules("nist-800-53-r5"), nist(built)),
        "parliament": (len(parliament.config), parliament_findings(built)),
        "cloudsplaining": (len(CLOUDSPLAINING), cloudsplaining_findings(built)),
        "detect-secrets": (len(get_mapping_from_secret_type_to_class()), secrets(repository_files() + template_files(built))),
    }
    return [_result(name, rules, findings, known) for name, (rules, findings) in found.items()]


def _result(name: str, rules: int, findings: list[Finding], known: dict[tuple[str, str], str]) -> Result:
    counted = frozenset(applied(findings))
    acknowledged = frozenset(one for one in counted if acknowledgement_of(one, known))
    return Result(name, rules, counted, acknowledged, frozenset(one.name for one in findings) & NOT_APPLIED.keys())


def applied(findings: Iterable[Finding]) -> list[Finding]:
    """The findings of rules that are applied."""
    return [finding for finding in findings if finding.name not in NOT_APPLIED]


def acknowledgements(built: Built) -> dict[tuple[str, str], str]:
    """(name of the finding, path of the construct) → reason, for the validators above."""
    return {
        (name, path): reason
        for constructs in built.metadata.values()
        for path, entries in constructs.items()
        for entry in entries
        if entry["type"] == ACKNOWLEDGED
        for name, reason in entry["data"].items()
        if name.split("::")[0] in ("AwsSolutions", "Parliament", "Cloudsplaining", NIST)
    }


def acknowledgement_of(finding: Finding, known: dict[tuple[str, str], str]) -> tuple[str, str] | None:
    """The acknowledgement of `finding`: with its exact name, on its construct or a parent."""
    steps = finding.where.split("/")
    paths = ("/".join(steps[:length]) for length in range(len(steps), 0, -1))
    return next(((finding.name, path) for path in paths if (finding.name, path) in known), None)


def open_findings(built: Built, findings: Iterable[Finding]) -> list[str]:
    """The findings of applied rules that are not acknowledged."""
    known = acknowledgements(built)
    return sorted({str(finding) for finding in applied(findings) if not acknowledgement_of(finding, known)})


def unused_acknowledgements(built: Built, findings: Iterable[Finding]) -> list[str]:
    """Acknowledgements without a finding: fixed since, or misspelt."""
    known = acknowledgements(built)
    used = {acknowledgement_of(finding, known) for finding in findings}
    return [f"{name} at {path}" for name, path in sorted(known) if (name, path) not in used]


def unused_rules(results: Iterable[Result]) -> list[str]:
    """Rules of NOT_APPLIED without a finding; those that need an account are not among them, since no environment here names one."""
    return sorted(NOT_APPLIED.keys() - NEEDS_AN_ACCOUNT - {name for result in results for name in result.not_applied})


def cfn_lint(templates: list[Path]) -> list[Finding]:
    """Errors and warnings of cfn-lint, those of rules that are not applied included."""
    if not templates:  # cfn-lint would read standard input
        return []
    command = [str(Path(sys.executable).with_name("cfn-lint")), "--format", "json", *map(str, templates)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    return [
        Finding(f"cfn-lint {one['Rule']['Id']}", f"{Path(one['Filename']).name}:{one['Location']['Start']['LineNumber']}", one["Message"])
        for one in json.loads(done.stdout or "[]")
    ]


def _cfn_lint_rules() -> list[str]:
    return [rule for rule in cfnlint.core.get_rules([], [], ["W", "E"], {}, False).rules if rule[0] in "EW"]


def cloudformation_validate(templates: list[Path]) -> list[Finding]:
    """Findings of the CDK's validation engine."""
    return [
        Finding(f"cloudformation-validate {one.rule_id}", path.name, one.message)
        for path in templates
        for one in _engine().validate_template(str(path)).diagnostics
        if one.severity.name != "INFO"
    ]


@cache  # it loads all of its rules
def _engine() -> CompositeEngine:
    return CompositeEngine()


def preflight(folder: Path, before: Callable[[cdk.App], object] = lambda app: None) -> list[Finding]:
    """Deployment failures that cdk-preflight predicts. Its rules run during a separate synthesis into `folder`."""

    def add_rules(app: cdk.App) -> None:
        before(app)
        Preflight.apply(app, strict=True)

    try:
        build([load(name) for name in environment_names()], folder, add_rules)
    except RuntimeError:  # findings; they are in the report
        report = json.loads((folder / "validation-report.json").read_text(encoding="utf-8"))
        return [
            Finding(f"cdk-preflight {violation['ruleName']}", construct["constructPath"], violation["description"])
            for plugin in report["pluginReports"]
            for violation in plugin["violations"]
            for construct in violation["violatingConstructs"]
        ]
    return []


def nag(built: Built) -> list[Finding]:
    """cdk-nag's AwsSolutions pack, warnings included."""
    report = AwsSolutionsChecks(built.app).validate_scope(built.app)
    return [
        Finding(f"AwsSolutions::{violation.rule_name}", resource.construct_path or "", violation.description)
        for violation in report.violations
        for resource in violation.violating_resources
    ]


def nist(built: Built) -> list[Finding]:
    """cdk-nag's pack for NIST 800-53 revision 5: general protections that the first pack does not ask for."""
    report = NIST80053R5Checks(built.app).validate_scope(built.app)
    return [
        Finding(f"{NIST}::{violation.rule_name}", resource.construct_path or "", violation.description)
        for violation in report.violations
        for resource in violation.violating_resources
    ]


def parliament_findings(built: Built) -> list[Finding]:
    """parliament on every policy of every role and on permissions boundaries: syntax, unknown actions and conditions, wildcards."""
    return [
        *(Finding(name, path, title) for path, document in _policies(built) for name, title in _parliament(document)),
        *(Finding(_of_boundary(name), path, title) for path, document in _boundaries(built) for name, title in _parliament(document)),
    ]


def _of_boundary(name: str) -> str:
    """Omit the detail of a mismatch: for a whole service, it lists every action that has no resource of the statement."""
    return name.partition("[")[0] if name.startswith("Parliament::RESOURCE_MISMATCH[") else name


@cache  # most policies of generated environments are equal
def _parliament(document: str) -> list[tuple[str, str]]:
    found = parliament.analyze_policy_string(document).findings
    return [(f"Parliament::{one.issue}[{_listed(one.detail)}]", parliament.enhance_finding(one).title) for one in found]


CLOUDSPLAINING = {
    "PrivilegeEscalation": "allows_privilege_escalation",
    "ResourceExposure": "permissions_management_without_constraints",
    "CredentialsExposure": "credentials_exposure",
    "DataExfiltration": "allows_data_exfiltration_actions",
    "InfrastructureModification": "infrastructure_modification",
    "ServiceWildcard": "service_wildcard",
}


def cloudsplaining_findings(built: Built) -> list[Finding]:
    """cloudsplaining on every policy of every role and on permissions boundaries, all risks.

    A boundary grants nothing and names whole services, so that its findings are those of services, not of single actions.
    """
    return [
        *(Finding(f"Cloudsplaining::{risk}[{what}]", path) for path, document in _policies(built) for risk, what in _risks(document)),
        *(
            Finding(f"Cloudsplaining::{risk}[{service}]", path)
            for path, document in _boundaries(built)
            for risk, service in sorted({(risk, what.partition(":")[0]) for risk, what in _risks(document)})
        ),
    ]


def _risks(document: str) -> Iterator[tuple[str, str]]:
    """(risk, action or kind of escalation) of a policy."""
    policy = PolicyDocument(json.loads(document))
    for risk, attribute in CLOUDSPLAINING.items():
        for action in getattr(policy, attribute):
            yield risk, action if isinstance(action, str) else action["type"]


def _policies(built: Built) -> Iterator[tuple[str, str]]:
    """(path of the construct, policy as text) of all policies of roles."""
    for role in ResolvedAssembly(built.assembly).roles():
        for name, document in role.policies.items():
            yield built.paths["/".join(name.split("/")[:2])], json.dumps(document)


def _boundaries(built: Built) -> Iterator[tuple[str, str]]:
    """(path of the construct, policy as text) of all managed policies that no role has: permissions boundaries."""
    assembly = ResolvedAssembly(built.assembly)
    attached = {name for role in assembly.roles() for name in role.policies}
    for stack, logical_id, policy in assembly.resources("AWS::IAM::ManagedPolicy"):
        if (name := f"{stack}/{logical_id}") not in attached:
            yield built.paths[name], json.dumps(policy["Properties"]["PolicyDocument"])


def _listed(detail: object) -> str:
    """A text without spaces, as the CDK writes an acknowledgement's name."""
    return (", ".join(map(str, detail)) if isinstance(detail, list) else str(detail)).replace(" ", "-")


def secrets(files: list[Path]) -> list[Finding]:
    """detect-secrets with all plugins. `pragma: allowlist secret (reason)` on a line accepts its findings.

    A line that several templates have is scanned in the first of them.
    """
    everything = [{"name": plugin.__name__} for plugin in get_mapping_from_secret_type_to_class().values()]
    patterns = {"path": "detect_secrets.filters.regex.should_exclude_secret", "pattern": list(HARMLESS)}
    found = SecretsCollection()
    lines = _distinct_lines(file for file in files if file.name.endswith(TEMPLATE))
    with tempfile.NamedTemporaryFile("w", suffix=TEMPLATE) as templates:
        templates.writelines(f"{line}\n" for line in lines)
        templates.flush()
        with transient_settings({"plugins_used": everything, "filters_used": [patterns, *_FILTERS]}):
            for name in [templates.name, *(str(file) for file in files if not file.name.endswith(TEMPLATE))]:
                found.scan_file(name)
    places = list(lines.values())
    return [
        Finding(
            f"detect-secrets {secret.type}",
            places[secret.line_number - 1] if file == templates.name else f"{_shown(file)}:{secret.line_number}",
        )
        for file, secret in found
        if secret.type not in GUESSES or not _shown(file).startswith(MADE_UP)
    ]


def _distinct_lines(templates: Iterable[Path]) -> dict[str, str]:
    """Each line → the first template and number that has it. Environments have most lines in common."""
    lines: dict[str, str] = {}
    for template in templates:
        for number, line in enumerate(template.read_text(encoding="utf-8").splitlines(), 1):
            lines.setdefault(line, f"{_shown(str(template))}:{number}")
    return lines


_FILTERS = [
    {"path": f"detect_secrets.filters.{name}"}
    for name in ("allowlist.is_line_allowlisted", "heuristic.is_sequential_string", "heuristic.is_potential_uuid",
                 "heuristic.is_templated_secret", "heuristic.is_prefixed_with_dollar_sign", "heuristic.is_indirect_reference")
]  # fmt: skip


def repository_files() -> list[Path]:
    """All files under version control except lists of hashes, and snapshots: the templates themselves are scanned."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listed.stdout.splitlines() if _is_scanned(name)]


def _is_scanned(name: str) -> bool:
    return name not in LISTS_OF_HASHES and "__snapshots__" not in name and (ROOT / name).is_file()


def template_files(built: Built) -> list[Path]:
    """The templates."""
    return sorted(built.assembly.glob(f"*{TEMPLATE}"))


def _shown(file: str) -> str:
    path = Path(file)
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name


def nag_rules(pack: str) -> int:
    """Number of rules in a pack, counted in its source inside the jsii package."""
    (archive,) = resources.files("cdk_nag._jsii").glob("*.jsii.tgz")  # type: ignore[attr-defined]
    with tarfile.open(archive) as package:
        source = package.extractfile(f"package/lib/packs/{pack}.js")
        assert source
        return len(re.findall(r"\brule: ", source.read().decode()))


def table(found: list[Result]) -> list[str]:
    """The results as a table."""
    rows = [("Validator", "Rules", "Findings", "Acknowledged", "Open")]
    rows += [(one.validator, str(one.rules), str(len(one.findings)), str(len(one.acknowledged)), str(len(one.open))) for one in found]
    return [f"{row[0]:<26}" + "".join(f"{cell:>14}" for cell in row[1:]) for row in rows]


def main() -> int:
    """Print the results and all open findings. Return 1 for open findings and unused acknowledgements."""
    with tempfile.TemporaryDirectory() as folder:
        environments = [load(name) for name in environment_names()]
        built = build(environments, Path(folder) / "cdk.out", lambda app: build_pipeline_access(app, environments))
        found = run_validators(built, Path(folder) / "preflight")
        unused = unused_acknowledgements(built, {finding for result in found for finding in result.findings})
    print("\n".join(table(found)))
    failures = [str(finding) for result in found for finding in result.open]
    failures += [f"Remove this acknowledgement, it has no finding: {name}" for name in (*unused, *unused_rules(found))]
    print("\n" + "\n".join(failures or ["No open findings."]))
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
