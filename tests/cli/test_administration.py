"""The nouns of administration: what they ask for, and what they show."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from parley.auth.v1 import role_service_pb2, signing_key_service_pb2, tenant_service_pb2, user_service_pb2
from parley.tools.v1 import mcp_service_pb2, tool_pb2
from tests.cli.conftest import Run
from tests.client.toy_platform import KEY_ID, PASSWORD, RUN_ID, ToyPlatform

ADA = user_service_pb2.User(
    user_id=KEY_ID,
    username="Ada",
    display_name="Ada L.",
    kind=user_service_pb2.USER_KIND_PERSON,
    roles=["user", "viewer"],
)
ACME = tenant_service_pb2.Tenant(tenant_id=RUN_ID, name="Acme")


@pytest.fixture
def told(toy: ToyPlatform) -> ToyPlatform:
    """The toy, which knows one user, one tenant, one role and one signing key."""
    role = role_service_pb2.Role(name="clerk", permissions=["tools.list"], description="Lists.")
    toy.answers = {
        "CreateUser": user_service_pb2.CreateUserResponse(user=ADA, one_time_password="once"),
        "ListUsers": user_service_pb2.ListUsersResponse(users=[ADA]),
        "ResetPassword": user_service_pb2.ResetPasswordResponse(one_time_password="again"),
        "CreateTenant": tenant_service_pb2.CreateTenantResponse(tenant=ACME, one_time_password="once"),
        "ListTenants": tenant_service_pb2.ListTenantsResponse(tenants=[ACME]),
        "ListRoles": role_service_pb2.ListRolesResponse(roles=[role]),
        "ListSigningKeys": signing_key_service_pb2.ListSigningKeysResponse(
            signing_keys=[signing_key_service_pb2.SigningKey(kid="k1", in_use=True)]
        ),
    }
    for name, answer in (("Get", "GetUser"), ("Update", "UpdateUser")):
        toy.answers[answer] = getattr(user_service_pb2, f"{name}UserResponse")(user=ADA)
    for name in ("Disable", "Enable"):
        toy.answers[f"{name}User"] = getattr(user_service_pb2, f"{name}UserResponse")(user=ADA)
        toy.answers[f"{name}Tenant"] = getattr(tenant_service_pb2, f"{name}TenantResponse")(tenant=ACME)
    for name in ("Get", "Update"):
        toy.answers[f"{name}Tenant"] = getattr(tenant_service_pb2, f"{name}TenantResponse")(tenant=ACME)
    for name in ("Create", "Get", "Update"):
        toy.answers[f"{name}Role"] = getattr(role_service_pb2, f"{name}RoleResponse")(role=role)
    files = mcp_service_pb2.McpServer(
        name="files",
        program={"command": "files"},
        state=mcp_service_pb2.MCP_SERVER_STATE_READY,
        tools=["mcp__files__read"],
    )
    toy.answers["ListServers"] = mcp_service_pb2.ListServersResponse(servers=[files])
    for name in ("Add", "Get"):
        toy.answers[f"{name}Server"] = getattr(mcp_service_pb2, f"{name}ServerResponse")(server=files)
    return toy


def test_users_are_a_table_or_json(parley: Run, told: ToyPlatform) -> None:
    table = parley("users", "list").stdout.splitlines()
    assert table[1].split() == [KEY_ID, "Ada", "Ada", "L.", "person", "user,", "viewer", "never", "active"]
    found = json.loads(parley("users", "list", "--json").stdout)
    assert [user["username"] for user in found] == ["Ada"]


def test_users_are_filtered_by_what_is_asked(parley: Run, told: ToyPlatform) -> None:
    options = ("--kind", "service", "--state", "disabled", "--role", "user", "--prefix", "ro")
    assert parley("users", "list", *options).exit_code == 0
    asked = told.requests[-1]
    assert (asked.kind, asked.state, asked.role, asked.username_prefix) == (2, 2, "user", "ro")


def test_a_new_users_password_is_alone_on_stdout(parley: Run, told: ToyPlatform) -> None:
    result = parley(
        "users", "create", "Ada", "--role", "user", "--role", "viewer", "--display-name", "Ada L."
    )
    assert result.stdout == "once\n"
    assert list(told.requests[-1].roles) == ["user", "viewer"]
    made = json.loads(parley("users", "create", "robot", "--service", "--json").stdout)
    assert made["one_time_password"] == "once"
    assert told.requests[-1].kind == user_service_pb2.USER_KIND_SERVICE


def test_a_user_is_found_by_name_or_by_id(parley: Run, told: ToyPlatform) -> None:
    for who in ("ada", KEY_ID):
        assert KEY_ID in parley("users", "show", who).stdout
        assert told.requests[-1].user_id == KEY_ID
    result = parley("users", "show", "ad")
    assert result.exit_code == 1
    assert "Nobody of your tenant is called ad." in result.stderr


def test_a_user_is_changed_by_what_is_given(parley: Run, told: ToyPlatform) -> None:
    assert parley("users", "update", "ada", "--no-roles", "--json").exit_code == 0
    assert list(told.requests[-1].update_mask.paths) == ["roles"]
    assert parley("users", "update", "ada", "--display-name", "A.").exit_code == 0
    assert list(told.requests[-1].update_mask.paths) == ["display_name"]
    assert "Nothing is to change." in parley("users", "update", "ada").stderr


def test_a_user_is_shut_out_let_in_and_given_a_password(parley: Run, told: ToyPlatform) -> None:
    assert parley("users", "disable", "ada").stdout == "Ada is disabled.\n"
    assert parley("users", "enable", "ada").stdout == "Ada is active.\n"
    assert parley("users", "reset-password", "ada").stdout == "again\n"


def test_roles(parley: Run, told: ToyPlatform) -> None:
    assert parley("roles", "list").stdout.splitlines()[1].split() == ["clerk", "tools.list", "Lists."]
    assert json.loads(parley("roles", "show", "clerk", "--json").stdout)["name"] == "clerk"
    assert "Lists." in parley("roles", "show", "clerk").stdout
    assert parley("roles", "create", "clerk", "--permission", "tools.list").stdout == "Role clerk made.\n"
    assert list(told.requests[-1].role.permissions) == ["tools.list"]
    changed = parley("roles", "update", "clerk", "--permission", "tools.list")
    assert changed.stdout == "Role clerk permits tools.list.\n"
    assert list(told.requests[-1].update_mask.paths) == ["permissions"]
    assert "Nothing is to change." in parley("roles", "update", "clerk").stderr
    assert parley("roles", "delete", "clerk").stdout == "Role clerk is deleted.\n"


def test_tenants(parley: Run, told: ToyPlatform) -> None:
    assert parley("tenants", "list").stdout.splitlines()[1].split() == [RUN_ID, "Acme", "never", "active"]
    assert json.loads(parley("tenants", "list", "--json").stdout)[0]["name"] == "Acme"
    assert parley("tenants", "create", "Acme", "--admin", "boss").stdout == "once\n"
    assert told.requests[-1].admin_username == "boss"
    made = json.loads(parley("tenants", "create", "Acme", "--admin", "boss", "--json").stdout)
    assert made["one_time_password"] == "once"
    assert "Acme" in parley("tenants", "show", RUN_ID).stdout
    assert parley("tenants", "rename", RUN_ID, "Acme").stdout == f"Tenant {RUN_ID} is called Acme.\n"
    assert parley("tenants", "disable", RUN_ID).stdout == "Acme is disabled.\n"
    assert parley("tenants", "enable", RUN_ID).stdout == "Acme is active.\n"


def test_mcp_servers(parley: Run, told: ToyPlatform) -> None:
    table = parley("mcp", "list").stdout.splitlines()
    assert table[1].split()[:4] == ["files", "files", "ready", "1"]
    assert json.loads(parley("mcp", "list", "--json").stdout)[0]["tools"] == ["mcp__files__read"]
    assert parley("mcp", "show", "files").stdout == "mcp__files__read\n"
    added = parley("mcp", "add", "files", "--command", "files", "--level", "dangerous", "--timeout", "1.5")
    assert (added.stdout, added.stderr) == ("mcp__files__read\n", "files is ready.\n")
    asked = told.requests[-1].server
    assert (asked.program.command, asked.lowest_safety_level) == ("files", tool_pb2.SAFETY_LEVEL_DANGEROUS)
    assert asked.timeout.ToMilliseconds() == 1500
    parley("mcp", "add", "wiki", "--url", "https://wiki.example/mcp", "--secret", "wiki")
    asked = told.requests[-1].server
    assert (asked.address.url, asked.address.secret_name) == ("https://wiki.example/mcp", "wiki")
    assert parley("mcp", "remove", "files").stdout == "files is removed.\n"
    assert "Give either --command or --url." in parley("mcp", "add", "both").stderr


def test_sessions(parley: Run, told: ToyPlatform) -> None:
    row = parley("sessions", "list").stdout.splitlines()[1].split()
    assert (row[0], row[1], row[-1]) == (RUN_ID, "192.0.2.1", "yes")
    assert json.loads(parley("sessions", "list", "--user", "ada", "--json").stdout)[0]["current"]
    assert told.requests[-1].user_id == KEY_ID
    assert parley("sessions", "end", RUN_ID).exit_code == 0
    assert parley("sessions", "end-all").stdout == "Sessions ended: 3.\n"


def test_signing_keys(parley: Run, told: ToyPlatform) -> None:
    assert parley("signing-keys", "list").stdout.splitlines()[1].split() == ["k1", "never", "yes"]
    assert json.loads(parley("signing-keys", "list", "--json").stdout)[0]["kid"] == "k1"
    assert parley("signing-keys", "rotate").exit_code == 0


def test_keys_of_service_accounts_and_of_everyone(parley: Run, told: ToyPlatform) -> None:
    made = parley("keys", "create", "ci", "--for", "ada", "--address", "192.0.2.0/24")
    assert made.stdout == "pk_abc_secret\n"
    asked = told.requests[-1]
    assert (asked.user_id, list(asked.allowed_addresses)) == (KEY_ID, ["192.0.2.0/24"])
    assert parley("keys", "list", "--all").exit_code == 0
    assert told.requests[-1].user_id == "-"
    rotated = parley("keys", "rotate", KEY_ID, "--overlap-hours", "1")
    assert rotated.stdout == "pk_new_secret\n"
    assert told.requests[-1].overlap.seconds == 3600


def test_logging_out_ends_the_session_and_forgets_it(parley: Run, told: ToyPlatform, home: Path) -> None:
    parley("login", "--username", "ada", "--password-stdin", stdin=PASSWORD, PARLEY_API_KEY="")
    (saved,) = (home / "logins").glob("*.json")
    result = parley("logout", PARLEY_API_KEY="")
    assert result.exit_code == 0, result.output
    assert not saved.exists()
    assert type(told.requests[-1]).__name__ == "LogoutRequest"
    assert parley("logout", PARLEY_API_KEY="").exit_code == 4


def test_a_password_is_changed_and_the_session_goes_on(parley: Run, told: ToyPlatform, home: Path) -> None:
    assert parley("password", "--stdin", stdin="a\nb\n", PARLEY_API_KEY="").exit_code == 4
    parley("login", "--username", "ada", "--password-stdin", stdin=PASSWORD, PARLEY_API_KEY="")
    result = parley("password", "--stdin", stdin="the old one\nthe new one\n", PARLEY_API_KEY="")
    assert result.exit_code == 0, result.output
    asked = next(request for request in told.requests if "ChangePassword" in type(request).__name__)
    assert (asked.current_password, asked.new_password) == ("the old one", "the new one")
    assert told.refreshed == ["refresh-ada"]
    (saved,) = (home / "logins").glob("*.json")
    assert "refresh-new1" in saved.read_text()
    assert "the new one" not in result.output


def test_a_login_that_permits_nothing_says_what_to_do(parley: Run, told: ToyPlatform) -> None:
    told.permissions = ()
    result = parley("login", "--password-stdin", stdin=PASSWORD, PARLEY_API_KEY="")
    assert result.exit_code == 0
    assert "`parley password`" in result.stderr


def test_a_typed_new_password_is_typed_twice(parley: Run, told: ToyPlatform) -> None:
    parley("login", "--username", "ada", "--password-stdin", stdin=PASSWORD, PARLEY_API_KEY="")
    result = parley("password", stdin="old\nnew\nnew\n", PARLEY_API_KEY="")
    assert result.exit_code == 0, result.output
    assert "new\n" not in result.output
