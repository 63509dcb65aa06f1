"""The text that pg_dump writes: its owners and grantees, and the statements that RDS or an older server refuses."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from enum import Enum, auto
from itertools import chain

from common.backup_manifest import BackupDamaged

_HEAD_BYTES, _TAIL_BYTES = 4096, 512  # where pg_dump writes `\\restrict` and `\\unrestrict`
FOOTER = b"--\n-- PostgreSQL database dump complete\n--\n"
_NAME = rb'("(?:[^"]|"")+"|[^\s"]+?)'
_OWNER = re.compile(rb"ALTER .* OWNER TO " + _NAME + rb";", re.DOTALL)
_DEFAULTS_OF = re.compile(rb"ALTER DEFAULT PRIVILEGES FOR ROLE " + _NAME + rb" .*;", re.DOTALL)
_GRANTEE = re.compile(rb"(?:ALTER DEFAULT PRIVILEGES .*)?GRANT .* TO " + _NAME + rb"(?: WITH GRANT OPTION)?;", re.DOTALL)
_OF_DATABASE = re.compile(rb"((?:GRANT|REVOKE) [A-Z, ]+ ON DATABASE |ALTER DATABASE )" + _NAME + rb"( (?:TO|FROM|SET) .*;)", re.DOTALL)
_EXTENSION = re.compile(rb"CREATE EXTENSION IF NOT EXISTS " + _NAME + rb" WITH SCHEMA public;", re.DOTALL)

# One statement of pg_dump up to its semicolon, or a meta-command of psql. A part that the end of the text cuts does not match: neither a
# string, a comment nor a dollar quote may be taken for something else. `BEGIN ATOMIC` bodies fall into several statements.
_STATEMENT = re.compile(
    rb"""(?:\s++ | --[^\n]*+\n)*+ (?: \\[^\n]*+\n |
    (?: [^'"$;\-\w\x80-\xff\\]++                                         # blanks and operators
      | (?![eE]')[\w\x80-\xff][\w$\x80-\xff]*+                            # a word or number
      | [eE]'(?:[^'\\]|\\.|'')*+' | '[^']*+' | "[^"]*+"                    # strings and quoted names
      | (?P<tag>\$(?:[A-Za-z_\x80-\xff][\w\x80-\xff]*+)?\$).*?(?P=tag)    # a dollar quote
      | \$(?=\d) | --[^\n]*+\n | -(?=[^-]) )*+ ; )""",
    re.VERBOSE | re.DOTALL,
)
_LEADING = re.compile(rb"(?:\s++|--[^\n]*+\n)*+")
_COPY = re.compile(rb"COPY .* FROM stdin;", re.DOTALL)
_CONTENT = re.compile(
    rb"SELECT pg_catalog\.(?:setval|lo\w+)\(|(?:ALTER|GRANT|REVOKE|COMMENT)\b.* LARGE OBJECT \d|REFRESH MATERIALIZED VIEW "
)
_ROWS_END = b"\\.\n"


class Piece(Enum):
    """A part of a dump. ROWS are complete or partial lines below a COPY statement, END is the line that ends them."""

    STATEMENT = auto()
    ROWS = auto()
    END = auto()


def pieces(blocks: Iterable[bytes]) -> Iterator[tuple[Piece, bytes]]:
    """Split a dump into its statements and rows, in constant memory. Text inside literals and comments stays inside its statement."""
    blocks = iter(blocks)
    buffer, at = b"", 0
    while True:
        match = _STATEMENT.match(buffer, at)
        if match:
            yield Piece.STATEMENT, match[0]
            at = match.end()
            if not _COPY.fullmatch(without_comments(match[0])):
                continue
            while buffer.find(b"\n", at) < 0 and (block := next(blocks, b"")):
                buffer, at = buffer[at:] + block, 0
            at = buffer.find(b"\n", at) + 1
            rest: list[bytes] = []
            yield from _rows(chain([buffer[at:]], blocks), rest)
            yield Piece.END, b""
            buffer, at = rest[0], 0
        elif block := next(blocks, b""):
            buffer, at = buffer[at:] + block, 0
        else:
            if buffer[at:]:
                yield Piece.STATEMENT, buffer[at:]
            return


def tables(blocks: Iterable[bytes]) -> Iterator[tuple[Piece, bytes]]:
    """Split the rows of several tables, each of which ends with `\\.`."""
    blocks = iter(blocks)
    buffer = next(blocks, b"")
    while buffer or (buffer := next(blocks, b"")):
        rest: list[bytes] = []
        yield from _rows(chain([buffer], blocks), rest)
        yield Piece.END, b""
        buffer = rest[0]


def _rows(blocks: Iterator[bytes], rest: list[bytes]) -> Iterator[tuple[Piece, bytes]]:
    """The rows up to the line that ends them; `rest` receives what follows it in the last block. A row can have many blocks."""
    buffer, within_line = b"", False
    for block in blocks:
        buffer += block
        if within_line:
            end = buffer.find(b"\n") + 1 or len(buffer)
            within_line = buffer[end - 1 : end] != b"\n"
            yield Piece.ROWS, buffer[:end]
            buffer = buffer[end:]
        if buffer.startswith(_ROWS_END):
            rest.append(buffer[len(_ROWS_END) :])
            return
        if (end := buffer.find(b"\n" + _ROWS_END)) >= 0:
            yield Piece.ROWS, buffer[: end + 1]
            rest.append(buffer[end + 1 + len(_ROWS_END) :])
            return
        end = buffer.rfind(b"\n") + 1
        if not _ROWS_END.startswith(buffer[end:]):
            end, within_line = len(buffer), True
        if end:
            yield Piece.ROWS, buffer[:end]
            buffer = buffer[end:]
    raise BackupDamaged("The SQL is cut within a table's rows: use another backup")


def definitions(major: int, blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The statements of a dump without its content (rows, values of sequences, large objects) and without what this server refuses."""
    for kind, text in pieces(blocks):
        statement = without_comments(text)
        if kind is Piece.STATEMENT and not _COPY.fullmatch(statement) and not _CONTENT.match(statement) and not _refused(major, statement):
            yield text


