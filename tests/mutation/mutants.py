"""Measure how many faults in production's templates the tests detect without the snapshots.

    python -m tests.mutation.mutants [--class encryption] [--sample 300]

A mutant is one fault in a template: encryption off, a port open, a resource missing. The tests of templates run against each mutant until one
fails. Snapshots, external validators and the tests of the difference report do not take part. The last line is JSON.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from _pytest.runner import runtestprotocol

from tools.reports.synthesis import ROOT, Built

PREFIX = "CarmenProd"
FOLDERS = [folder for folder in ("tests/rules", "tests/stacks", "tests/models") if (ROOT / folder).is_dir()]
KEPT = ("built", "variant", "with_rules")
LEAST_KILLED_PERCENT = 90
GONE = object()
# Tests of templates that take no part: external validators, and differences between two templates.
EXCLUDED = ("test_validators", "test_second_opinion", "test_diff", "test_snapshots")

# Class → key of a property → its faulty values, everywhere in a template. GONE removes the key.
FLIPS: dict[str, dict[str, list[Any]]] = {
    "encryption": {
        "StorageEncrypted": [False, GONE],
        "KmsKeyId": [GONE],
        "PerformanceInsightsKMSKeyId": [GONE],
        "KMSMasterKeyID": [GONE],
        "AtRestEncryptionEnabled": [False],
        "BucketEncryption": [GONE],
        "SSEAlgorithm": ["none"],
        "SqsManagedSseEnabled": [False],
        "KmsMasterKeyId": [GONE],
        "EnableKeyRotation": [False],
    },
    "tls": {
        "RequireTLS": [False],
        "rds.force_ssl": ["0", GONE],
        "TransitEncryptionEnabled": [False],
        "AuthToken": [GONE, "a-password-in-plain"],
        "ViewerProtocolPolicy": ["allow-all"],
        "CACertificateIdentifier": [GONE],
    },
    "publicity": {
        "BlockPublicAcls": [False],
        "BlockPublicPolicy": [False],
        "IgnorePublicAcls": [False],
        "RestrictPublicBuckets": [False],
        "PublicAccessBlockConfiguration": [GONE],
        "Scheme": ["internet-facing"],
        "PubliclyAccessible": [True],
        "AssignPublicIp": ["ENABLED"],
        "MapPublicIpOnLaunch": [True],
    },
    "retention": {
        "RetentionInDays": [GONE, 1],
        "ExpirationInDays": [1, GONE],
        "NoncurrentVersionExpiration": [GONE],
        "AbortIncompleteMultipartUpload": [GONE],
        "LifecyclePolicy": [GONE],
        "MessageRetentionPeriod": [60],
    },
    "protection": {
        "DeletionProtection": [False, GONE],
        "ObjectLockConfiguration": [GONE],
        "ObjectLockEnabled": [False],
        "VersioningConfiguration": [GONE, {"Status": "Suspended"}],
        "ImageTagMutability": ["MUTABLE"],
        "ImageScanningConfiguration": [GONE],
        "LoggingConfiguration": [GONE],
        "ReadonlyRootFilesystem": [False],
        "User": ["0"],
        "Drop": [[]],
        "DeploymentCircuitBreaker": [GONE],
        "Rollback": [False],
        "DeadLetterConfig": [GONE],
        "RedactedFields": [[]],
        "EnableExecuteCommand": [True],
    },
    "backup": {
        "BackupRetentionPeriod": [0, 1],
        "MultiAZ": [False],
        "DeleteAutomatedBackups": [True],
        "CopyTagsToSnapshot": [False],
        "AutomaticFailoverEnabled": [False],
        "MultiAZEnabled": [False],
        "NumCacheClusters": [1],
        "EnableCloudwatchLogsExports": [[]],
        "EnablePerformanceInsights": [False],
        "PreferredBackupWindow": ["05:10-05:40"],
    },
    "alarms": {
        "AlarmActions": [GONE],
        "OKActions": [GONE],
        "ActionsEnabled": [False],
        "TreatMissingData": [GONE],
        "ComparisonOperator": ["LessThanThreshold"],
        "Dimensions": [[]],
        "AlarmNames": [[]],
        "AlarmRule": ["FALSE"],
        "ActionsSuppressor": [GONE],
        "ActionsSuppressorWaitPeriod": [0],
        "Expression": ["0"],
        "Stat": ["Minimum", "Maximum"],
        "AlarmDescription": [GONE],
    },
    "headers": {
        "ContentSecurityPolicy": [GONE],
        "ContentTypeOptions": [GONE],
        "FrameOptions": [GONE],
        "FrameOption": ["SAMEORIGIN"],
        "ReferrerPolicy": [GONE, {"Override": True, "ReferrerPolicy": "unsafe-url"}],
        "StrictTransportSecurity": [GONE],
        "AccessControlMaxAgeSec": [0],
        "IncludeSubdomains": [False],
        "Preload": [False],
        "XSSProtection": [GONE],
        "CustomHeadersConfig": [GONE],
        "ResponseHeadersPolicyId": [GONE],
    },
    "caching": {
        "CachePolicyId": ["658327ea-f89d-4fab-a63d-7e88639e58f6"],  # AWS's CachingOptimized
        "OriginRequestPolicyId": [GONE],
        "CookieBehavior": ["all"],
        "HeaderBehavior": ["none"],
        "QueryStringBehavior": ["none"],
        "MinTTL": [0],
        "MaxTTL": [10],
        "ErrorCachingMinTTL": [300],
        "FunctionAssociations": [GONE],
        "ResponsePagePath": [GONE],
        "OriginReadTimeout": [5],
        "HttpVersion": ["http1.1"],
        "Compress": [False],
    },
    "firewall": {"WebACLId": [GONE], "Limit": [2_000_000], "RuleActionOverrides": [GONE], "ScopeDownStatement": [GONE]},
}
STATEFUL = ("S3::Bucket", "RDS::DBInstance", "KMS::Key", "ECR::Repository", "SecretsManager::Secret", "ElastiCache::ReplicationGroup")
Resources = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Mutant:
    """One fault: `change` modifies the resources of `stack`."""

    kind: str
    stack: str
    description: str
    change: Callable[[Resources], object]


def mutants(built: Built) -> Iterator[Mutant]:
    """All mutants of production."""
    for stack, template in built.templates.items():
        if stack.startswith(PREFIX):
            for logical_id, resource in template["Resources"].items():
                yield from _flips(stack, logical_id, resource)
                yield from _policies(stack, logical_id, resource)
                yield from _ports(stack, logical_id, resource)
                yield from _special(stack, logical_id, resource)
                yield Mutant("existence", stack, f"{logical_id} gone", _without(logical_id))


def _flips(stack: str, logical_id: str, resource: dict[str, Any]) -> Iterator[Mutant]:
    for path, key, value in _leaves(resource.get("Properties", {}), ("Properties",)):
        for kind, keys in FLIPS.items():
            for new in keys.get(key, []):
                if new != value:
                    shown = "gone" if new is GONE else f"= {json.dumps(new)}"
                    yield Mutant(
                        kind, stack, f"{logical_id} {'.'.join(map(str, (*path, key)))} {shown}", _setting(logical_id, path, key, new)
                    )


def _policies(stack: str, logical_id: str, resource: dict[str, Any]) -> Iterator[Mutant]:
    for document in ("PolicyDocument", "AssumeRolePolicyDocument", "KeyPolicy"):
        body = resource.get("Properties", {}).get(document)
        for number, statement in enumerate(body["Statement"] if body else []):
            path: tuple[Any, ...] = ("Properties", document, "Statement", number)
            name = f"{logical_id} {document}[{number}]"
            if statement["Effect"] == "Deny":
                yield Mutant("tls" if "Secure" in str(statement) or "Tls" in str(statement) else "iam", stack, f"{name} allows instead of denying",
                             _setting(logical_id, path, "Effect", "Allow"))  # fmt: skip
                continue
            service = str(statement["Action"] if isinstance(statement["Action"], str) else statement["Action"][0]).split(":")[0]
            changes: dict[str, Any] = {"Action": f"{service}:*"}
            if document == "PolicyDocument" and statement.get("Resource") != "*":
                changes["Resource"] = "*"
            if "Principal" in statement:
                changes["Principal"] = "*"
            if "Condition" in statement:
                changes["Condition"] = GONE
            for key, new in changes.items():
                if statement.get(key) != new:
                    yield Mutant("iam", stack, f"{name}.{key} = {'gone' if new is GONE else new}", _setting(logical_id, path, key, new))


def _ports(stack: str, logical_id: str, resource: dict[str, Any]) -> Iterator[Mutant]:
    if resource["Type"] in ("AWS::EC2::SecurityGroupIngress", "AWS::EC2::SecurityGroupEgress"):
        other = "SourceSecurityGroupId" if resource["Type"].endswith("Ingress") else "DestinationSecurityGroupId"

        def open_to_all(found: Resources) -> None:
            found[logical_id]["Properties"].pop(other, None)
            found[logical_id]["Properties"]["CidrIp"] = "0.0.0.0/0"

        yield Mutant("ports", stack, f"{logical_id} open to all", open_to_all)
        for key, new in {"FromPort": 0, "ToPort": 65535, "IpProtocol": "-1"}.items():
            yield Mutant("ports", stack, f"{logical_id}.{key} = {new}", _setting(logical_id, ("Properties",), key, new))
    if resource["Type"] == "AWS::EC2::SecurityGroup":
        for key, new in {"SecurityGroupEgress": GONE, "SecurityGroupIngress": [{"CidrIp": "0.0.0.0/0", "IpProtocol": "-1"}]}.items():
            yield Mutant(
                "ports", stack, f"{logical_id}.{key} {'gone' if new is GONE else 'all'}", _setting(logical_id, ("Properties",), key, new)
            )


def _special(stack: str, logical_id: str, resource: dict[str, Any]) -> Iterator[Mutant]:
    """Faults outside properties, or of one resource type."""
    kind, properties = resource["Type"], resource.get("Properties", {})
    if kind.removeprefix("AWS::") in STATEFUL and "AlertsKey" not in logical_id:
        for policy in ("DeletionPolicy", "UpdateReplacePolicy"):
            yield Mutant("retention", stack, f"{logical_id} {policy} = Delete", _setting(logical_id, (), policy, "Delete"))
    if kind == "AWS::CloudWatch::Alarm":
        watched = {"MetricName": "NoSuchMetric"} if "MetricName" in properties else {}
        for key, new in {"Threshold": properties["Threshold"] * 100, "EvaluationPeriods": 100, **watched}.items():
            yield Mutant("alarms", stack, f"{logical_id} {key} = {new}", _setting(logical_id, ("Properties",), key, new))
    if kind == "AWS::WAFv2::WebACL":
        for number, one in enumerate(properties["Rules"]):
            path = ("Properties", "Rules", number)
            weak: dict[str, Any] = {"Action": {"Count": {}}} if "Action" in one else {"OverrideAction": {"Count": {}}}
            for key, new in weak.items():
                yield Mutant("firewall", stack, f"{one['Name']} only counts", _setting(logical_id, path, key, new))
            yield Mutant("firewall", stack, f"{one['Name']} gone", _without(logical_id, "Properties", "Rules", number))


def _leaves(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], Any, Any]]:
    """(path, key, value) of everything below, except policies."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        if key not in ("PolicyDocument", "AssumeRolePolicyDocument", "KeyPolicy"):
            yield path, key, inner
            yield from _leaves(inner, (*path, key))


