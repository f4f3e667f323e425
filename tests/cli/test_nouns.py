import json
import stat
from pathlib import Path

from google.rpc import code_pb2

from tests.cli.conftest import Run
from tests.client.toy_platform import KEY_ID, PASSWORD, ToyPlatform, failure


def test_models_are_a_table_or_json(parley: Run) -> None:
    table = parley("models", "list").stdout.splitlines()
    assert table[0].split() == ["model", "context", "state", "reasoning", "tools", "default"]
    assert table[1].split() == ["first", "1024", "ready", "yes"]
    assert [model["name"] for model in json.loads(parley("models", "list", "--json").stdout)] == [
        "first",
        "second",
    ]


def test_the_cache_of_a_model_is_purged(parley: Run, toy: ToyPlatform) -> None:
    assert parley("cache", "purge", "second").stdout == "Forgotten; 3 kept turns were deleted.\n"
    assert toy.requests[-1].model == "second"
    parley("cache", "purge")
    assert toy.requests[-1].model == ""


def test_tools_show_their_arguments(parley: Run) -> None:
    row = parley("tools", "list").stdout.splitlines()[1]
    assert row.split() == ["calculator", "math", "safe", "expression,", "digits?", "Calculates."]
    assert json.loads(parley("tools", "list", "--json").stdout)[0]["name"] == "calculator"


def test_a_tool_that_is_off_says_why(parley: Run, toy: ToyPlatform) -> None:
    toy.unavailable = "it has no fingers"
    assert "(off: it has no fingers)" in parley("tools", "list").stdout
    assert "Switched off here: it has no fingers" in parley("tools", "show", "calculator").stdout


def test_a_call_by_hand_puts_the_result_alone_on_stdout(parley: Run, toy: ToyPlatform) -> None:
    result = parley("tools", "call", "calculator", '{"expression": "17 * 23"}')
    assert result.stdout == '{"result":391}\n'
    assert "at it" in result.stderr
    assert toy.requests[0].call.arguments == '{"expression": "17 * 23"}'
    lines = parley("tools", "call", "calculator", "--json").stdout.splitlines()
    assert [set(json.loads(line)) for line in lines] == [{"started"}, {"progress"}, {"output"}, {"result"}]


def test_a_call_reads_its_arguments_from_a_pipe(parley: Run, toy: ToyPlatform) -> None:
    options = ("--timeout", "2.5", "--key", "k1")
    parley("tools", "call", "calculator", "-", *options, stdin='{"expression": "1"}')
    call = toy.requests[0].call
    assert (call.arguments, call.idempotency_key) == ('{"expression": "1"}', "k1")
    assert call.timeout.ToMilliseconds() == 2500


def test_one_tool_is_shown(parley: Run) -> None:
    shown = parley("tools", "show", "calculator").stdout
    assert "safe, safe to repeat, at most 5 s and 1024 bytes; needs tools.math.calculator" in shown
    assert ["expression", "string", "yes", "What", "to", "calculate."] in [
        line.split() for line in shown.splitlines()
    ]
    assert ["digits", "integer", "no"] in [line.split() for line in shown.splitlines()]
    assert '{"expression":"2*3"}' in shown
    as_json = json.loads(parley("tools", "show", "calculator", "--json").stdout)
    assert as_json["parameters_schema"]["required"] == ["expression"]


def test_figures_are_shown_and_begin_anew(parley: Run, toy: ToyPlatform) -> None:
    result = parley("tools", "stats", "--tool", "calculator", "--user", "ada", "--reset")
    rows = [line.split() for line in result.stdout.splitlines()]
    figures = ["3", "TOOL_TIMEOUT", "1", "1.5", "ms", "2e+03", "ms", "-", "-"]
    assert ["calculator", *figures] in rows
    assert ["ada", *figures] in rows
    assert "1 running, 2 waiting" in result.stderr
    assert (toy.requests[0].tool, toy.requests[0].user_id) == ("calculator", "ada")
    assert len(toy.requests) == 2
    assert json.loads(parley("tools", "stats", "--json").stdout)["tools"][0]["stats"]["calls"] == "3"
    assert len(toy.requests) == 3


def test_arguments_that_are_no_json_are_refused_before_the_call(parley: Run, toy: ToyPlatform) -> None:
    result = parley("tools", "call", "calculator", "{expression: 1}")
    assert result.exit_code == 1
    assert "The arguments are not JSON" in result.stderr
    assert toy.requests == []


def test_an_unknown_tool_says_what_exists(parley: Run, toy: ToyPlatform) -> None:
    toy.failures["Execute"] = failure(
        code_pb2.NOT_FOUND, "TOOL_NOT_FOUND", "No tool x.", tool="x", nearest=""
    )
    result = parley("tools", "call", "x")
    assert result.exit_code == 1
    assert result.stderr == "TOOL_NOT_FOUND: No tool x. `parley tools list` shows the names that exist.\n"


def test_a_new_key_shows_its_secret_alone_on_stdout(parley: Run, toy: ToyPlatform) -> None:
    result = parley("keys", "create", "ci", "--scope", "inference.*", "--days", "7")
    assert result.stdout == "pk_abc_secret\n"
    assert KEY_ID in result.stderr
    assert list(toy.requests[0].scopes) == ["inference.*"]
    assert toy.requests[0].HasField("expire_time")
    assert json.loads(parley("keys", "create", "ci", "--json").stdout)["secret"] == "pk_abc_secret"