def _refused(major: int, statement: bytes) -> bool:
    return statement.startswith(b"COMMENT ON EXTENSION ") or (major < 17 and statement == b"SET transaction_timeout = 0;")


def without_comments(statement: bytes) -> bytes:
    """The statement without the comments above it."""
    return _LEADING.sub(b"", statement, count=1)


def statements(sql: bytes) -> list[bytes]:
    """The statements of a text, without the comments above them."""
    return [without_comments(text) for kind, text in pieces([sql]) if kind is Piece.STATEMENT]


def owners(sql: bytes) -> set[str]:
    """The roles that own objects or default privileges."""
    return _names(sql, _OWNER) | _names(sql, _DEFAULTS_OF)


def grantees(sql: bytes) -> set[str]:
    """The roles that receive grants."""
    return _names(sql, _GRANTEE) - {"PUBLIC"}


def extensions(sql: bytes) -> set[str]:
    """The extensions that the dump creates in schema public."""
    return _names(sql, _EXTENSION)


def database_statements(sql: bytes) -> list[tuple[str, str]]:
    """Settings and privileges of the database itself: the text before and after its name."""
    found = [match for statement in statements(sql) if (match := _OF_DATABASE.fullmatch(statement))]
    return [(match[1].decode(), match[3].decode()) for match in found]


def _names(sql: bytes, pattern: re.Pattern[bytes]) -> set[str]:
    return {unquoted(match[1].decode()) for statement in statements(sql) if (match := pattern.fullmatch(statement))}


def checked_roles(sql: str) -> str:
    """Return `roles.sql`. Raises BackupDamaged if it holds a command of psql, which pg_dumpall never writes."""
    for line in sql.splitlines():
        if line.startswith("\\") and not re.fullmatch(r"\\(un)?restrict \w+", line):
            raise BackupDamaged(f"roles.sql holds the psql command {line[:40]!r}, which pg_dumpall never writes: it may be forged")
    return sql


