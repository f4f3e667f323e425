"""Lines that become gigabytes or hours: arithmetic, data formats, patterns, queries on files."""

from __future__ import annotations

from pathlib import Path

from tests.attacks.tool_target import OK, Deed, Outcome, ToolAttack, ToolTarget, call, planted

EXPRESSION = ("INVALID_ARGUMENT", "EXPRESSION_INVALID")
DATA = ("INVALID_ARGUMENT", "DATA_INVALID")
LARGE = ("INVALID_ARGUMENT", "DATA_TOO_LARGE")
QUERY = ("INVALID_ARGUMENT", "QUERY_INVALID")
TIMEOUT = ("DEADLINE_EXCEEDED", "TOOL_TIMEOUT")
ARGUMENTS = ("INVALID_ARGUMENT", "INVALID_ARGUMENTS")
SALES = "city,amount\nLima,7\nOslo,5\n"
LAUGHS = "".join(f'<!ENTITY l{n} "&l{n - 1};&l{n - 1};&l{n - 1};">' for n in range(1, 30))


def transformed(data: str, from_format: str, to_format: str = "json", **more: object) -> Deed:
    return call("data_transform", data=data, from_format=from_format, to_format=to_format, **more)


def queried(query: str, seconds: float | None = None) -> Deed:
    """Asks a file of the workspace."""

    async def deed(target: ToolTarget) -> Outcome:
        (target.workspace(target.person("user")) / "sales.csv").write_text(SALES)
        arguments = {"file_path": "sales.csv", "query": query}
        return await target.call("sql_on_data", arguments, seconds=seconds)

    return deed


def text(operation: str, value: str, seconds: float | None = None, **more: object) -> Deed:
    return call("text_process", seconds=seconds, operation=operation, text=value, **more)


def parquet_bomb(home: Path) -> None:
    """Some hundred kilobytes that would be a table of gigabytes."""
    import duckdb

    row = "SELECT repeat('x', 1000) AS a, repeat('y', 1000) AS b FROM range(300000)"
    duckdb.sql(f"COPY ({row}) TO '{home / 'bomb.parquet'}' (FORMAT parquet, COMPRESSION zstd)")


def parsed(document: str, **more: object) -> Deed:
    return call("json_parse", json_string=document, **more)


adds = call("calculator", expression="2 ** 10")
derives = call("symbolic", operation="expand", expression="(x + 1)**2")
from_yaml = transformed("name: Ada\n", "yaml")
sums = queried("SELECT sum(amount) FROM data")
matches = text("regex_match", "aaa", pattern="a+")
valid_xml = call("validate", kind="xml", value="<a>b</a>")

ARITHMETIC = (
    ToolAttack("9**9**9", call("calculator", expression="9**9**9"), EXPRESSION, adds),
    ToolAttack(
        "a factorial of a billion", call("calculator", expression="factorial(10**9)"), EXPRESSION, adds
    ),
    ToolAttack(
        "code for the calculator",
        call("calculator", expression="__import__('os').system('id')"),
        EXPRESSION,
        adds,
    ),
    ToolAttack(
        "parentheses without end",
        call("calculator", expression="(" * 499 + "1" + ")" * 499),
        EXPRESSION,
        adds,
    ),
    ToolAttack(
        "a unit that is a tower of powers",
        call("calculator", expression="1 m ** 10 ** 10 ** 10", numbers="units"),
        EXPRESSION,
        call("calculator", expression="3 km + 2 m", numbers="units", unit="m"),
    ),
    ToolAttack(
        "a power by its name",
        call("math_operation", operation="power", values=[10, 1_000_000_000]),
        EXPRESSION,
        call("math_operation", operation="power", values=[2, 10]),
    ),
    ToolAttack(
        "a way to Python's classes",
        call("symbolic", operation="simplify", expression="x.__class__"),
        EXPRESSION,
        derives,
    ),
    ToolAttack(
        "algebra without end",
        call("symbolic", operation="expand", expression="(a+b+c+d+f)**40", seconds=1),
        TIMEOUT,
        derives,
    ),
)

