"""CloudFront Functions: their code from the template, their events, a process that runs them, and the rules for their results.

Rules and limits are from AWS, CloudFront Developer Guide: "Restrictions on edge functions", "CloudFront Functions event structure",
"Quotas".
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tools.processes import node

LONGEST_CODE = 10 * 1024
LONGEST_URL = 8192
LONGEST_REQUEST = 20_480
DISALLOWED = re.compile(
    r"connection|expect|keep-alive|proxy-(authenticate|authorization|connection)|trailer|upgrade|x-cache|x-edge-.*|x-forwarded-proto|x-real-ip"
    r"|x-accel-(buffering|charset|limit-rate|redirect)|x-amz-cf-.*"
    r"|x-amzn-(auth|cf-billing|cf-id|cf-xff|errortype|fle-profile|header-count|header-order|lambda-integration-tag|requestid)"
)
READ_ONLY = {"viewer-request": {"content-length", "host", "transfer-encoding", "via"}, "viewer-response": {"warning", "via"}}

VIEWER = "198.51.100.11"

Event = dict[str, Any]


def event(target: str, method: str = "GET", headers: dict[str, str | list[str]] | None = None, cookie: str = "") -> Event:
    """Return the viewer request for `target`, the path and query of the request line."""
    uri, _, query = target.partition("?")
    given = {"host": "carmen.example.com", "user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:142.0)", **(headers or {})}
    parameters = [part.partition("=") for part in query.split("&")] if query else []
    return {
        "version": "1.0",
        "context": {
            "distributionDomainName": "d111111abcdef8.cloudfront.net",
            "distributionId": "EDFDVBD6EXAMPLE",
            "eventType": "viewer-request",
            "requestId": "EXAMPLEntjQpEXAMPLE_SG5Z-EXAMPLEPmPfEXAMPLEu3EqEXAMPLE==",
        },
        "viewer": {"ip": VIEWER},
        "request": {
            "method": method,
            "uri": uri,
            "querystring": _collapsed([(name, value) for name, _, value in parameters]),
            "headers": _collapsed([(name, one) for name, value in given.items() for one in ([value] if isinstance(value, str) else value)]),
            "cookies": _collapsed(
                [(name.strip(), value) for name, _, value in (part.partition("=") for part in cookie.split(";") if part)]
            ),
        },
    }


def _collapsed(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """Return one field per name: `value` is the first value, `multiValue` lists all of several."""
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name not in fields:
            fields[name] = {"value": value}
        else:
            fields[name].setdefault("multiValue", [{"value": fields[name]["value"]}]).append({"value": value})
    return fields


class Runtime:
    """One Node process for all functions and events of a test run."""

    def __enter__(self) -> Self:
        script = str(Path(__file__).with_name("runtime.js"))
        self._node = subprocess.Popen(
            [str(node()), "--jitless", "--expose-internals", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._node.communicate()

    def run(self, code: str, event: Event) -> dict[str, Any]:
        """Return the function's result. Raises RuntimeError when it throws or cannot be loaded."""
        return dict(self._ask(code=code, event=event)["result"])

    def microseconds(self, code: str, event: Event, times: int) -> float:
        """The median time the function takes."""
        return float(self._ask(code=code, event=event, times=times)["microseconds"])

    def _ask(self, **question: Any) -> dict[str, Any]:
        assert self._node.stdin
        assert self._node.stdout
        self._node.stdin.write(json.dumps(question) + "\n")
        self._node.stdin.flush()
        reply = dict(json.loads(self._node.stdout.readline()))
        if "error" in reply:
            raise RuntimeError(reply["error"])
        return reply


def faults(before: Event, returned: dict[str, Any]) -> list[str]:
    """Return the reasons for which CloudFront would refuse (502) the result of a viewer-request function."""
    if "statusCode" in returned:
        return _response_faults(returned)
    request = before["request"]
    found = [] if returned.get("method") == request["method"] else ["method changed"]
    uri, query = returned.get("uri", ""), written(returned.get("querystring", {}))
    if not uri.startswith("/"):
        found.append(f"uri {uri!r} does not begin with /")
    if len(uri + query) >= LONGEST_URL:
        found.append(f"uri and query take {len(uri + query)} characters")
    if (uri, query) != (request["uri"], written(request["querystring"])) and re.search(r"[\s#\x00-\x1f\x7f]", uri + query):
        found.append("changed uri or query holds a space, a control character or #")
    for name in READ_ONLY["viewer-request"]:
        if returned["headers"].get(name) != request["headers"].get(name):
            found.append(f"read-only header {name} changed")
    added = {name: value for name, value in returned["headers"].items() if request["headers"].get(name) != value}
    return found + _header_faults(added)


def _response_faults(response: dict[str, Any]) -> list[str]:
    found = _header_faults(response.get("headers", {}))
    status = response["statusCode"]
    if not isinstance(status, int) or not 200 <= status <= 599:
        return [*found, f"status {status!r}"]
    if set(response) - {"statusCode", "statusDescription", "headers", "cookies", "body"}:
        found.append(f"unknown fields {sorted(response)}")
    if 300 <= status < 400:
        location = response["headers"].get("location", {}).get("value", "")
        if not re.match(r"/(?![/\\])", location):
            found.append(f"location {location!r} may lead to another site")
        if "#" in location:
            found.append("location holds a fragment that the request did not")
    return found


def _header_faults(headers: dict[str, Any]) -> list[str]:
    found = []
    size = 0
    for name, field in headers.items():
        if not re.fullmatch(r"[a-z0-9!#$%&'*+.^_`|~-]+", name):
            found.append(f"header name {name!r}")
        if DISALLOWED.fullmatch(name):
            found.append(f"disallowed header {name}")
        for value in field.get("multiValue", [field]):
            size += len(name) + len(str(value.get("value"))) + 4
            if not isinstance(value.get("value"), str) or not re.fullmatch(r"[ -~]*", value["value"]):
                found.append(f"header {name}: {value.get('value')!r}")
    return [*found, f"headers take {size} bytes"] if size > LONGEST_REQUEST else found


def written(parameters: dict[str, Any]) -> str:
    """The query string of an event, with its question mark."""
    parts = [
        f"{name}={value['value']}" if value["value"] else name
        for name, field in parameters.items()
        for value in field.get("multiValue", [field])
    ]
    return "?" + "&".join(parts) if parts else ""
