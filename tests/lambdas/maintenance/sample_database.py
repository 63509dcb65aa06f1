"""A small database like Carmen's, with objects and names that are difficult for maintenance."""

from __future__ import annotations

from collections.abc import Callable

from local.services.postgres import LocalRds

ODD = """"odd <schema> & 'co'"."order; -- ""lines"" \\ <b>é</b>\""""  # quoted for SQL

OBJECTS = (
    "CREATE SCHEMA \"odd <schema> & 'co'\"",
    f'CREATE TABLE {ODD} (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "weird <col>" text, total numeric GENERATED ALWAYS AS (1.0) STORED)',
    f"INSERT INTO {ODD} (\"weird <col>\") SELECT 'x' || n FROM generate_series(1, 500) n",
    f'CREATE INDEX "odd "" <i>index</i>" ON {ODD} ("weird <col>")',
    # Partitions, two levels deep, by range and list.
    "CREATE TABLE movement (id bigint, day date, kind text, note text) PARTITION BY RANGE (day)",
    "CREATE TABLE movement_2025 PARTITION OF movement FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')",
    "CREATE TABLE movement_2026 PARTITION OF movement FOR VALUES FROM ('2026-01-01') TO ('2027-01-01') PARTITION BY LIST (kind)",
    "CREATE TABLE movement_2026_in PARTITION OF movement_2026 FOR VALUES IN ('in')",
    "CREATE TABLE movement_2026_rest PARTITION OF movement_2026 DEFAULT",
    "CREATE INDEX movement_kind ON movement (kind)",
    "INSERT INTO movement SELECT n, '2025-06-01'::date + n % 400, CASE WHEN n % 2 = 0 THEN 'in' ELSE 'out' END, 'n' FROM generate_series(1, 1000) n",
    # Inheritance.
    "CREATE TABLE parent (id int)",
    "CREATE TABLE child (x int) INHERITS (parent)",
    "INSERT INTO child SELECT n, n FROM generate_series(1, 100) n",
    f"CREATE MATERIALIZED VIEW summary AS SELECT count(*) AS n FROM {ODD}",
    "CREATE MATERIALIZED VIEW unfilled AS SELECT 1 AS n WITH NO DATA",
    "CREATE VIEW plain AS SELECT 1 AS n",
    "CREATE UNLOGGED TABLE scratch (id int)",
    "CREATE TABLE empty (id int PRIMARY KEY)",
    "CREATE TABLE booking (room int4range, EXCLUDE USING gist (room WITH &&))",
    "INSERT INTO booking SELECT int4range(n, n + 1) FROM generate_series(1, 50) n",
    # Sequences: near the end, with a smaller column, cycling, counting down.
    "CREATE SEQUENCE near_its_end MAXVALUE 1000",
    "SELECT setval('near_its_end', 900)",
    "CREATE TABLE invoice (number int PRIMARY KEY, amount int)",
    "CREATE SEQUENCE invoice_number OWNED BY invoice.number",
    "ALTER TABLE invoice ALTER number SET DEFAULT nextval('invoice_number')",
    "SELECT setval('invoice_number', 1610612736)",  # three quarters of the column's int4; the sequence is a bigint
    "CREATE SEQUENCE cycling MAXVALUE 10 CYCLE",
    "SELECT setval('cycling', 10)",
    "CREATE SEQUENCE counting_down INCREMENT -1 MINVALUE -10 MAXVALUE -1",
    "SELECT setval('counting_down', -6)",
    # A bloated index, an unused index, a used index.
    "CREATE TABLE stock (id int PRIMARY KEY, code text, note text, bin int)",
    "INSERT INTO stock SELECT n, md5(n::text), 'note', n % 7 FROM generate_series(1, 60000) n",
    "CREATE INDEX stock_code ON stock (code)",
    "CREATE INDEX stock_bin_never_used ON stock (bin, note)",
    "DELETE FROM stock WHERE id % 10 <> 0",
)
FOREIGN = """
CREATE EXTENSION postgres_fdw;
CREATE SERVER unreachable FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '1');
CREATE USER MAPPING FOR PUBLIC SERVER unreachable OPTIONS (password 'x');
CREATE FOREIGN TABLE public.far_away (id int) SERVER unreachable;
CREATE TABLE public.mixed (id int) PARTITION BY RANGE (id);
CREATE TABLE public.mixed_near PARTITION OF public.mixed FOR VALUES FROM (0) TO (10);
CREATE FOREIGN TABLE public.mixed_far PARTITION OF public.mixed FOR VALUES FROM (10) TO (20) SERVER unreachable;
ALTER TABLE public.far_away OWNER TO carmen_owner;
ALTER TABLE public.mixed OWNER TO carmen_owner;
ALTER TABLE public.mixed_near OWNER TO carmen_owner;
ALTER TABLE public.mixed_far OWNER TO carmen_owner;
"""


def create(run: Callable[[str], object], server: LocalRds, database: str) -> None:
    """Create the objects. `run` executes a statement as the owner of the schema."""
    for statement in OBJECTS:
        run(statement)
    server.as_rdsadmin(FOREIGN, database)
