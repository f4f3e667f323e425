"""JSON, formats and SQL: what they give, and what data cannot do to them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from services.tools.builtin.formats import MAX_DEPTH
from services.tools.builtin.json_data import json_parse, json_query
from services.tools.builtin.sql_on_data import sql_on_data
from services.tools.builtin.transform import data_transform
from services.tools.errors import (
    DataInvalid,
    DataTooLarge,
    FileMissing,
    InvalidArguments,
    PathNotAllowed,
    QueryInvalid,
    ToolsError,
)
from tests.tools.builtin.conftest import Use


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("{}", "object"),
        ("[1]", "array"),
        ('"a"', "string"),
        ("1.5", "number"),
        ("true", "boolean"),
        ("12345678901234567890", "number"),
    ],
)
def test_json_is_read(use: Use, text: str, kind: str) -> None:
    assert use(json_parse, json_string=text) == {"type": kind, "value": json.loads(text)}


def test_null_is_a_value_too(use: Use) -> None:
    assert use(json_parse, json_string="null") == {"type": "null"}


@pytest.mark.parametrize(
    "text", ["", "{", "NaN", '{"a":1,"a":2}', "[" * 500 + "]" * 500, "'a'", "1 2", "1e999"]
)
def test_what_is_no_json_is_refused(use: Use, text: str) -> None:
    with pytest.raises(DataInvalid) as caught:
        use(json_parse, json_string=text)
    assert caught.value.metadata == {"tool": "json_parse", "format": "json"}


def test_a_value_is_checked_against_a_schema(use: Use, home: Path) -> None:
    schema = {"type": "object", "required": ["name"], "properties": {"age": {"type": "integer"}}}
    (home / "a.json").write_text('\ufeff{"age": "x"}')
    result = use(json_parse, file_path="a.json", validate_schema=schema)
    assert not result["meets_schema"]
    assert {fault["path"] for fault in result["faults"]} == {"$", "$.age"}
    assert use(json_parse, json_string='{"name": 1}', validate_schema=schema)["meets_schema"]


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ({"type": "nope"}, "not valid under any"),
        ({"$ref": "http://127.0.0.1:1/schema"}, "leads nowhere"),
        ({"$ref": "#/nowhere"}, "leads nowhere"),
        ({"$ref": "#"}, "without end"),
    ],
)
def test_a_schema_that_cannot_be_used_says_so(use: Use, schema: dict[str, object], told: str) -> None:
    with pytest.raises(DataInvalid, match=told):
        use(json_parse, json_string="1", validate_schema=schema)


def test_json_is_queried(use: Use, home: Path) -> None:
    data = {"a": [{"b": 1}, {"b": None}]}
    assert use(json_query, data=data, path="a[*].b")["result"] == [1]
    assert use(json_query, data=None, path="a") == {"path": "a", "found": False}
    (home / "a.json").write_text(json.dumps(data))
    assert use(json_query, file_path="a.json", path="length(a)")["result"] == 2


@pytest.mark.parametrize("path", ["a[", "nope(a)", "abs('x')", "(" * 900])
def test_what_is_no_query_is_refused(use: Use, path: str) -> None:
    with pytest.raises(QueryInvalid):
        use(json_query, data={"a": 1}, path=path)


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        (json_parse, {}),
        (json_parse, {"json_string": "1", "file_path": "a"}),
        (json_query, {"path": "a"}),
        (json_query, {"path": "a", "data": 1, "file_path": "a"}),
        (data_transform, {"data": "x", "from_format": "parquet", "to_format": "json"}),
        (data_transform, {"data": "x", "from_format": "json", "to_format": "parquet"}),
    ],
)
def test_there_is_exactly_one_source(use: Use, tool: object, arguments: dict[str, object]) -> None:
    with pytest.raises(InvalidArguments):
        use(tool, **arguments)


def transformed(use: Use, data: str, from_format: str, to_format: str, **more: object) -> str:
    return use(data_transform, data=data, from_format=from_format, to_format=to_format, **more)["output"]


ROWS = '[{"a":1,"b":"x"},{"a":2.5,"c":[true,null]}]'


@pytest.mark.parametrize(
    ("data", "from_format", "to_format", "output"),
    [
        (ROWS, "json", "csv", 'a,b,c\n1,x,\n2.5,,"[true,null]"\n'),
        ("a,b\n1,x\n,007\n", "csv", "json", '[{"a":1,"b":"x"},{"a":null,"b":"007"}]'),
        ("a: 1\nb: [x, 2026-11-23]\n", "yaml", "json", '{"a":1,"b":["x","2026-11-23"]}'),
        (
            "a = 1\n[b]\nc = 2026-11-23T01:02:03Z\n",
            "toml",
            "json",
            '{"a":1,"b":{"c":"2026-11-23T01:02:03+00:00"}}',
        ),
        ('{"a":1,"b":["é"]}', "json", "yaml", "a: 1\nb:\n- é\n"),
        ('{"a":1,"b":{"c":"x"}}', "json", "toml", 'a = 1\n\n[b]\nc = "x"\n'),
        ('[[1,"<b>"]]', "json", "html", None),
        ('["a|b\\n c"]', "json", "markdown", "| value |\n| --- |\n| a\\|b c |\n"),
        ("!!binary aGk=", "yaml", "json", '"aGk="'),
        ("!!set {a, b}", "yaml", "json", None),
        ("", "csv", "json", "[]"),
    ],
)
def test_data_is_transformed(
    use: Use, data: str, from_format: str, to_format: str, output: str | None
) -> None:
    made = transformed(use, data, from_format, to_format)
    if output is not None:
        assert made == output
    elif to_format == "html":
        assert "<td>&lt;b&gt;</td>" in made
        assert "<th>column1</th>" in made
    else:
        assert sorted(json.loads(made)) == ["a", "b"]


def test_another_delimiter_is_taken(use: Use) -> None:
    assert transformed(use, "a;b\n1;2\n", "csv", "json", delimiter=";") == '[{"a":1,"b":2}]'


def test_a_summary_tells_of_each_column(use: Use) -> None:
    summary = json.loads(transformed(use, "a,b\n1,x\n3,\n", "csv", "summary"))
    assert summary == {
        "type": "array",
        "rows": 2,
        "columns": [
            {
                "name": "a",
                "type": "number",
                "missing": 0,
                "distinct": 2,
                "min": 1,
                "max": 3,
                "mean": 2,
                "median": 2.0,
            },
            {"name": "b", "type": "string", "missing": 1, "distinct": 1, "examples": ["x"]},
        ],
    }
    others = json.loads(transformed(use, '{"a":null,"b":[1],"c":1e308}', "json", "summary"))
    assert [column["type"] for column in others["columns"]] == ["empty", "array", "number"]
    huge = json.loads(transformed(use, '[{"c":1e308},{"c":1e308}]', "json", "summary"))
    assert huge["columns"][0]["max"] == 1e308
    assert json.loads(transformed(use, '[1,"a"]', "json", "summary"))["columns"][0]["type"] == "mixed"


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join(['*' + before] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("data", "from_format", "told"),
    [
        (BOMB, "yaml", "aliases"),
        ("a: &a [*a]", "yaml", "aliases"),
        ("!!python/object/apply:os.system ['id']", "yaml", "could not determine a constructor"),
        ("[" * 500 + "]" * 500, "yaml", f"deeper than {MAX_DEPTH}"),
        ("[" * 20_000 + "]" * 20_000, "yaml", "nest"),  # newer libraries have a limit of their own
        ("a: [", "yaml", "parsing"),
        ("a: .nan", "yaml", "not finite"),
        ("--- 1\n--- 2\n", "yaml", "single document"),
        ("a = [" * 100, "toml", "."),
        ("a = " + "[" * 3000, "toml", "."),
        ("a = nan", "toml", "not finite"),
        ("a,a\n1,2\n", "csv", "different columns"),
        ("a\n1,2\n", "csv", "more cells"),
        ('a\n"x', "csv", "unexpected end"),
        ("a\n" + "x" * 200_000, "csv", "field larger"),
        ("[" * 300 + "]" * 300, "json", "."),
    ],
)
def test_data_that_is_not_what_it_should_be_is_refused(
    use: Use, data: str, from_format: str, told: str
) -> None:
    with pytest.raises(DataInvalid, match=told):
        transformed(use, data, from_format, "json")


@pytest.mark.parametrize(
    ("data", "to_format"),
    [
        ("[1]", "toml"),
        ('{"a": null}', "toml"),
        (json.dumps([{str(number): 1 for number in range(1001)}]), "csv"),
        (json.dumps([{str(number): 1 for number in range(1001)}]), "html"),
        (json.dumps([{str(number): 1 for number in range(1000)}, *([{}] * 1000)]), "markdown"),
    ],
)
def test_what_a_format_cannot_hold_is_refused(use: Use, data: str, to_format: str) -> None:
    with pytest.raises(DataInvalid):
        transformed(use, data, "json", to_format)


def test_too_many_rows_and_too_much_output_are_refused(use: Use, home: Path) -> None:
    (home / "rows.csv").write_text("a\n" + "1\n" * 100_001)
    with pytest.raises(DataTooLarge, match="100000 rows"):
        use(data_transform, file_path="rows.csv", from_format="csv", to_format="json")
    (home / "wide.csv").write_text(",".join(f"c{number}" for number in range(1000)) + "\n1" * 1001)
    with pytest.raises(DataTooLarge, match="1000 rows of 1000 columns"):
        use(data_transform, file_path="wide.csv", from_format="csv", to_format="json")
    with pytest.raises(DataTooLarge, match="output_path"):
        transformed(use, json.dumps(["&" * 250_000]), "json", "html")
    (home / "big").write_bytes(b"x" * (8 * 2**20 + 1))
    with pytest.raises(DataTooLarge, match="bytes in a file"):
        use(data_transform, file_path="big", from_format="csv", to_format="json")
    (home / "bad").write_bytes(b"\xff")
    with pytest.raises(DataInvalid, match="not utf-8"):
        use(data_transform, file_path="bad", from_format="csv", to_format="json")


def test_parquet_is_written_read_and_queried(use: Use, home: Path) -> None:
    written = use(data_transform, data=ROWS, from_format="json", to_format="parquet", output_path="t.parquet")
    assert written["output_path"] == "t.parquet"
    assert "output" not in written
    back = use(data_transform, file_path="t.parquet", from_format="parquet", to_format="json")
    assert [row["a"] for row in json.loads(back["output"])] == [1, 2.5]
    assert use(sql_on_data, file_path="t.parquet", query="SELECT sum(a) FROM data")["rows"] == [[3.5]]
    (home / "bad.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(DataInvalid):
        use(data_transform, file_path="bad.parquet", from_format="parquet", to_format="json")


@pytest.mark.parametrize("data", ["[]", "[{}]"])
def test_what_parquet_cannot_hold_is_refused(use: Use, home: Path, data: str) -> None:
    with pytest.raises(DataInvalid):
        use(data_transform, data=data, from_format="json", to_format="parquet", output_path="t.parquet")
    assert not (home / "t.parquet").exists()


@pytest.fixture
def points(home: Path) -> Path:
    (home / "points.csv").write_text("x,y,day\n1,2,2026-11-23\n3,4,2026-11-24\n")
    (home / "points.jsonl").write_text('{"x":1}\n{"x":3}\n')
    return home


def test_sql_is_answered(use: Use, points: Path) -> None:
    assert use(sql_on_data, file_path="points.csv", query="FROM data WHERE x > 1") == {
        "columns": ["x", "y", "day"],
        "rows": [[3, 4, "2026-11-24"]],
        "truncated": False,
    }
    assert use(sql_on_data, file_path="points.jsonl", query="SELECT avg(x) FROM data")["rows"] == [[2]]
    cut = use(sql_on_data, file_path="points.csv", query="SELECT x FROM data", limit=1)
    assert (cut["rows"], cut["truncated"]) == ([[1]], True)
    described = use(sql_on_data, file_path="points.csv", query="DESCRIBE data")
    assert [row[:2] for row in described["rows"]] == [["x", "BIGINT"], ["y", "BIGINT"], ["day", "DATE"]]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM read_text('/proc/self/environ')",
        "SELECT * FROM glob('/*')",
        "SELECT * FROM read_csv('http://127.0.0.1/x.csv')",
        "COPY data TO '/tmp/out.csv'",
        "COPY data TO PROGRAM 'id'",
        "ATTACH '/tmp/x.db'",
        "EXPORT DATABASE '/tmp/x'",
        "SET enable_external_access = true",
        "RESET lock_configuration",
        "PRAGMA version",
        "INSTALL httpfs",
        "LOAD httpfs",
        "CREATE TABLE t (i int)",
        "INSERT INTO data VALUES (1, 2, NULL)",
        "DROP TABLE data",
        "SELECT 1; SELECT 2",
        "SELECT 1; COPY data TO '/tmp/out.csv'",
        "SELECT * FROM use",
        "SELECT getenv('HOME')",
        "CALL pragma_version()",
        "",
        ";",
        "SELEC 1",
    ],
)
def test_sql_reaches_nothing_but_the_table(use: Use, points: Path, query: str) -> None:
    with pytest.raises((QueryInvalid, InvalidArguments)):
        use(sql_on_data, file_path="points.csv", query=query)
    assert not Path("/tmp/out.csv").exists()  # noqa: S108


def test_a_query_that_needs_too_much_memory_is_ended(use: Use, points: Path) -> None:
    with pytest.raises(DataTooLarge):
        use(
            sql_on_data,
            file_path="points.csv",
            query="SELECT count(DISTINCT a) FROM "
            "(SELECT i || 'xxxxxxxxxxxxxxxxxxxxxxxx' AS a FROM range(20000000) r(i))",
        )


@pytest.mark.parametrize(
    ("path", "said", "error"),
    [
        ("nope.csv", "auto", FileMissing),
        ("../x.csv", "auto", PathNotAllowed),
        ("/etc/passwd", "csv", PathNotAllowed),
        ("welcome", "auto", FileMissing),
        ("data.bin", "auto", DataInvalid),
        ("data.bin", "parquet", DataInvalid),
        ("broken.json", "auto", DataInvalid),
    ],
)
def test_only_tables_of_the_workspace_are_read(
    use: Use, home: Path, path: str, said: str, error: type[ToolsError]
) -> None:
    (home / "data.bin").write_bytes(b"\0\1")
    (home / "broken.json").write_text('[{"a":')
    with pytest.raises(error):
        use(sql_on_data, file_path=path, query="SELECT 1", format=said)


def test_nan_is_no_answer(use: Use, points: Path) -> None:
    with pytest.raises(DataInvalid, match="not finite"):
        use(sql_on_data, file_path="points.csv", query="SELECT 'nan'::DOUBLE")
