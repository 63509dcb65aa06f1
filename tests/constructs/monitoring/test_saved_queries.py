"""Saved queries: their language, their fields (docs/logging.md), and log texts, which lambda_src must really write."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable
from functools import cache

import pytest
from aws_cdk import aws_logs as logs

from constructs_lib.monitoring import saved_queries
from constructs_lib.monitoring.saved_queries import SavedQueries, SavedQuery
from tests.conftest import ROOT
from tests.constructs.conftest import stack, template

KIND = "AWS::Logs::QueryDefinition"
PAGE = (ROOT / "docs" / "logging.md").read_text(encoding="utf-8")
# CloudWatch Logs User Guide, "Logs Insights QL": those that are used here.
COMMANDS = {"fields", "filter", "stats", "sort", "limit"}
WORDS = {"as", "by", "in", "and", "or", "not", "like", "asc", "desc"}
FUNCTIONS = {"coalesce", "ispresent", "count", "count_distinct", "pct", "max", "latest"}
# WAF Developer Guide, "Log fields"; Lambda's JSON log format with Powertools' keys.
WAF = {"action", "terminatingRuleId", "labels.0.name"} | {
    f"httpRequest.{name}" for name in ("clientIp", "country", "uri", "httpMethod", "requestId")
}
LAMBDA = {"level", "service", "message", "errorMessage", "record.status", "function_request_id"}
# Values that Lambda and Powertools write themselves (Lambda Developer Guide, "Lambda function logs").
OF_LAMBDA = {"ERROR", "CRITICAL", "error", "failure", "timeout", "Task timed out", "Exception"}
# Variable of `./carmen names` → the package whose function or task writes there.
PACKAGE_OF_LOG = {
    **{f"{name.upper()}_LOG": name for name in ("backup", "drill", "maintenance", "rotation", "probe", "uptime", "notifier")},
    **{f"{name.upper()}_TASK_LOG": name for name in ("backup", "drill")},
    "LOG_GROUP": "*",
}
FILTERED = [
    (page.stem, group, pattern)
    for page in sorted((ROOT / "docs" / "runbooks").glob("*.md"))
    for group, pattern in re.findall(
        r"aws logs (?:tail|filter-log-events)[^\n`]*?\"?\$?([A-Z_]+)\"?[^\n`]*?--filter-pattern '([^']+)'", page.read_text(encoding="utf-8")
    )
    if group in PACKAGE_OF_LOG
]
QUERIES = [
    *((query, "Application") for query in saved_queries.APPLICATION),
    *((query, "Firewall") for query in saved_queries.FIREWALL),
    *((query, "Functions") for query in saved_queries.FUNCTIONS),
]


def _promised() -> set[str]:
    """The fields in the first column of the page's table."""
    return {name for row in re.findall(r"^\| (`.*?`\)?) \|", PAGE, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}


def _fields(query: SavedQuery) -> set[str]:
    """Return the fields in its steps: names other than keywords, functions, literals and aliases."""
    text = re.sub(r'"[^"]*"|/[^/]*/', "", " | ".join(query.steps))
    given = set(re.findall(r" as (\w+)", text))
    return set(re.findall(r"@?[a-zA-Z_][\w.]*", text)) - COMMANDS - WORDS - FUNCTIONS - given - {"@timestamp", "@message"}


def test_queries_are_saved_beside_their_logs() -> None:
    small = stack()
    group = logs.LogGroup(small, "LogGroup")
    SavedQueries(small, "Queries", environment="CarmenProd", folder="Functions", log_groups=[group], queries=saved_queries.FUNCTIONS)
    built = template(small)
    (log_group,) = built.resources("AWS::Logs::LogGroup")
    found = {one["Properties"]["Name"]: one["Properties"] for one in built.resources(KIND).values()}
    assert sorted(found) == sorted(f"CarmenProd/Functions/{query.name}" for query in saved_queries.FUNCTIONS)
    for query in saved_queries.FUNCTIONS:
        properties = found[f"CarmenProd/Functions/{query.name}"]
        assert properties["LogGroupNames"] == [{"Ref": log_group.removeprefix("/")}]
        assert properties["QueryString"] == "\n| ".join(query.steps)
        parameters = {one["Name"]: one["Description"] for one in properties.get("Parameters", [])}
        assert parameters == dict(query.parameters)


@pytest.mark.parametrize(("query", "folder"), QUERIES, ids=lambda value: getattr(value, "name", value))
def test_query_uses_known_commands_functions_and_fields(query: SavedQuery, folder: str) -> None:
    text = " | ".join(query.steps)
    assert {step.split()[0] for step in query.steps} <= COMMANDS
    assert set(re.findall(r"(\w+)\(", re.sub(r'"[^"]*"|/[^/]*/', "", text))) <= FUNCTIONS
    assert set(re.findall(r"\{\{(\w+)\}\}", text)) == query.parameters.keys()
    written = {name.split(".")[0] for name in _fields(query)} if folder == "Application" else _fields(query)
    assert written <= {"Application": _promised(), "Firewall": WAF, "Functions": LAMBDA}[folder]


def test_page_names_each_query_and_its_example_has_all_fields() -> None:
    for query, folder in QUERIES:
        assert re.search(rf"{folder}: [^|]*{re.escape(query.name)}", PAGE), query.name
    (line,) = re.findall(r"^    (\{.*\})$", PAGE, re.MULTILINE)
    example = json.loads(line)
    assert set(example) - {"time"} == _promised() - {"message"}
    assert set(example["err"]) == {"type", "message", "stack"}


def test_lines_without_the_fields_are_found() -> None:
    """Nothing but `@message` must be there: each query that filters by another field is about that field, or falls back."""
    for query in saved_queries.APPLICATION:
        fields = {name for step in query.steps if step.startswith("filter") for name in _fields(SavedQuery("", [step]))}
        assert fields <= {"durationMs", "userId"} or "@message" in " ".join(query.steps), query.name


# Log texts are an interface between lambda_src and the filters on them


@cache
def _source_texts(package: str = "*") -> set[str]:
    """String literals of functions' code without docstrings, and names of logged fields."""
    texts: set[str] = set()
    for file in (ROOT / "lambda_src").glob(f"{package}/**/*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
                texts.add(node.value)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and "logger" in ast.unparse(node.func.value):
                texts |= {keyword.arg for keyword in node.keywords if keyword.arg}
    return texts


def _missing(terms: Iterable[str], package: str) -> list[str]:
    texts = _source_texts(package) | OF_LAMBDA
    return [term for term in terms if not any(term in text for text in texts)]


def test_texts_that_queries_filter_on_are_logged() -> None:
    for query in saved_queries.FUNCTIONS:
        terms = [
            term
            for step in query.steps
            if step.startswith("filter")
            for term in re.findall(r'"([^"]*)"', step)
            if not term.startswith("{{")
        ]
        assert _missing(terms, "*") == [], query.name


@pytest.mark.parametrize(("page", "group", "pattern"), FILTERED, ids=lambda value: str(value)[:20])
def test_texts_that_runbooks_filter_on_are_logged(page: str, group: str, pattern: str) -> None:
    package = PACKAGE_OF_LOG[group]
    terms = [quoted or plain for quoted, plain in re.findall(r'\??(?:"([^"]+)"|([^\s?"]+))', pattern)]
    assert terms
    assert _missing(terms, package) == [], f"{page}: lambda_src/{package} logs no such text"


def test_text_that_is_not_logged_is_found() -> None:
    assert _missing(["backup failed", "backup exploded"], "backup") == ["backup exploded"]
