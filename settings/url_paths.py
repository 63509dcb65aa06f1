"""URL paths in settings, in the form that browsers, CloudFront and WAF interpret the same way."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

from settings.types import ensure

LONGEST = 200  # WAF's limit for a search string; CloudFront's path patterns allow 255
RELEASE_FILES = "/_next/static/*"  # files with a content hash in their name; releases copy them to a bucket (ADR 0019)
SIGN_IN = "/api/auth/"  # next-auth's routes
# Paths with separate rules (constructs_lib/edge/distribution.py), or whose responses are for one user.
NEVER_STATIC = ("/api/*", "/_next/data/*", "/_next/image", "/errors/*")


def normal_form(path: str) -> str:
    """Normalise a path by RFC 3986: no `//`, `.` or `..`, and no needless escapes."""

    def escape(found: re.Match[str]) -> str:
        character = chr(int(found[1], 16)) if found[1] else "%"
        return character if re.fullmatch(r"[A-Za-z0-9._~-]", character) else f"%{ord(character):02X}"

    folders: list[str] = []
    *inner, last = re.sub(r"%([0-9A-Fa-f]{2})?", escape, path).split("/")
    for part in [*inner, last]:
        if part == "..":
            folders = folders[:-1]
        elif part not in ("", "."):
            folders.append(part)
    is_folder = last in ("", ".", "..") and folders
    return "/" + "/".join(folders) + ("/" if is_folder else "")


def overlap(one: str, other: str) -> bool:
    """Whether two path patterns, exact or ending in `*`, match a common path."""
    start, prefix = one.removesuffix("*"), other.removesuffix("*")
    return start == prefix or (one.endswith("*") and prefix.startswith(start)) or (other.endswith("*") and start.startswith(prefix))


def _not_too_long(path: str) -> str:
    """Checked here, not by pydantic: its message would name the bounds of the list that contains the path."""
    if len(path) > LONGEST:
        raise ValueError(f"must have at most {LONGEST} characters, but has {len(path)}")
    return path


def _plain(path: str) -> str:
    if not re.fullmatch(r"/[A-Za-z0-9._~!$&()+,;=:@%/-]*", path):
        raise ValueError("must start with '/' and contain only letters, digits and ._~!$&()+,;=:@%/-; '*', '?' and '#' are not allowed")
    if path != normal_form(path):
        raise ValueError(f"write {normal_form(path)}: browsers and CloudFront interpret '//', '.', '..' and needless escapes differently")
    return path


def _static(pattern: str) -> str:
    if not re.fullmatch(r"/([\w.$~@:+&-]+/)*([\w.$~@:+&-]+|\*)", pattern, re.ASCII):
        raise ValueError("must be a folder with its contents, such as /images/*, or one file, such as /favicon.ico")
    _plain(pattern.removesuffix("*"))
    if overlap(pattern, RELEASE_FILES):
        raise ValueError(f"{RELEASE_FILES} is always cached, from the bucket that releases fill; delete it here")
    for dynamic in NEVER_STATIC:
        if overlap(pattern, dynamic):
            raise ValueError(f"includes {dynamic}, which must not be cached for a year; choose a folder that contains only files")
    return pattern


_Path = Annotated[str, AfterValidator(_not_too_long)]
PlainPath = Annotated[_Path, AfterValidator(_plain)]
PathPrefix = Annotated[PlainPath, ensure(lambda path: path != "/", "matches every path; name the paths that accept files")]
StaticPath = Annotated[_Path, AfterValidator(_static)]
