"""Look up every deployed resource through its service's API and compare it with its template.

    python -m local.acceptance.inventory CarmenProd CarmenProdNetwork ...     (AWS_ENDPOINT_URL names the emulator)

A resource is *created* (its describe call returns it with the properties of the template), *recorded* (only the
stack knows it), *missing*, *differs* (property, expected, found) or *unchecked* (`resource_checks` has no entry for its type).
"""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jmespath
from botocore.exceptions import ClientError

from local.acceptance.resource_checks import CHECKS, Check, Look, Resource, client
from local.emulator.handlers import RECORDED


@dataclass(frozen=True)
class Finding:
    resource: Resource
    state: str  # created, recorded, missing, differs
    detail: str = ""


# Resolving the template


@dataclass(frozen=True)
class Naming:
    """A value of which only the resource is known (Fn::GetAtt); an ARN or id must contain its name."""

    physical_id: str
    attribute: str


ANYTHING = object()


def exports() -> dict[str, str]:
    pages = client("cloudformation").get_paginator("list_exports").paginate()
    return {export["Name"]: export["Value"] for page in pages for export in page["Exports"]}


def resources(stack: str, exported: Mapping[str, str]) -> Iterator[Resource]:
    """The resources of a stack with their properties, as far as they can be resolved."""
    cloudformation = client("cloudformation")
    described = cloudformation.describe_stacks(StackName=stack)["Stacks"][0]
    template = cloudformation.get_template(StackName=stack)["TemplateBody"]
    if isinstance(template, str):
        template = json.loads(template)
    pages = cloudformation.get_paginator("list_stack_resources").paginate(StackName=stack)
    found = {entry["LogicalResourceId"]: entry for page in pages for entry in page["StackResourceSummaries"]}
    account, region = described["StackId"].split(":")[4], described["StackId"].split(":")[3]
    # A custom resource's attributes are its function's answer and do not contain its id.
    values: dict[str, Any] = {
        name: entry["PhysicalResourceId"] for name, entry in found.items() if not entry["ResourceType"].startswith("Custom::")
    }
    values |= {p["ParameterKey"]: p.get("ResolvedValue", p.get("ParameterValue")) for p in described.get("Parameters", [])}
    values |= {
        "AWS::AccountId": account,
        "AWS::Region": region,
        "AWS::Partition": "aws",
        "AWS::URLSuffix": "amazonaws.com",
        "AWS::StackName": stack,
        "AWS::StackId": described["StackId"],
    }
    for name, entry in found.items():
        declared = template["Resources"][name].get("Properties", {})
        properties = resolve(declared, values, exported, template.get("Conditions", {}))
        yield Resource(stack, name, entry["ResourceType"], entry["PhysicalResourceId"], properties)


def resolve(value: Any, values: Mapping[str, Any], exported: Mapping[str, str], conditions: Mapping[str, Any]) -> Any:
    """Resolve CloudFormation's functions; values that only AWS knows become `Naming` or `ANYTHING`."""

    def again(item: Any) -> Any:
        return resolve(item, values, exported, conditions)

    if isinstance(value, str):
        return ANYTHING if "{{resolve:" in value else value
    if isinstance(value, list):
        return [item for item in map(again, value) if item is not None]
    if not isinstance(value, dict):
        return value
    if len(value) != 1 or not (next(iter(value)).startswith("Fn::") or "Ref" in value):
        return {key: item for key, item in ((key, again(item)) for key, item in value.items()) if item is not None}
    function, argument = next(iter(value.items()))
    if function == "Ref":
        return None if argument == "AWS::NoValue" else values.get(argument, ANYTHING)
    if function == "Fn::GetAtt":
        name, attribute = argument if isinstance(argument, list) else argument.split(".", 1)
        return Naming(values[name], attribute) if name in values else ANYTHING
    if function == "Fn::ImportValue":
        return exported.get(again(argument), ANYTHING)
    if function == "Fn::If":
        left, right = (again(side) for side in conditions[argument[0]]["Fn::Equals"])
        return again(argument[1] if left == right else argument[2])
    if function == "Fn::Join":
        parts = again(argument[1])
        if isinstance(parts, list) and all(isinstance(part, str) for part in parts):
            return argument[0].join(parts)
        return ANYTHING
    if function == "Fn::Select":
        items = again(argument[1])
        return items[int(argument[0])] if isinstance(items, list) else ANYTHING
    if function == "Fn::Split":
        text = again(argument[1])
        return text.split(argument[0]) if isinstance(text, str) else ANYTHING
    return ANYTHING


# Comparing


def agrees(expected: Any, actual: Any, exactly: bool = False) -> bool:
    """Whether a description contains what the template says, ignoring the spelling of names and scalars."""
    if expected is ANYTHING or expected is None:
        return True
    if isinstance(actual, bytes):
        actual = actual.decode()  # blobs, such as the search strings of WAF rules
    if isinstance(actual, str) and isinstance(expected, dict | list) and actual[:1] in "{[":
        actual = json.loads(actual)  # policies are returned as text
    if isinstance(expected, str) and isinstance(actual, dict | list) and expected[:1] in "{[":
        expected = json.loads(expected)
    if isinstance(expected, Naming):
        if expected.attribute not in ("Arn", "Id", "GroupId", "TopicArn"):
            return True
        stem = expected.physical_id.split("|")[0].rsplit("/", 1)[-1]  # from a queue's URL or a web ACL's name|id|scope
        return any(stem in str(text) for text in (actual if isinstance(actual, list) else [actual]))
    if isinstance(expected, dict) and isinstance(actual, dict):
        lowered = {key.lower(): item for key, item in actual.items()}
        return all(agrees(item, lowered.get(key.lower()), exactly) for key, item in expected.items())
    if isinstance(expected, list) or isinstance(actual, list):
        left = expected if isinstance(expected, list) else [expected]
        right = actual if isinstance(actual, list) else [] if actual is None else [actual]
        if exactly and len(left) != len(right):
            return False
        return all(any(agrees(item, other, exactly) for other in right) for item in left)
    if isinstance(expected, bool) or isinstance(actual, bool):
        return str(expected).lower() == str(actual or False).lower()
    try:
        return float(expected) == float(actual)
    except (TypeError, ValueError):
        return str(expected).rstrip(".") == str(actual).rstrip(".")