def test_keys_are_listed_without_secrets_and_revoked(parley: Run, toy: ToyPlatform) -> None:
    live, dead = parley("keys", "list").stdout.splitlines()[1:]
    assert live.split()[:3] == [KEY_ID, "ci", "pk_abc"]
    assert live.split()[-1] == "live"
    assert dead.split()[-1] == "revoked"
    assert len(json.loads(parley("keys", "list", "--json").stdout)) == 2
    assert parley("keys", "revoke", KEY_ID).stdout == f"Key {KEY_ID} (ci) is revoked.\n"


def test_a_permission_that_is_missing_is_exit_status_4(parley: Run, toy: ToyPlatform) -> None:
    toy.failures["ListKeys"] = failure(
        code_pb2.PERMISSION_DENIED, "PERMISSION_MISSING", "auth.keys is missing.", permission="auth.keys"
    )
    assert parley("keys", "list").exit_code == 4


def saved_login(home: Path) -> Path:
    (file,) = (home / "logins").glob("*.json")
    return file


def test_a_login_is_kept_for_its_owner_alone_and_used_by_the_next_command(
    parley: Run, toy: ToyPlatform, home: Path
) -> None:
    result = parley(
        "login", "--username", "ada", "--password-stdin", stdin=f"{PASSWORD}\n", PARLEY_API_KEY=""
    )
    assert result.exit_code == 0, result.output
    assert PASSWORD not in result.output
    file = saved_login(home)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert PASSWORD not in file.read_text()

    assert parley("models", "list", PARLEY_API_KEY="").exit_code == 0
    assert toy.metadata["authorization"] == "Bearer access-ada"


def test_a_saved_login_is_renewed_and_saved_again(parley: Run, toy: ToyPlatform, home: Path) -> None:
    toy.token_seconds = 10
    parley("login", "--username", "ada", "--password-stdin", stdin=PASSWORD, PARLEY_API_KEY="")
    assert parley("models", "list", PARLEY_API_KEY="").exit_code == 0
    assert toy.refreshed == ["refresh-ada"]
    assert json.loads(saved_login(home).read_text())["refresh_token"] == "refresh-new1"
    assert stat.S_IMODE(saved_login(home).stat().st_mode) == 0o600


def test_a_saved_login_that_cannot_be_read_says_what_to_do(parley: Run, toy: ToyPlatform, home: Path) -> None:
    parley("login", "--password-stdin", stdin=PASSWORD, PARLEY_API_KEY="")
    saved_login(home).write_text("{}")
    result = parley("models", "list", PARLEY_API_KEY="")
    assert result.exit_code == 4
    assert "Log in again" in result.stderr


def test_an_api_key_comes_before_a_saved_login(parley: Run, toy: ToyPlatform) -> None:
    parley("login", "--password-stdin", stdin=PASSWORD, PARLEY_API_KEY="")
    parley("models", "list")
    assert toy.metadata["authorization"] == "Bearer of-pk_toy"


def test_a_wrong_password_is_exit_status_4_and_saves_nothing(parley: Run, home: Path) -> None:
    result = parley("login", "--password-stdin", stdin="wrong", PARLEY_API_KEY="")
    assert result.exit_code == 4
    assert "CREDENTIALS_INVALID" in result.stderr
    assert not (home / "logins").exists()


def test_a_typed_password_is_not_echoed(parley: Run) -> None:
    result = parley("login", stdin=f"{PASSWORD}\n", PARLEY_API_KEY="")
    assert result.exit_code == 0, result.output
    assert PASSWORD not in result.output


def test_an_empty_password_is_refused(parley: Run, toy: ToyPlatform) -> None:
    assert parley("login", "--password-stdin", stdin="", PARLEY_API_KEY="").exit_code == 1
    assert toy.requests == []


def test_status_tells_health_per_service(parley: Run, toy: ToyPlatform) -> None:
    result = parley("status", "--json")
    report = json.loads(result.stdout)
    assert report["health"] == {"auth": "SERVING", "tools": "SERVING", "inference": "NOT_FOUND"}
    assert result.exit_code == 1
    assert "inference  NOT_FOUND" in parley("status").stdout


def test_status_of_nothing_is_exit_status_3(alone: Run) -> None:
    result = alone("status", PARLEY_ADDRESS="127.0.0.1:1")
    assert result.exit_code == 3
    assert "No local stack runs here." in result.stdout


def test_down_is_fine_when_nothing_runs(alone: Run) -> None:
    result = alone("down")
    assert result.exit_code == 0
    assert "No stack runs" in result.stdout


def test_a_misspelt_setting_names_the_nearest(alone: Run) -> None:
    result = alone("status", PARLEY_HOEM="x")
    assert result.exit_code == 5
    assert result.stderr == "PARLEY_HOEM is not a setting; did you mean PARLEY_HOME? Correct or unset it.\n"
    assert "PARLEY_EDGE_LISTEN_ADDRESS" in alone("status", PARLEY_EDGE_LISTEN_ADRESS="x").stderr


def test_a_setting_of_a_process_is_known(alone: Run) -> None:
    assert alone("down", PARLEY_TOOLS_LOG_LEVEL="INFO", PARLEY_WEB_LOG_LEVEL="INFO").exit_code == 0


def test_an_authority_that_is_not_there_is_exit_status_5(parley: Run) -> None:
    result = parley("models", "list", PARLEY_AUTHORITY_PATH="/nowhere.pem")
    assert result.exit_code == 5
    assert "/nowhere.pem cannot be read" in result.stderr