def memberships(sql: str, roles: Collection[str]) -> list[tuple[str, str]]:
    """Group and member of each GRANT in `roles.sql` between these roles."""
    name = r'("(?:[^"]|"")+"|[^\s";]+)'
    found = re.findall(rf"^GRANT {name} TO {name}(?: WITH [A-Z, ]+?)?(?: GRANTED BY {name})?;$", sql, re.MULTILINE)
    pairs = dict.fromkeys((unquoted(group), unquoted(member)) for group, member, _ in found)
    return [(group, member) for group, member in pairs if group in roles and member in roles]


def created_roles(sql: str, *, of_rds: bool = False) -> set[str]:
    """The roles in `roles.sql`, without those of every PostgreSQL server and, unless `of_rds`, of every RDS instance."""
    names = {unquoted(name) for name in re.findall(r'^CREATE ROLE ("(?:[^"]|"")+"|[^\s"]+);$', sql, re.MULTILINE)}
    return {name for name in names if not name.startswith("pg_") and (of_rds or not name.startswith("rds"))}


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
    """Split before the first content (rows, a sequence's value, a large object). Extensions, schemas and types are in the first part."""
    found = pieces(blocks)
    head = b""
    for kind, text in found:
        statement = without_comments(text)
        if _COPY.fullmatch(statement) or _CONTENT.match(statement):
            return head, _text(chain([(kind, text)], found))
        head += text
    return head, iter(())


def _text(found: Iterable[tuple[Piece, bytes]]) -> Iterator[bytes]:
    """The text of which `pieces` are made."""
    after_copy = False
    for kind, text in found:
        if after_copy:
            yield b"\n"
        yield _ROWS_END if kind is Piece.END else text
        after_copy = kind is Piece.STATEMENT and bool(_COPY.fullmatch(without_comments(text)))


def accepted_by(major: int, head: bytes) -> bytes:
    """The head of a dump without the statements that this server refuses.

    pg_dump 17 and later set `transaction_timeout`, unknown before 17; COMMENT ON EXTENSION needs the extension's owner,
    which on RDS is rdsadmin. Such lines in a function's body stay.
    """
    return b"".join(text for _, text in pieces([head]) if not _refused(major, without_comments(text)))


def without_restriction(blocks: Iterable[bytes], key: str) -> Iterator[bytes]:
    """Pass the SQL on without pg_dump's own `\\restrict` and `\\unrestrict`; raise BackupDamaged if its key is anywhere else.

    A dump that knows the key can lift the restriction inside it, and psql then obeys `\\!` (CVE-2025-8714). The key is random and new in
    each backup, so the database's content cannot hold it.
    """
    opening, closing, mark = f"\\restrict {key}\n".encode(), f"\n\\unrestrict {key}\n".encode(), key.encode()
    blocks, text = iter(blocks), b""
    while len(text) < _HEAD_BYTES and (block := next(blocks, None)) is not None:
        text += block
    text = text.replace(opening, b"", 1)
    for block in blocks:
        text += block
        if 0 <= text.find(mark) < len(text) - _TAIL_BYTES:
            raise _released()
        yield text[:-_TAIL_BYTES]
        text = text[-_TAIL_BYTES:]
    text = text.rstrip(b"\n") + b"\n"
    text = text.removesuffix(closing) + b"\n"
    if mark in text:
        raise _released()
    yield text


def _released() -> BackupDamaged:
    return BackupDamaged("The SQL holds its own restrict key, with which it could run programs on this machine: it may be forged")


def complete(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Pass the blocks on; raise BackupDamaged at the end if pg_dump's last line is missing."""
    tail = b""
    for block in blocks:
        tail = (tail + block)[-4096:]
        yield block
    if FOOTER not in tail:
        raise BackupDamaged("The SQL is cut: pg_dump's last line is missing. Use another backup")


def unquoted(name: str) -> str:
    """The name that an SQL identifier stands for."""
    return name[1:-1].replace('""', '"') if name.startswith('"') else name