def look_up(check: Check, look: Look, resource: Resource, arguments: dict[str, Any]) -> Any:
    """The answer of a further call about the resource."""
    method, _, name = look.method.partition(":")
    arguments = {**({name: resource.id} if name else arguments), **look.more}
    api = client(check.service)
    try:
        answer = (
            api.get_paginator(method).paginate(**arguments).build_full_result()
            if api.can_paginate(method)
            else getattr(api, method)(**arguments)
        )
    except ClientError as error:
        return {"Error": error.response["Error"]["Code"]}
    return jmespath.search(look.path, answer)


def check_resource(resource: Resource) -> Finding:
    """The state of one resource."""
    if resource.type in RECORDED:
        return Finding(resource, "recorded")
    check = CHECKS.get(resource.type)
    if check is None:
        return Finding(resource, "created" if resource.type.startswith("Custom::") else "unchecked", "checked by its function")
    try:
        arguments = concrete(check.arguments(resource))
        answer = getattr(client(check.service), check.method)(**arguments)
    except ClientError as error:
        return Finding(resource, "missing", error.response["Error"]["Code"])
    described = jmespath.search(check.path, answer)
    if not described:
        return Finding(resource, "missing", f"{check.method} does not return it")
    if isinstance(described, str):
        described = json.loads(described)
    differences = []
    for name, place in check.compare.items():
        expected = jmespath.search(name.removeprefix("="), resource.properties, OPTIONS)
        if expected is None:
            continue
        actual = look_up(check, place, resource, arguments) if isinstance(place, Look) else jmespath.search(place, described, OPTIONS)
        if not agrees(expected, actual, exactly=name.startswith("=")):
            differences.append(f"{name}: expected {shown(expected)}, got {shown(actual)}")
    return Finding(resource, "differs", "; ".join(differences)) if differences else Finding(resource, "created")


def concrete(value: Any) -> Any:
    """The arguments of a call, with physical ids instead of Fn::GetAtt."""
    if isinstance(value, Naming):
        return value.physical_id
    if isinstance(value, list):
        return [concrete(item) for item in value]
    if isinstance(value, dict):
        return {key: concrete(item) for key, item in value.items()}
    return value


class Functions(jmespath.functions.Functions):  # type: ignore[misc]  # jmespath has no types
    """Add to JMESPath: `pairs`, an object as a list of names and values; `major`, the first number of a version."""

    @jmespath.functions.signature({"types": ["object", "null"]})  # type: ignore[untyped-decorator]  # jmespath has no types
    def _func_pairs(self, values: dict[str, Any] | None) -> list[dict[str, Any]]:
        return [{"name": name, "value": value} for name, value in (values or {}).items()]

    @jmespath.functions.signature({"types": ["string"]})  # type: ignore[untyped-decorator]  # jmespath has no types
    def _func_major(self, version: str) -> str:
        return version.split(".")[0]


OPTIONS = jmespath.Options(custom_functions=Functions())


def shown(value: Any) -> str:
    return json.dumps(value, default=lambda item: getattr(item, "physical_id", "…"))[:600]


def report(stacks: list[str]) -> list[Finding]:
    exported = exports()
    return [
        check_resource(resource)
        for stack in stacks
        for resource in resources(stack, exported)
        if resource.type != "AWS::CDK::Metadata"  # lists the constructs used; creates nothing
    ]


def table(findings: list[Finding]) -> str:
    """One line per type, then one per resource that differs from its template."""
    states = ("created", "recorded", "missing", "differs", "unchecked")
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for finding in findings:
        counts[finding.resource.type][finding.state] += 1
    width = max(len(name) for name in counts)
    lines = [f"{'type':<{width}}  count" + "".join(f"{state:>10}" for state in states)]
    for name in sorted(counts):
        cells = "".join(f"{counts[name][state] or '':>10}" for state in states)
        lines.append(f"{name:<{width}}  {counts[name].total():>5}{cells}")
    total = Counter(finding.state for finding in findings)
    lines.append(f"{f'{len(counts)} types':<{width}}  {len(findings):>5}" + "".join(f"{total[state]:>10}" for state in states))
    lines += [
        f"not returned by the emulator: {name} {', '.join(CHECKS[name].not_returned)}"
        for name in sorted(counts)
        if name in CHECKS and CHECKS[name].not_returned
    ]
    lines += [
        f"{finding.state}: {finding.resource.stack}/{finding.resource.logical_id} ({finding.resource.type}) {finding.detail}"
        for finding in findings
        if finding.state in ("missing", "differs", "unchecked")
    ]
    return "\n".join(lines)


def main() -> int:
    findings = report(sys.argv[1:])
    print(table(findings))
    return int(any(finding.state not in ("created", "recorded") for finding in findings))


if __name__ == "__main__":
    sys.exit(main())