def _setting(logical_id: str, path: tuple[Any, ...], key: str, new: Any) -> Callable[[Resources], object]:
    def change(found: Resources) -> None:
        place: Any = found[logical_id]
        for step in path:
            place = place[step]
        if new is GONE:
            place.pop(key, None)
        else:
            place[key] = new

    return change


def _without(*path: Any) -> Callable[[Resources], object]:
    def change(found: Resources) -> None:
        place: Any = found
        for step in path[:-1]:
            place = place[step]
        place.pop(path[-1])

    return change


class Hunt:
    """A pytest plugin that replaces the run: it gives every mutant to the tests of templates."""

    def __init__(self, kind: str = "", sample: int = 0, part: int = 0, parts: int = 1) -> None:
        self._kind, self._sample, self._part, self._parts = kind, sample, part, parts
        self._kept: dict[str, Any] = {}
        self._seconds: dict[pytest.Item, float] = {}
        self.killed: dict[str, int] = defaultdict(int)
        self.survivors: dict[str, list[str]] = defaultdict(list)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Generator[None, Any, Any]:
        """Keep the fixtures that take long: every test runs like the only one of its session."""
        name = fixturedef.argname
        if name == "built" and not _is_shared(fixturedef):
            return (yield)
        if name in self._kept:
            object.__setattr__(fixturedef, "func", lambda *_, **__: self._kept[name])  # final to type checkers
        result = yield
        if name in KEPT:
            self._kept[name] = result
        return result

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run without a fault, with each mutant, and once more without: a fault that remained would have failed all later tests."""
        items = [item for item in session.items if _sees_environments(item) and not any(name in item.nodeid for name in EXCLUDED)]
        self._expect_no_failure(items)
        kills: dict[tuple[str, pytest.Item], int] = defaultdict(int)
        for mutant in self._chosen()[self._part :: self._parts]:
            able = [item for item in items if "tests/models/edge" not in item.nodeid or "Edge" in mutant.stack]
            able.sort(key=lambda item: self._seconds[item] / (1 + kills[mutant.kind, item]))  # quick ones and earlier killers first
            killer = self._hunt(mutant, able)
            if killer:
                kills[mutant.kind, killer] += 1
                self.killed[mutant.kind] += 1
            else:
                self.survivors[mutant.kind].append(f"{mutant.stack}/{mutant.description}")
        self._expect_no_failure(list({killer for _, killer in kills}))
        return True

    def _chosen(self) -> list[Mutant]:
        """The mutants of this class, or a sample of them that is the same on every run."""
        found = [one for one in mutants(self._built) if self._kind in one.kind]
        return random.Random(1).sample(found, min(self._sample, len(found))) if self._sample else found

    def _expect_no_failure(self, items: list[pytest.Item]) -> None:
        if failing := [item.nodeid for item in items if self._fails(item)]:
            raise pytest.UsageError(f"These tests fail without a mutant: {', '.join(failing)}")

    def _hunt(self, mutant: Mutant, items: list[pytest.Item]) -> pytest.Item | None:
        """The test that fails on `mutant`, if one does."""
        template, file = self._built.templates[mutant.stack], self._built.assembly / f"{mutant.stack}.template.json"
        whole, text = copy.deepcopy(template), file.read_text(encoding="utf-8")
        try:
            mutant.change(template["Resources"])
            file.write_text(json.dumps(template), encoding="utf-8")
            return next((item for item in items if self._fails(item)), None)
        finally:
            template.clear()
            template.update(whole)
            file.write_text(text, encoding="utf-8")

    @property
    def _built(self) -> Built:
        built: Built = self._kept["built"]
        return built

    def _fails(self, item: pytest.Item) -> bool:
        kept = len(self._kept)
        reports = runtestprotocol(item, nextitem=None, log=False)
        again = len(self._kept) == kept  # a shared fixture is not part of the first test's time
        self._seconds[item] = sum(report.duration for report in reports if again or report.when == "call")
        return any(report.failed for report in reports)


def _is_shared(fixture: pytest.FixtureDef[Any]) -> bool:
    """Whether this `built` has the environments, and is not a small stack of a file."""
    return fixture.func.__module__ == "tests.conftest"


def _sees_environments(item: pytest.Item) -> bool:
    found = item._fixtureinfo.name2fixturedefs.get("built") if isinstance(item, pytest.Function) else None
    return found is not None and _is_shared(found[-1])


def hunt(kind: str, sample: int, part: int, parts: int) -> dict[str, Any]:
    """The result of one part of the mutants: class → killed, class → survivors."""
    plugin = Hunt(kind, sample, part, parts)
    quiet = ["-q", "-p", "no:xdist", "-p", "no:cacheprovider", "--no-header", "--disable-warnings"]
    status = pytest.main([*quiet, "-m", "not long", *FOLDERS], plugins=[plugin])
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        raise SystemExit(int(status))
    return {"killed": plugin.killed, "survivors": plugin.survivors}


def hunt_in_parallel(kind: str, sample: int) -> tuple[dict[str, int], dict[str, list[str]]]:
    """One process for each processor; each builds and modifies its own templates."""
    parts = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as name:
        results = [Path(name) / f"{part}.json" for part in range(parts)]
        command = [sys.executable, "-m", "tests.mutation.mutants", "--class", kind, "--sample", str(sample)]
        running = [
            subprocess.Popen([*command, "--part", str(part), str(parts), str(result)], cwd=ROOT) for part, result in enumerate(results)
        ]
        if failed := [one.returncode for one in running if one.wait()]:
            raise SystemExit(failed[0])
        found = [json.loads(result.read_text(encoding="utf-8")) for result in results]
    killed: dict[str, int] = defaultdict(int)
    survivors: dict[str, list[str]] = defaultdict(list)
    for one in found:
        for name, count in one["killed"].items():
            killed[name] += count
        for name, descriptions in one["survivors"].items():
            survivors[name] += descriptions
    return killed, survivors


def main(arguments: list[str]) -> int:
    """Print the score of each class and every survivor; return 1 when fewer than LEAST_KILLED_PERCENT are killed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--class", dest="kind", default="", help="only classes whose name contains this")
    parser.add_argument("--sample", type=int, default=0, help="only this many mutants, the same on every run")
    parser.add_argument("--part", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.part:
        part, parts, result = options.part
        Path(result).write_text(json.dumps(hunt(options.kind, options.sample, int(part), int(parts))), encoding="utf-8")
        return 0
    start = time.monotonic()
    killed, survivors = hunt_in_parallel(options.kind, options.sample)
    kinds = sorted({*killed, *survivors})
    print(f"\n{'Class':<14}{'Mutants':>9}{'Killed':>9}{'Percent':>9}")
    for kind in kinds:
        dead, alive = killed[kind], len(survivors[kind])
        print(f"{kind:<14}{dead + alive:>9}{dead:>9}{100 * dead / (dead + alive):>9.1f}")
    dead, alive = sum(killed.values()), sum(map(len, survivors.values()))
    print("\nSurvivors:" if alive else "\nNo survivors.")
    print("\n".join(f"  {kind}: {description}" for kind in kinds for description in survivors[kind]))
    percent = 100 * dead / (dead + alive)
    print(json.dumps({"mutants": dead + alive, "killed_percent": round(percent, 1), "seconds": round(time.monotonic() - start)}))
    return 0 if percent >= LEAST_KILLED_PERCENT else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
