"""Maintenance as deployed: the handler, as carmen_maintenance and carmen_monitor, with real servers and the embedded AWS's S3."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cache
from html.parser import HTMLParser
from typing import Any, cast

import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext
from common import database, locks
from database_roles import roles
from maintenance import handler as maintenance
from maintenance.runner import Runner, Settings
from pg8000.native import Connection

from local.services.postgres import LocalRds
from tests.lambdas.backups import connect
from tests.lambdas.database_roles.test_roles import PASSWORDS, server_major
from tests.lambdas.maintenance import sample_database

one_major = pytest.mark.parametrize("server", [17], indirect=True, ids=["postgresql17"])
SETTINGS = Settings(min_index_mb=1, reserve_seconds=10, lock_seconds=1, wait_seconds=2)
ACTIVITY = "SELECT relname, vacuum_count, analyze_count FROM pg_stat_user_tables"


@dataclass
class Context:
    """A Lambda context with the given time limit."""

    seconds: float = 900
    function_name: str = "maintenance"
    memory_limit_in_mb: int = 512
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:000000000000:function:maintenance"
    aws_request_id: str = "test"
    started: float = field(default_factory=time.monotonic)

    def get_remaining_time_in_millis(self) -> int:
        return int(1000 * (self.seconds - time.monotonic() + self.started))


@dataclass
class Carmen:
    """A database with Carmen's roles and objects, and the bucket for reports."""

    owner: Connection
    server: LocalRds
    database: str
    s3: Any
    bucket: str
    major: int
    output: pytest.CaptureFixture[str]

    def maintain(self, kind: str = "weekly", seconds: float = 900, when: str = "2026-11-22T03:00:00Z") -> dict[str, Any]:
        return cast(dict[str, Any], maintenance.handler({"kind": kind, "time": when}, cast(LambdaContext, Context(seconds))))

    def report(self, answer: dict[str, Any], kind: str = "json") -> Any:
        body = self.s3.get_object(Bucket=self.bucket, Key=answer["report"].replace(".json", f".{kind}"))["Body"].read().decode()
        return json.loads(body) if kind == "json" else body

    def activity(self) -> dict[str, tuple[int, int]]:
        """Table → number of manual VACUUM and ANALYZE runs."""
        return {name: (vacuums, analyses) for name, vacuums, analyses in self.owner.run(ACTIVITY)}

    def metrics(self) -> dict[str, float]:
        """The metrics of the last invocation."""
        lines = [json.loads(line) for line in self.output.readouterr().out.splitlines() if line.startswith("{")]
        found = [line for line in lines if "_aws" in line][-1]
        assert found["Environment"] == "prod"
        assert found["service"] == "maintenance"
        names = [metric["Name"] for metric in found["_aws"]["CloudWatchMetrics"][0]["Metrics"]]
        return {name: sum(found[name]) for name in names}

    def invalidate(self, index: str) -> None:
        """Mark the index invalid, as an interrupted REINDEX CONCURRENTLY or CREATE INDEX CONCURRENTLY does."""
        self.server.as_rdsadmin(f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{index}'::regclass", self.database)


@cache
def template(server: LocalRds) -> str:
    """The name of a database with Carmen's roles and objects, which tests copy."""
    name = f"template_{uuid.uuid4().hex[:8]}"
    with connect(server, server.master, server.password) as administration:
        administration.run(f"CREATE DATABASE {name}")
    with connect(server, server.master, server.password, name) as master:
        roles.apply(master, PASSWORDS)
    with connect(server, "carmen_owner", PASSWORDS["carmen_owner"], name) as owner:
        sample_database.create(owner.run, server, name)
    return name


@pytest.fixture
def carmen(server: LocalRds, s3: Any, bucket: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Carmen]:
    name = f"carmen_{uuid.uuid4().hex[:8]}"
    with connect(server, server.master, server.password) as administration:
        administration.run(f"CREATE DATABASE {name} TEMPLATE {template(server)}")
    with connect(server, server.master, server.password, name) as master:
        roles.apply(master, PASSWORDS)  # other tests change passwords, and privileges on a database are not copied
    for variable, value in {
        "DATABASE_HOST": "localhost", "DATABASE_PORT": str(server.port), "DATABASE_NAME": name, "RDS_CA_FILE": str(server.ca_file),
        "ENVIRONMENT": "prod", "BACKUP_BUCKET": bucket, "POWERTOOLS_SERVICE_NAME": "maintenance",
    }.items():  # fmt: skip
        monkeypatch.setenv(variable, value)
    monkeypatch.setattr(maintenance, "SETTINGS", SETTINGS)
    with connect(server, "carmen_owner", PASSWORDS["carmen_owner"], name) as owner:
        yield Carmen(owner, server, name, s3, bucket, server_major(owner), capsys)
    server.as_rdsadmin(f"DROP DATABASE {name} WITH (FORCE)")


def test_weekly_run_vacuums_rebuilds_and_reports(carmen: Carmen) -> None:
    before = dict(carmen.owner.run("SELECT relname::text, pg_relation_size(oid) FROM pg_class WHERE relname LIKE 'stock%'"))
    answer = carmen.maintain()
    report = carmen.report(answer)

    assert answer["finished"], report["work"]
    assert (report["work"]["failed"], report["work"]["skipped"]) == ([], [])
    counts = carmen.activity()
    partitioned = {"movement", "movement_2025", "movement_2026_in", "movement_2026_rest"}  # analyzed as one table, vacuumed separately
    separate = {
        'order; -- "lines" \\ <b>é</b>',
        "parent",
        "child",
        "summary",
        "unfilled",
        "scratch",
        "empty",
        "booking",
        "invoice",
        "stock",
        "mixed_near",
    }
    assert {name: counts[name] for name in separate} == dict.fromkeys(separate, (1, 1))
    assert {name: counts[name] for name in partitioned - {"movement"}} == dict.fromkeys(partitioned - {"movement"}, (1, 1))
    assert counts["movement"][1] == 1  # analyzed once
    rebuilt = {row["object"]: row for row in report["work"]["done"] if row["task"] == "reindex"}
    assert {"public.stock_code", "public.stock_pkey"} <= rebuilt.keys()
    after = dict(carmen.owner.run("SELECT relname::text, pg_relation_size(oid) FROM pg_class WHERE relname LIKE 'stock%'"))
    assert after["stock_code"] < before["stock_code"] / 4
    assert rebuilt["public.stock_code"]["bytes_before"] == before["stock_code"]
    assert rebuilt["public.stock_code"]["bytes_after"] == after["stock_code"]
    metrics = carmen.metrics()
    assert metrics["MaintenanceSucceeded"] == 1
    assert metrics["MaintenanceFailed"] == 0
    assert metrics["MaintenanceObjectsRemaining"] == 0
    assert metrics["MaintenanceReclaimed"] == report["work"]["reclaimed_bytes"] > 1_000_000


@one_major
def test_second_run_of_a_night_does_nothing(carmen: Carmen) -> None:
    assert carmen.maintain()["finished"]
    counts = carmen.activity()
    again = carmen.maintain(when="2026-11-22T03:20:00Z")
    assert again["finished"]
    assert "is finished; the next is not due" in again["reason"]
    assert carmen.activity() == counts


@one_major
def test_interrupted_run_is_continued_by_the_next(carmen: Carmen) -> None:
    """The first run has 2.4 s beyond its reserve and does a part. Each object is processed exactly once."""
    for n in range(40):
        carmen.owner.run(f"CREATE TABLE many_{n} AS SELECT n, repeat('x', 500) AS t FROM generate_series(1, 2000) n")
    first = carmen.maintain(seconds=12.4)
    assert not first["finished"]
    assert first["remaining"] > 0
    metrics = carmen.metrics()
    assert (metrics["MaintenanceSucceeded"], metrics["MaintenanceFailed"]) == (0, 0)
    done = {table for table, (vacuums, _) in carmen.activity().items() if vacuums}
    assert done
    second = carmen.maintain(when="2026-11-22T03:20:00Z")
    assert second["finished"], carmen.report(second)["work"]
    assert {vacuums for table, (vacuums, _) in carmen.activity().items() if table not in ("movement", "movement_2026", "mixed")} == {1}
    report = carmen.report(second)
    assert report["run"] == 2
    assert not {row["object"].removeprefix("public.") for row in report["work"]["done"] if row["task"] == "vacuum"} & done
    assert carmen.report(first)["findings"][-1].startswith("Not finished, the next run continues")


@one_major
def test_locked_table_is_skipped_until_the_next_run(carmen: Carmen) -> None:
    with connect(carmen.server, "carmen_owner", PASSWORDS["carmen_owner"], carmen.database) as other:
        other.run("BEGIN")
        other.run("LOCK TABLE invoice")
        first = carmen.maintain()
        other.run("ROLLBACK")
    report = carmen.report(first)
    assert not first["finished"]
    assert report["work"]["remaining"] == ["public.invoice"]
    assert [row["object"] for row in report["work"]["skipped"]] == ["public.invoice"]
    assert "lock not available" in report["work"]["skipped"][0]["reason"]
    assert [(name, part) for name, part in report["facts"].items() if "unavailable" in part] == []
    second = carmen.maintain(when="2026-11-22T03:20:00Z")
    assert second["finished"]
    assert [row["object"] for row in carmen.report(second)["work"]["done"]] == ["public.invoice"]


@one_major
@pytest.mark.long
def test_open_transaction_postpones_a_rebuild(carmen: Carmen) -> None:
    with connect(carmen.server, "carmen_owner", PASSWORDS["carmen_owner"], carmen.database) as other:
        other.run("SET application_name = 'a forgotten psql'")
        other.run("BEGIN ISOLATION LEVEL REPEATABLE READ")
        other.run("SELECT count(*) FROM parent")
        time.sleep(2.1)
        report = carmen.report(carmen.maintain())
        other.run("ROLLBACK")
    reasons = {row["object"]: row["reason"] for row in report["work"]["skipped"]}
    assert "keeps a transaction open" in reasons["public.stock_code"]
    assert "a forgotten psql" in reasons["public.stock_code"]
    assert "public.stock_code" in report["work"]["remaining"]
    assert carmen.owner.run("SELECT relname FROM pg_class WHERE relname ~ '_cc(new|old)'") == []


@one_major
def test_maintenance_does_not_run_during_a_backup(carmen: Carmen) -> None:
    with (
        closing(database.connect_as("carmen_backup", database=locks.DATABASE)) as backup,
        locks.exclusive(backup, "backup 20261122T030000Z"),
    ):
        answer = carmen.maintain()
        assert not answer["finished"]
        assert "backup 20261122T030000Z" in answer["reason"]
        assert carmen.activity()["stock"] == (0, 0)
        metrics = carmen.metrics()
        assert metrics["MaintenanceBusy"] == 1
        assert "MaintenanceFailed" not in metrics
    assert carmen.maintain()["finished"]


def test_leftovers_are_dropped_and_invalid_indexes_rebuilt(carmen: Carmen) -> None:
    for name in ("stock_code_ccnew", "stock_code_ccold1", "created_half"):
        carmen.owner.run(f"CREATE INDEX {name} ON stock (code)")
        carmen.invalidate(name)
    carmen.owner.run("CREATE INDEX valid_ccnew ON stock (note)")
    report = carmen.report(carmen.maintain())
    assert report["work"]["left_overs"] == ["public.stock_code_ccnew", "public.stock_code_ccold1"]
    assert report["finished"], report["work"]
    assert report["facts"]["invalid_indexes"] == []
    names = {row[0] for row in carmen.owner.run("SELECT relname FROM pg_class JOIN pg_index ON indexrelid = oid WHERE indisvalid")}
    assert {"created_half", "valid_ccnew", "stock_code"} <= names
    assert carmen.metrics()["MaintenanceLeftOversDropped"] == 2


@one_major
@pytest.mark.long
def test_timed_out_rebuild_is_cleaned_up(carmen: Carmen, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rebuild waits for a transaction that begins after the check for open transactions, until its time-out."""
    monkeypatch.setattr(maintenance, "SETTINGS", replace(SETTINGS, wait_seconds=1))
    monkeypatch.setattr(Runner, "_open_transaction", lambda self: None)
    with connect(carmen.server, "carmen_owner", PASSWORDS["carmen_owner"], carmen.database) as other:
        other.run("BEGIN ISOLATION LEVEL REPEATABLE READ")
        other.run("SELECT count(*) FROM stock")
        released = threading.Timer(3.5, lambda: other.run("ROLLBACK"))
        released.start()
        report = carmen.report(carmen.maintain())
        released.join()
    assert "public.stock_code" in {row["object"] for row in report["work"]["skipped"] if row["task"] == "reindex"}
    left = [row["object"] for row in report["work"]["done"] if row["task"] == "drop"] + report["work"]["remaining"]
    assert any("_ccnew" in name for name in left)
    assert carmen.maintain(when="2026-11-22T03:20:00Z")["finished"]
    assert carmen.owner.run("SELECT relname FROM pg_class WHERE relname ~ '_cc(new|old)'") == []


@one_major
@pytest.mark.long
def test_naturally_sparse_index_is_rebuilt_once(carmen: Carmen, monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys are so long that few fit on a page: a rebuild reclaims nothing."""
    monkeypatch.setattr(maintenance, "SETTINGS", replace(SETTINGS, index_bloat_percent=10))
    carmen.owner.run(
        "CREATE TABLE long_keys AS SELECT string_agg(md5((n * 100 + m)::text), '') AS k FROM generate_series(1, 500) n, generate_series(1, 64) m GROUP BY n"
    )
    carmen.owner.run("ALTER TABLE long_keys ALTER k SET STORAGE PLAIN")
    carmen.owner.run("CREATE INDEX long_keys_k ON long_keys (k)")
    first = carmen.report(carmen.maintain())
    assert "public.long_keys_k" in {row["object"] for row in first["work"]["done"] if row["task"] == "reindex"}
    backdate_cycle(carmen)
    second = carmen.report(carmen.maintain(when="2026-11-29T03:00:00Z"))
    assert "public.long_keys_k" not in {row["object"] for row in second["work"]["done"] if row["task"] == "reindex"}
    assert second["before"] == "reports/maintenance/weekly/20261122T030000Z.json"


@one_major
def test_failed_rebuild_is_reported_and_others_succeed(carmen: Carmen) -> None:
    carmen.owner.run("CREATE TABLE twice (x int); INSERT INTO twice VALUES (1), (1)")
    with pytest.raises(Exception, match="23505"):
        carmen.owner.run("CREATE UNIQUE INDEX CONCURRENTLY twice_x ON twice (x)")
    answer = carmen.maintain()
    report = carmen.report(answer)
    assert not answer["finished"]
    assert [row["object"] for row in report["work"]["failed"]] == ["public.twice_x"]
    assert "could not create unique index" in report["work"]["failed"][0]["reason"]
    assert report["findings"][0].startswith("REINDEX public.twice_x failed: could not create unique index")
    assert carmen.metrics()["MaintenanceObjectsFailed"] == 1
    assert "public.stock_code" in {row["object"] for row in report["work"]["done"]}


@one_major
def test_unknown_kind_is_refused(carmen: Carmen) -> None:
    with pytest.raises(ValueError, match="kind is 'daily'; it must be one of weekly, monthly"):
        carmen.maintain("daily")
    assert carmen.metrics()["MaintenanceFailed"] == 1


def test_report_figures_are_correct(carmen: Carmen) -> None:
    carmen.maintain()
    for _ in range(3):
        carmen.owner.run("SELECT pg_sleep(0.4) /* <script>alert(1)</script> */")
    carmen.owner.run("SET enable_seqscan = off")
    carmen.owner.run("SELECT count(*) FROM movement WHERE kind = 'in'")
    carmen.owner.run("SELECT pg_stat_force_next_flush()")
    report = carmen.report(carmen.maintain("monthly"))
    facts = report["facts"]
    assert [name for name, part in facts.items() if "unavailable" in part] == []

    tables = {row["name"]: row for row in facts["tables"]}
    stock = carmen.owner.run("SELECT pg_relation_size('stock'), pg_indexes_size('stock')")[0]
    assert [tables["public.stock"][key] for key in ("rows", "heap_bytes", "index_bytes")] == [6000, *stock]
    assert tables["public.movement_2025"]["part_of"] == "public.movement"
    assert tables["public.stock"]["analyzed_hours_ago"] == 0

    unused = {row["name"] for row in facts["unused_indexes"]}
    assert "public.stock_bin_never_used" in unused
    assert not unused & {"public.stock_pkey", "public.movement_kind", "public.booking_room_excl"}

    bloat = {row["name"]: row for row in facts["table_bloat"]}["public.stock"]
    assert bloat["bytes"] == stock[0]
    assert 80 <= bloat["wasted_percent"] <= 95  # 90 % of the rows were deleted, and VACUUM kept the space

    sequences = {row["name"]: row for row in facts["sequences"]}
    assert sequences["public.near_its_end"]["used_percent"] == pytest.approx(90, abs=0.1)
    assert sequences["public.invoice_number"] == {
        "name": "public.invoice_number", "feeds": "public.invoice.number", "last_value": 1610612736, "limit": 2147483647, "used_percent": 75.0,
    }  # fmt: skip
    assert sequences["public.counting_down"]["used_percent"] == pytest.approx(55.56, abs=0.01)
    assert "public.cycling" not in sequences

    slow = next(row for row in facts["slowest_statements"] if "pg_sleep" in row["statement"])
    assert slow["calls"] == 3
    assert 400 <= slow["mean_ms"] <= 800
    assert slow["role"] == "carmen_owner"
    assert not [row for row in facts["costliest_statements"] if row["role"] in ("carmen_maintenance", "carmen_monitor")]

    oldest = carmen.owner.run("SELECT datname, age(datfrozenxid) FROM pg_database ORDER BY 2 DESC LIMIT 1")[0][1]
    assert 0 <= oldest - facts["transaction_ids"]["databases"][0]["age"] < 1000
    assert facts["database"]["bytes"] == pytest.approx(carmen.owner.run("SELECT pg_database_size(current_database())")[0][0], rel=0.05)
    assert report["findings"][:2] == [
        "Sequence public.near_its_end is 89.99 % used up",
        "Sequence public.invoice_number is 75.0 % used up and feeds public.invoice.number",
    ]


@one_major
def test_baseline_is_compared_with_the_previous_month(carmen: Carmen) -> None:
    first = carmen.report(carmen.maintain("monthly", when="2026-10-01T03:00:00Z"))
    assert first["facts"]["baseline"]["before"] is None
    backdate_cycle(carmen, "monthly")
    for _ in range(5):
        carmen.owner.run("SELECT pg_sleep(0.1)")
    second = carmen.report(carmen.maintain("monthly", when="2026-11-01T03:00:00Z"))
    baseline = second["facts"]["baseline"]
    assert baseline["before"] == first["facts"]["baseline"]["values"]
    grown = baseline["counters"]["calls"] - first["facts"]["baseline"]["counters"]["calls"]
    assert baseline["values"]["mean_statement_ms"] == pytest.approx(
        (baseline["counters"]["exec_ms"] - first["facts"]["baseline"]["counters"]["exec_ms"]) / grown, rel=0.01
    )
    assert baseline["values"]["mean_statement_ms"] > 20
    change = baseline["change_percent"]["database_bytes"]
    assert change == pytest.approx(100 * (baseline["values"]["database_bytes"] / baseline["before"]["database_bytes"] - 1), abs=0.1)


@one_major
def test_passwords_in_statements_are_hidden(carmen: Carmen, master: Connection) -> None:
    master.run("CREATE ROLE careless PASSWORD 'hunter2-in-the-clear'")
    try:
        answer = carmen.maintain("monthly")
        for kind in ("json", "html"):
            assert "hunter2" not in json.dumps(carmen.report(answer, kind))
    finally:
        master.run("DROP ROLE careless")
    from maintenance.facts import _shown

    assert _shown("CREATE ROLE x PASSWORD 'y'") == "(CREATE …: hidden, because it contains a password)"
    assert _shown("SELECT password FROM users") == "SELECT password FROM users"


class Outline(HTMLParser):
    """Elements and attributes of an HTML document."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: set[str] = set()
        self.cells: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links |= {name for name, _ in attributes if name in ("href", "src", "onload", "onclick")}
        self.cells.append("")

    def handle_data(self, data: str) -> None:
        if self.cells:
            self.cells[-1] += data


@one_major
def test_html_report_is_escaped_and_self_contained(carmen: Carmen) -> None:
    carmen.owner.run("SELECT pg_sleep(0.4) /* <script>alert(1)</script> */")
    page = Outline(carmen.report(carmen.maintain("monthly"), "html"))
    assert page.tags == {
        "html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "div", "b", "span", "ul", "li", "table", "thead", "tbody", "tr", "th", "td", "code", "i",
    }  # fmt: skip
    assert page.links == set()
    assert sample_database.ODD in page.cells
    assert any("<script>alert(1)</script>" in cell for cell in page.cells)


def backdate_cycle(carmen: Carmen, kind: str = "weekly") -> None:
    """Make the last cycle begin a month ago."""
    key = f"reports/maintenance/{kind}/state.json"
    state = json.loads(carmen.s3.get_object(Bucket=carmen.bucket, Key=key)["Body"].read())
    assert state["finished_at"]
    state["cycle_started_at"] = "2026-10-01T00:00:00+00:00"
    carmen.s3.put_object(Bucket=carmen.bucket, Key=key, Body=json.dumps(state).encode())