FORMATS = (
    ToolAttack(
        "YAML aliases that multiply",
        transformed("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "yaml"),
        DATA,
        from_yaml,
    ),
    ToolAttack(
        "YAML that makes objects",
        transformed("!!python/object/apply:os.system [id]", "yaml"),
        DATA,
        from_yaml,
    ),
    ToolAttack("YAML without a bottom", transformed("[" * 20_000, "yaml"), DATA, from_yaml),
    ToolAttack(
        "XML entities that multiply",
        call("validate", kind="xml", value=f'<!DOCTYPE a [<!ENTITY l0 "ha">{LAUGHS}]><a>&l29;</a>'),
        (OK, "NOT_VALID"),
        valid_xml,
    ),
    ToolAttack(
        "XML that reads a file",
        call(
            "validate",
            kind="xml",
            value='<!DOCTYPE a [<!ENTITY f SYSTEM "file:///etc/passwd">]><a>&f;</a>',
        ),
        (OK, "NOT_VALID"),
        valid_xml,
    ),
    ToolAttack("a document without a bottom", parsed("[" * 200_000), DATA, parsed("[[1]]")),
    ToolAttack("a document with Infinity", parsed("[Infinity]"), DATA, parsed("[1e300]")),
    ToolAttack(
        "a schema that fetches another",
        parsed("1", validate_schema={"$ref": "http://169.254.169.254/schema.json"}),
        DATA,
        parsed("1", validate_schema={"type": "integer"}),
    ),
    ToolAttack(
        "a schema whose pattern takes for ever",
        call(
            "json_parse",
            seconds=1,
            json_string='"' + "a" * 60 + '!"',
            validate_schema={"pattern": "^(a|a)+$"},
        ),
        TIMEOUT,
        parsed('"aa"', validate_schema={"pattern": "^a+$"}),
    ),
    ToolAttack(
        "columns without end",
        transformed(",".join(f"c{n}" for n in range(2000)), "csv"),
        DATA,
        transformed(SALES, "csv"),
    ),
    ToolAttack(
        "a result that is larger than its data",
        transformed("a\n" + ('"' + '""' * 50 + '"\n') * 4000, "csv", "html"),
        LARGE,
        transformed(SALES, "csv", "html"),
    ),
    ToolAttack(
        "Parquet that becomes gigabytes",
        planted(parquet_bomb, "sql_on_data", file_path="bomb.parquet", query="SELECT count(*) FROM data"),
        LARGE,
        sums,
    ),
)

PATTERNS = (
    ToolAttack(
        "a pattern that takes for ever",
        text("regex_match", "a" * 60 + "!", pattern="(a|a)+$"),
        ("DEADLINE_EXCEEDED", "PATTERN_TOO_SLOW"),
        matches,
    ),
    ToolAttack(
        "a pattern that is too large",
        text("regex_match", "a", pattern="(((a{1000}){1000}){1000}){1000}", seconds=1),
        TIMEOUT,
        matches,
    ),
    ToolAttack(
        "a replacement that multiplies",
        text("regex_replace", "a" * 100_000, pattern="a", replacement="x" * 1000),
        LARGE,
        text("regex_replace", "aaa", pattern="a", replacement="xx"),
    ),
    ToolAttack(
        "a date beyond all calendars",
        text("date_add", "2026-01-01", amount=1_000_000, unit="years"),
        DATA,
        text("date_add", "2026-01-01", amount=1, unit="years"),
    ),
)

QUERIES = (
    ToolAttack("DuckDB reads a file", queried("SELECT * FROM read_text('/etc/passwd')"), QUERY, sums),
    ToolAttack("DuckDB lists folders", queried("SELECT * FROM glob('/root/*')"), QUERY, sums),
    ToolAttack("DuckDB fetches a page", queried("SELECT * FROM 'http://127.0.0.1/x.csv'"), QUERY, sums),
    ToolAttack("DuckDB writes a file", queried("COPY data TO '/tmp/out.csv'"), QUERY, sums),
    ToolAttack("DuckDB attaches a database", queried("ATTACH '/tmp/x.db' AS x"), QUERY, sums),
    ToolAttack("DuckDB installs httpfs", queried("INSTALL httpfs"), QUERY, sums),
    ToolAttack("DuckDB loads a library", queried("LOAD '/tmp/x.duckdb_extension'"), QUERY, sums),
    ToolAttack("DuckDB is unlocked", queried("SET enable_external_access = true"), QUERY, sums),
    ToolAttack("DuckDB shows its secrets", queried("SELECT getenv('HOME')"), QUERY, sums),
    ToolAttack("DuckDB takes two statements", queried("SELECT 1; COPY data TO '/tmp/out.csv'"), QUERY, sums),
    ToolAttack("DuckDB fills the memory", queried("SELECT repeat('x', 3000000000) FROM data"), LARGE, sums),
    ToolAttack(
        "DuckDB counts for ever",
        queried("SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE a.range + b.range = 7", 1),
        TIMEOUT,
        sums,
    ),
)
