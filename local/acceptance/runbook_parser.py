"""Parse the commands of a runbook: their words as a shell passes them, and `aws …` as boto3 would call it.

bash runs a page without any program in PATH, so that each command only records its words; the shell does quoting, variables and
substitutions. The AWS CLI is not installed: its commands are parsed with botocore's service models, which it is built from.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import botocore.session
import jmespath
from botocore import xform_name
from botocore.exceptions import UnknownServiceError
from botocore.model import OperationModel, Shape
from botocore.validate import ParamValidator

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "runbooks"
# Each command writes its words to a file named after the time and its process, and prints a mark that stands for its output.
_RECORD = """
command_not_found_handle() {
    printf '%s\\0' "$@" > "$RECORDED/$EPOCHREALTIME-$BASHPID"
    printf "output=%s" "$BASHPID"
}
"""
_PROGRAMS = r"aws|make|\./carmen|psql|curl|dig|openssl|pg_restore|redis-cli|git|eval"
MARK = re.compile(r"output=\d+")
PLACEHOLDER = re.compile(r"(?<![\w$-])[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*(?![\w-])")
_SQL = {
    "SELECT", "FROM", "WHERE", "AND", "ORDER", "BY", "DESC", "LIMIT", "GROUP", "AS", "IN", "IS", "NOT", "NULL", "LIKE", "VACUUM", "FREEZE",
    "VERBOSE", "CREATE", "SCHEMA", "TABLE", "INCLUDING", "TO", "STDOUT", "STDIN", "PREPARED",
}  # fmt: skip
# Words in capitals that are literals, not placeholders.
_LITERAL = {"ERROR", "OOM", "BLOCK", "SERVICE", "GET", "CAA", "INFO", "SLOWLOG"}
_ANY = {"--query", "--output", "--region", "--profile", "--cli-binary-format"}  # options of every command, with a value
# Commands that the AWS CLI adds to the services' operations → their options.
_CLI_COMMANDS: dict[tuple[str, str], set[str]] = {
    ("s3", "ls"): {"--recursive"},
    ("s3", "cp"): {"--recursive"},
    ("logs", "tail"): {"--since", "--filter-pattern", "--follow"},
    ("sso", "login"): set(),
}


class RunbookError(Exception):
    """A command that would fail, and why."""


@dataclass(frozen=True)
class Command:
    """One command: its words, and the mark that stands for its output."""

    words: tuple[str, ...]
    mark: str

    def __str__(self) -> str:
        return " ".join(self.words)


@dataclass(frozen=True)
class Page:
    """A page in Markdown."""

    path: Path

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def _parts(self) -> tuple[list[str], str]:
        """Blocks of commands (indented by four or more, or fenced as `sh`), and the prose around them."""
        without = re.sub(r"^ *```(?!sh\n)\w+\n.*?^ *```$", "", self.text, flags=re.MULTILINE | re.DOTALL)
        fenced = re.findall(r"^```sh\n(.*?)^```$", without, flags=re.MULTILINE | re.DOTALL)
        without = re.sub(r"^```sh\n.*?^```$", "", without, flags=re.MULTILINE | re.DOTALL)
        indented = re.compile(r"(?:(?<=\n\n)|\A)(?: {4,}\S.*\n)+", re.MULTILINE)
        return [*(textwrap.dedent(block) for block in indented.findall(without)), *fenced], indented.sub("", without)

    @property
    def blocks(self) -> list[str]:
        """The blocks, and each command inside a sentence, as a shell gets them."""
        spans = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", self.prose)]
        return [*self._parts[0], *(f"{span}\n" for span in spans if re.match(rf"({_PROGRAMS}) ", span))]

    @property
    def prose(self) -> str:
        """The text outside blocks."""
        return self._parts[1]

    def commands(self, variables: Mapping[str, str]) -> list[Command]:
        """All commands in order, as a shell with these variables passes them; raise RunbookError when bash refuses them."""
        with tempfile.TemporaryDirectory() as recorded, tempfile.TemporaryDirectory() as elsewhere:
            script = f"set -u\n{_RECORD}\n{''.join(self.blocks)}".replace("./carmen ", "carmen ")  # a path would not be recorded
            environment = {**variables, "RECORDED": recorded, "PATH": os.devnull}
            done = subprocess.run(
                ["/bin/bash", "--noprofile", "--norc", "-c", script],
                cwd=elsewhere,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.stderr or done.returncode not in (0, 127):
                raise RunbookError(f"{self.path.name}: {done.stderr or done.returncode}")
            return [
                Command(tuple(path.read_text(encoding="utf-8").split("\0")[:-1]), f"output={path.name.rpartition('-')[2]}")
                for path in sorted(Path(recorded).iterdir())
            ]


def pages() -> list[Page]:
    """All runbooks."""
    return [Page(path) for path in sorted(FOLDER.glob("*.md"))]


# AWS


@dataclass(frozen=True)
class AwsCall:
    """`aws service operation …`: the parameters for boto3, and the query on the answer."""

    service: str
    operation: str  # as the CLI spells it
    parameters: dict[str, Any] = field(default_factory=dict)
    query: str = ""
    region: str | None = None
    model: OperationModel | None = None  # None for commands that the CLI adds

    @property
    def reads(self) -> bool:
        """Whether the operation only reads."""
        return self.operation.startswith(("describe-", "list-", "get-")) or (self.service, self.operation) in (
            ("s3", "ls"),
            ("logs", "tail"),
        )


@cache
def _session() -> botocore.session.Session:
    return botocore.session.get_session()


@cache
def _service(name: str) -> Any:
    try:
        return _session().get_service_model({"s3api": "s3"}.get(name, name))
    except UnknownServiceError:
        raise RunbookError(f"aws {name}: no such service") from None


def aws_call(words: Sequence[str]) -> AwsCall:
    """Parse the words of an `aws` command; raise RunbookError for an unknown option, value or field."""
    _, service, name, *rest = words
    if (service, name) in _CLI_COMMANDS:
        return _cli_command(service, name, rest)
    model = _service(service)
    if name == "wait":
        return _waiter(service, model, rest)
    operation = next((model.operation_model(each) for each in model.operation_names if xform_name(each, "-") == name), None)
    if operation is None:
        raise RunbookError(f"aws {service} {name}: the service has no such operation")
    given, general = _options(operation, rest)
    query = _check_query(general.get("--query", ""), operation)
    report = ParamValidator().validate(given, operation.input_shape or Shape("none", {"type": "structure"}))
    if report.has_errors():
        raise RunbookError(f"aws {service} {name}: {report.generate_report()}")
    return AwsCall(service, name, given, query, general.get("--region"), operation)


def _cli_command(service: str, name: str, rest: list[str]) -> AwsCall:
    options: dict[str, Any] = {"words": []}
    words = iter(rest)
    for word in words:
        if not word.startswith("--"):
            options["words"].append(word)
        elif word not in _CLI_COMMANDS[service, name] | _ANY:
            raise RunbookError(f"aws {service} {name} {word}: no such option")
        else:
            options[word] = True if word in ("--recursive", "--follow") else next(words)
    return AwsCall(service, name, options, region=options.get("--region"))


def _waiter(service: str, model: Any, rest: list[str]) -> AwsCall:
    waiters = _session().get_waiter_model({"s3api": "s3"}.get(service, service))
    found = {xform_name(each, "-"): each for each in waiters.waiter_names}
    if rest[0] not in found:
        raise RunbookError(f"aws {service} wait {rest[0]}: allowed: {', '.join(sorted(found))}")
    operation = model.operation_model(waiters.get_waiter(found[rest[0]]).operation)
    return AwsCall(service, f"wait {rest[0]}", _options(operation, rest[1:])[0], model=operation)


def _options(operation: OperationModel, words: list[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """The options of the operation, and those of the CLI itself."""
    members: Mapping[str, Shape] = operation.input_shape.members if operation.input_shape else {}
    known = {f"--{xform_name(name, '-')}": name for name in members}
    given: dict[str, Any] = {}
    general: dict[str, str] = {}
    rest = list(words)
    while rest:
        option, values = rest.pop(0), []
        while rest and not rest[0].startswith("--"):
            values.append(rest.pop(0))
        if operation.has_streaming_output and len(values) == 2:
            general["file"] = values.pop()  # the output file follows the last option's value
        negated = f"--{option.removeprefix('--no-')}"
        if option in _ANY and len(values) == 1:
            general[option] = values[0]
        elif option in known:
            given[known[option]] = _value(members[known[option]], values, f"{operation.name} {option}")
        elif option.startswith("--no-") and negated in known and members[known[negated]].type_name == "boolean" and not values:
            given[known[negated]] = False
        else:
            raise RunbookError(f"{operation.name} {option} {' '.join(values)}: no such option, or it takes one value")
    return given, general


def _value(shape: Shape, values: list[str], where: str) -> Any:
    """The value of an option's words."""
    if shape.type_name == "boolean":
        if values:
            raise RunbookError(f"{where} {values[0]}: it is given without a value")
        return True
    if not values:
        raise RunbookError(f"{where}: a value is missing")
    if shape.type_name == "list":
        if len(values) == 1 and values[0].startswith("["):
            return _fit(shape, _json(values[0], where), where)
        return [
            _fit(shape.member, _shorthand(value, where) if shape.member.type_name in ("structure", "map") else value, where)
            for value in values
        ]
    if len(values) > 1:
        raise RunbookError(f"{where} {' '.join(values)}: it takes one value")
    if shape.type_name in ("structure", "map"):
        return _fit(shape, values[0] if values[0].startswith("file://") else _shorthand(values[0], where), where)
    return _fit(shape, values[0], where)


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise RunbookError(f"{where} {text}: no JSON ({error})") from None


