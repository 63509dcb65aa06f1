"""Saved queries: where they stand, that they are of the language, and that they ask for what docs/logging.md promises."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from constructs_lib.monitoring import saved_queries
from constructs_lib.monitoring.saved_queries import SavedQuery
from tests.conftest import ROOT, Built

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
QUERIES = [
    *((query, "Application") for query in saved_queries.APPLICATION),
    *((query, "Firewall") for query in saved_queries.FIREWALL),
    *((query, "Functions") for query in saved_queries.FUNCTIONS),
]


def _promised() -> set[str]:
    """The fields in the first column of the page's table."""
    return {name for row in re.findall(r"^\| (`.*?`\)?) \|", PAGE, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}


def _fields(query: SavedQuery) -> set[str]:
    """What its steps name, without words, functions, literals, and what it names itself."""
    text = re.sub(r'"[^"]*"|/[^/]*/', "", " | ".join(query.steps))
    given = set(re.findall(r" as (\w+)", text))
    return set(re.findall(r"@?[a-zA-Z_][\w.]*", text)) - COMMANDS - WORDS - FUNCTIONS - given - {"@timestamp", "@message"}


def test_each_environment_has_all_beside_the_logs_they_ask(built: Built) -> None:
    for prefix in (f"Carmen{name.capitalize()}" for name in built.tops):
        found: dict[str, list[str]] = {}
        for stack in built.templates:
            if not stack.startswith(prefix):
                continue
            resources: dict[str, Any] = built.templates[stack]["Resources"]
            for resource in resources.values():
                if resource["Type"] == KIND:
                    groups = [group["Ref"] for group in resource["Properties"]["LogGroupNames"]]
                    assert {resources[group]["Type"] for group in groups} == {
                        "AWS::Logs::LogGroup"
                    }  # of the same stack, so of the same region
                    found[resource["Properties"]["Name"]] = [stack.removeprefix(prefix), *groups]
        assert sorted(found) == sorted(f"{prefix}/{folder}/{query.name}" for query, folder in QUERIES)
        where = {name.split("/")[1]: (place[0], len(place) - 1) for name, place in found.items()}
        assert where == {
            "Application": ("Service", 1),
            "Firewall": ("EdgeGlobal", 1),
            "Functions": ("Operations", 6 if prefix == "CarmenDev" else 7),
        }


@pytest.mark.parametrize(("query", "folder"), QUERIES, ids=lambda value: getattr(value, "name", value))
def test_a_query_is_of_the_language_and_asks_for_what_is_written(query: SavedQuery, folder: str) -> None:
    text = " | ".join(query.steps)
    assert {step.split()[0] for step in query.steps} <= COMMANDS
    assert set(re.findall(r"(\w+)\(", re.sub(r'"[^"]*"|/[^/]*/', "", text))) <= FUNCTIONS
    assert set(re.findall(r"\{\{(\w+)\}\}", text)) == query.parameters.keys()
    written = {name.split(".")[0] for name in _fields(query)} if folder == "Application" else _fields(query)
    assert written <= {"Application": _promised(), "Firewall": WAF, "Functions": LAMBDA}[folder]


def test_the_page_names_each_query_and_its_example_keeps_its_own_contract() -> None:
    for query, folder in QUERIES:
        assert re.search(rf"{folder}: [^|]*{re.escape(query.name)}", PAGE), query.name
    (line,) = re.findall(r"^    (\{.*\})$", PAGE, re.MULTILINE)
    example = json.loads(line)
    assert set(example) - {"time"} == _promised() - {"message"}
    assert set(example["err"]) == {"type", "message", "stack"}


def test_a_line_without_the_fields_is_found_too() -> None:
    """Nothing but `@message` must be there: each query that filters by another field is about that field, or falls back."""
    for query in saved_queries.APPLICATION:
        fields = {name for step in query.steps if step.startswith("filter") for name in _fields(SavedQuery("", [step]))}
        assert fields <= {"durationMs", "userId"} or "@message" in " ".join(query.steps), query.name
