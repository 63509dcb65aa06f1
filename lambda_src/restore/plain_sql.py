"""The text that pg_dump writes: its owners and grantees, and the statements that RDS or an older server refuses."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain

from common.backup_manifest import BackupDamaged

FOOTER = b"--\n-- PostgreSQL database dump complete\n--\n"
_DATA = b"\n-- Data for Name: "
_OWNER = re.compile(rb"^-- (?:Data for )?Name: .*; Owner: (.+)$", re.MULTILINE)
_GRANTEE = re.compile(rb'^(?:ALTER DEFAULT PRIVILEGES .*)?GRANT .* TO ("(?:[^"]|"")+"|[^\s"]+?)(?: WITH GRANT OPTION)?;$', re.MULTILINE)
_TIMEOUT = re.compile(rb"^SET transaction_timeout = 0;\n", re.MULTILINE)
# The header that pg_dump writes above each statement, and the statement up to the next header's blank line.
_EXTENSION_COMMENT = re.compile(
    rb"^--\n-- Name: EXTENSION [^\n]*; Type: COMMENT; [^\n]*\n--\n\nCOMMENT ON EXTENSION .*?;\n\n", re.MULTILINE | re.DOTALL
)


def owners(sql: bytes) -> set[str]:
    """The roles that the headers of a dump name as owners."""
    return {match[1].decode() for match in _OWNER.finditer(sql)} - {"-"}


def grantees(sql: bytes) -> set[str]:
    """The roles that receive grants."""
    found = {match[1].decode() for match in _GRANTEE.finditer(sql)} - {"PUBLIC"}
    return {_unquoted(name) for name in found}


def created_roles(sql: str) -> set[str]:
    """The roles in `roles.sql`, without those of every PostgreSQL or RDS server."""
    names = re.findall(r'^CREATE ROLE ("(?:[^"]|"")+"|[^\s"]+);$', sql, re.MULTILINE)
    return {_unquoted(name) for name in names if not re.match(r"pg_|rds", _unquoted(name))}


def versions(sql: bytes) -> tuple[str, str, str]:
    """Server version, pg_dump version and restrict key, from the head of the dump."""
    found = re.search(
        rb"^\\restrict (\w+)\n(?:.*\n)*?-- Dumped from database version (\S+).*\n-- Dumped by pg_dump version (\S+)", sql, re.MULTILINE
    )
    if not found:
        raise BackupDamaged("The SQL does not begin with pg_dump's header: use another backup")
    key, server, client = (part.decode() for part in found.groups())
    return server, client, key


def split(blocks: Iterable[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """Split before the first table's data. Extensions, schemas and types are in the first part."""
    blocks = iter(blocks)
    head = b""
    for block in blocks:
        start = max(0, len(head) - len(_DATA))
        head += block
        if (found := head.find(_DATA, start)) >= 0:
            return head[:found], chain([head[found:]], blocks)
    return head, iter(())


def accepted_by(major: int, head: bytes) -> bytes:
    """The head of a dump without the statements that this server refuses.

    pg_dump 17 and later set `transaction_timeout`, unknown before 17; COMMENT ON EXTENSION needs the extension's owner,
    which on RDS is rdsadmin. Only statements at pg_dump's places are removed: such lines in a function's body stay.
    """
    if major < 17:
        head = _TIMEOUT.sub(b"", head, count=1)
    return _EXTENSION_COMMENT.sub(b"", head)


def complete(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Pass the blocks on; raise BackupDamaged at the end if pg_dump's last line is missing."""
    tail = b""
    for block in blocks:
        tail = (tail + block)[-4096:]
        yield block
    if FOOTER not in tail:
        raise BackupDamaged("The SQL is cut: pg_dump's last line is missing. Use another backup")


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name