def _fit(shape: Shape, value: Any, where: str) -> Any:
    """Convert a value to the API's form: text becomes a number, a list of one, or a member of a structure."""
    kind = shape.type_name
    if isinstance(value, str) and value.startswith("file://"):
        return _sample(shape)
    if kind == "list":
        return [_fit(shape.member, item, where) for item in (value if isinstance(value, list) else [value])]
    if kind == "structure" and isinstance(value, dict):
        if unknown := set(value) - set(shape.members):
            raise RunbookError(f"{where}: {', '.join(sorted(unknown))} is not one of {', '.join(shape.members)}")
        return {name: _fit(shape.members[name], item, where) for name, item in value.items()}
    if kind == "map" and isinstance(value, dict):
        return {name: _fit(shape.value, item, where) for name, item in value.items()}
    if kind in ("integer", "long", "float", "double"):
        return 1 if MARK.search(str(value)) or PLACEHOLDER.search(str(value)) else _number(value, where)
    if kind == "boolean":
        return str(value).lower() == "true"
    if kind == "string" and shape.enum and value not in shape.enum and not MARK.search(value):
        raise RunbookError(f"{where} {value}: allowed: {', '.join(shape.enum)}")
    if kind == "string" and (PLACEHOLDER.search(value) or MARK.search(value)):
        return value.ljust(shape.metadata.get("min", 0), ".")  # padded to the minimum length
    return value


