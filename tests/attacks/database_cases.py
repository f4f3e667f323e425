"""SQL that writes where only reading is allowed, leaves its source, or never ends."""

from __future__ import annotations

from tests.attacks.tool_target import Deed, Outcome, ToolAttack, ToolTarget, call

NOT_ALLOWED = ("PERMISSION_DENIED", "STATEMENT_NOT_ALLOWED")
INVALID = ("INVALID_ARGUMENT", "STATEMENT_INVALID")
FAILED = ("FAILED_PRECONDITION", "STATEMENT_FAILED")
TIMEOUT = ("DEADLINE_EXCEEDED", "STATEMENT_TIMEOUT")
LAMPS = "SELECT name, price, sold FROM lamps ORDER BY name"
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


def unchanged(strike: Deed, source: str) -> Deed:
    """Looks whether the source holds what it held."""

    async def deed(target: ToolTarget) -> Outcome:
        before = await query(LAMPS, source)(target)
        outcome = await strike(target)
        assert (await query(LAMPS, source)(target)).result["rows"] == before.result["rows"]
        return outcome

    return deed


def query(sql: str, source: str) -> Deed:
    return call("db_query", "operator", query=sql, source=source)


def execute(sql: str, source: str) -> Deed:
    return call("db_execute", "operator", statement=sql, source=source)


def lite(sql: str) -> Deed:
    return unchanged(query(sql, "shop"), "shop")


def postgres(sql: str) -> Deed:
    return unchanged(query(sql, "books"), "books")


reads = query("SELECT count(*) FROM lamps", "shop")
reads_books = query("SELECT count(*) FROM lamps", "books")
changes = execute("UPDATE lamps SET sold = 3 WHERE name = 'gas'", "shop")

SQLITE = (
    ToolAttack("a deletion in a query", lite("DELETE FROM lamps"), NOT_ALLOWED, reads),
    ToolAttack("another database attached", lite("ATTACH '/etc/passwd' AS x"), NOT_ALLOWED, reads),
    ToolAttack("two statements at once", lite("SELECT 1; DELETE FROM lamps"), NOT_ALLOWED, reads),
    ToolAttack("a setting of the database", lite("PRAGMA writable_schema = ON"), NOT_ALLOWED, reads),
    ToolAttack("a library loaded", lite("SELECT load_extension('/tmp/x.so')"), NOT_ALLOWED, reads),
    ToolAttack("a copy of the database written", lite("VACUUM INTO '/tmp/copy.db'"), NOT_ALLOWED, reads),
    ToolAttack("a query without end", lite(ENDLESS), TIMEOUT, reads),
    ToolAttack("a row larger than any", lite("SELECT zeroblob(4000000)"), FAILED, reads),
    ToolAttack("a value larger than memory", lite("SELECT zeroblob(1000000000)"), FAILED, reads),
    ToolAttack(
        "a table dropped", unchanged(execute("DROP TABLE lamps", "shop"), "shop"), NOT_ALLOWED, changes
    ),
    ToolAttack(
        "a source that may only be read",
        unchanged(execute("DELETE FROM lamps", "archive"), "archive"),
        NOT_ALLOWED,
        changes,
    ),
    ToolAttack(
        "more rows than may be changed",
        unchanged(execute("UPDATE lamps SET price = 0", "shop"), "shop"),
        ("FAILED_PRECONDITION", "TOO_MANY_ROWS"),
        changes,
    ),
    ToolAttack(
        "a source that nobody named", query("SELECT 1", "/etc/passwd"), ("NOT_FOUND", "SOURCE_UNKNOWN"), reads
    ),
)

POSTGRESQL = (
    ToolAttack("COPY from a program", postgres("COPY lamps FROM PROGRAM 'id'"), NOT_ALLOWED, reads_books),
    ToolAttack(
        "PostgreSQL takes two statements", postgres("SELECT 1; DELETE FROM lamps"), NOT_ALLOWED, reads_books
    ),
    ToolAttack(
        "a deletion within a query",
        postgres("WITH gone AS (DELETE FROM lamps RETURNING *) SELECT * FROM gone"),
        NOT_ALLOWED,
        reads_books,
    ),
    ToolAttack(
        "a query that closes ours",
        postgres("SELECT 1) AS a; DELETE FROM lamps; SELECT (1"),
        INVALID,
        reads_books,
    ),
    ToolAttack("a table made by a query", postgres("SELECT 1 AS a INTO stolen"), NOT_ALLOWED, reads_books),
    ToolAttack(
        "reading only switched off",
        postgres("SELECT set_config('transaction_read_only', 'off', false), nextval('x')"),
        INVALID,
        reads_books,
    ),
    ToolAttack(
        "a file of the server read", postgres("SELECT pg_read_file('/etc/passwd')"), NOT_ALLOWED, reads_books
    ),
    ToolAttack("a query that sleeps", postgres("SELECT pg_sleep(60)"), TIMEOUT, reads_books),
    ToolAttack("a field of a gigabyte", postgres("SELECT repeat('x', 3000000)"), FAILED, reads_books),
    ToolAttack(
        "a source whose user may do anything",
        query("SELECT 1", "root"),
        ("UNAVAILABLE", "SOURCE_UNAVAILABLE"),
        reads_books,
    ),
    ToolAttack(
        "code of the server's",
        unchanged(execute("DO $$ BEGIN DELETE FROM lamps; END $$", "books"), "books"),
        NOT_ALLOWED,
        execute("UPDATE lamps SET sold = 3 WHERE name = 'gas'", "books"),
    ),
)
