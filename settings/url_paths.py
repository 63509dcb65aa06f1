"""Paths in settings, in the one form that browsers, CloudFront and WAF read alike."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

LONGEST = 200  # what WAF compares with; CloudFront's path patterns end at 255
RELEASE_FILES = "/_next/static/*"  # what a build names by content; releases keep it in a bucket (ADR 0019)
# Paths with rules of their own (constructs_lib/edge/distribution.py), or whose answers are for one user.
NEVER_STATIC = ("/api/*", "/_next/data/*", "/_next/image", "/errors/*")


def normal_form(path: str) -> str:
    """The path as RFC 3986 normalises it: no `//`, no `.` or `..`, no escape of a character that needs none."""

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


def meet(one: str, other: str) -> bool:
    """Whether two path patterns, exact or ending in `*`, have a path in common."""
    start, prefix = one.removesuffix("*"), other.removesuffix("*")
    return start == prefix or (one.endswith("*") and prefix.startswith(start)) or (other.endswith("*") and start.startswith(prefix))


def _not_too_long(path: str) -> str:
    """Said here, not by pydantic: a path is also an entry of lists and a value that may be absent, whose bounds are others."""
    if len(path) > LONGEST:
        raise ValueError(f"must have at most {LONGEST} characters, not {len(path)}")
    return path


def _plain(path: str) -> str:
    if not re.fullmatch(r"/[A-Za-z0-9._~!$&()+,;=:@%/-]*", path):
        raise ValueError("must begin with '/' and hold letters, digits and ._~!$&()+,;=:@%/- only; '*', '?' and '#' mean nothing here")
    if path != normal_form(path):
        raise ValueError(f"write {normal_form(path)}: '//', '.', '..' and needless escapes are not read alike by browsers and CloudFront")
    return path


def _prefix(path: str) -> str:
    if path == "/":
        raise ValueError("is the beginning of every path: name the paths that take files")
    return path


def _static(pattern: str) -> str:
    if not re.fullmatch(r"/([\w.$~@:+&-]+/)*([\w.$~@:+&-]+|\*)", pattern, re.ASCII):
        raise ValueError("must be a folder with all below it, such as /images/*, or one file, such as /favicon.ico")
    _plain(pattern.removesuffix("*"))
    if meet(pattern, RELEASE_FILES):
        raise ValueError(f"{RELEASE_FILES} is kept without being named, from the bucket that releases fill: leave it out")
    for kept in NEVER_STATIC:
        if meet(pattern, kept):
            raise ValueError(f"takes in {kept}, which must not be kept for a year: choose a folder that holds files only")
    return pattern


_Path = Annotated[str, AfterValidator(_not_too_long)]
PlainPath = Annotated[_Path, AfterValidator(_plain)]
PathPrefix = Annotated[_Path, AfterValidator(_plain), AfterValidator(_prefix)]
StaticPath = Annotated[_Path, AfterValidator(_static)]