def _number(value: Any, where: str) -> int | float:
    try:
        return float(value) if "." in str(value) else int(value)
    except ValueError:
        raise RunbookError(f"{where} {value}: expected a number") from None


def _sample(shape: Shape) -> Any:
    """A sample value of the shape, for the content of a file."""
    if shape.type_name == "structure":
        return {name: _sample(shape.members[name]) for name in shape.required_members}
    return [_sample(shape.member)] if shape.type_name == "list" else shape.enum[0] if getattr(shape, "enum", None) else "text"


def _shorthand(text: str, where: str) -> Any:
    """Parse the CLI's shorthand `a=b,c=[d,e],f={g=h}`, or JSON."""
    if text[:1] in "[{":
        return _json(text, where)
    tokens = [token for token in re.findall(r"[\[\]{}=,]|'[^']*'|\"[^\"]*\"|[^\[\]{}=,]+", text) if token]
    found = _pairs(tokens, where)
    if tokens:
        raise RunbookError(f"{where} {text}: not understood from {''.join(tokens)} on")
    return found


def _pairs(tokens: list[str], where: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    name = ""
    while tokens and tokens[0] not in "]}":
        word = _scalar(tokens, where)
        if tokens[:1] == ["="]:
            tokens.pop(0)
            name, found[word] = word, _nested(tokens, where)
        elif name:  # a further value of the same name
            found[name] = [*(found[name] if isinstance(found[name], list) else [found[name]]), word]
        else:
            raise RunbookError(f"{where} {word}: expected name=value")
        if tokens[:1] == [","]:
            tokens.pop(0)
    return found


def _nested(tokens: list[str], where: str) -> Any:
    if tokens[:1] == ["["]:
        tokens.pop(0)
        items = []
        while tokens and tokens[0] != "]":
            items.append(_nested(tokens, where))
            if tokens[:1] == [","]:
                tokens.pop(0)
        _expect(tokens, "]", where)
        return items
    if tokens[:1] == ["{"]:
        tokens.pop(0)
        found = _pairs(tokens, where)
        _expect(tokens, "}", where)
        return found
    return _scalar(tokens, where)


def _scalar(tokens: list[str], where: str) -> str:
    if not tokens or tokens[0] in "[]{}=,":
        raise RunbookError(f"{where}: a value is missing before {''.join(tokens) or 'its end'}")
    return tokens.pop(0).strip("'\"")


def _expect(tokens: list[str], wanted: str, where: str) -> None:
    if tokens[:1] != [wanted]:
        raise RunbookError(f"{where}: {wanted} is missing")
    tokens.pop(0)


def _check_query(query: str, operation: OperationModel) -> str:
    """Check that the answer has the fields of a JMESPath expression."""
    if not query:
        return query
    try:
        tree = jmespath.compile(query).parsed
    except jmespath.exceptions.JMESPathError as error:
        raise RunbookError(f"{operation.name} --query: {error}") from None
    known = _members(operation.output_shape, set())
    if unknown := {name for name in _field_names(tree) if name not in known}:
        raise RunbookError(f"{operation.name} --query: the answer has no {', '.join(sorted(unknown))}")
    return query


def _field_names(tree: dict[str, Any]) -> Iterator[str]:
    if tree["type"] == "field":
        yield tree["value"]
    for child in tree.get("children", []):
        if isinstance(child, dict) and "type" in child:
            yield from _field_names(child)


def _members(shape: Shape | None, seen: set[str]) -> set[str]:
    """The names of all members of an operation's answer, at any depth."""
    if shape is None or shape.name in seen:
        return set()
    seen.add(shape.name)
    if shape.type_name == "structure":
        return set(shape.members).union(*(_members(member, seen) for member in shape.members.values()))
    if shape.type_name == "list":
        return _members(shape.member, seen)
    return _members(shape.value, seen) | set(shape.key.enum) if shape.type_name == "map" else set()


# Placeholders


def placeholders(command: Command) -> set[str]:
    """Words in capitals that the reader has to replace."""
    program, *words = command.words
    if program == "aws":
        words = [word for before, word in zip(["", *words], words, strict=False) if before != "--query"]
        words = [word for word in words if not _is_api_literal(command, word)]
    known = _LITERAL | (_SQL if program in ("psql", "pg_restore") else set())
    return {found for word in words for found in PLACEHOLDER.findall(word) if found not in known and len(found) > 1}


def _is_api_literal(command: Command, word: str) -> bool:
    """Whether the API requires this literal: another word would be refused."""
    changed = PLACEHOLDER.sub("no-such-value-in-any-service", word)
    if changed == word:
        return False
    try:
        aws_call([changed if each == word else each for each in command.words])
    except RunbookError:
        return True
    return False
