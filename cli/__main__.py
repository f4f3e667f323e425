"""The `parley` command."""

import typer

from cli import (
    adapters,
    audit,
    cache,
    certs,
    chat,
    conversations,
    doctor,
    keys,
    login,
    logout,
    mcp,
    models,
    password,
    quota,
    replicas,
    roles,
    rollouts,
    sessions,
    signing_keys,
    status,
    tenants,
    tools,
    usage,
    users,
)
from cli.backup import backup
from cli.bench import commands as bench
from cli.down import down
from cli.up import up

EPILOG = (
    "Exit status: 0 done, 1 failed, 2 wrong command line, 3 nothing answers, "
    "4 not logged in or not allowed, 5 this machine or its settings lack something."
)

app = typer.Typer(
    help="Parley: large language models with tools, behind one door.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # locals hold passwords and tokens
)
app.command()(up)
app.command()(status.status)
app.command()(down)
app.command()(backup)
app.command()(login.login)
app.command()(logout.logout)
app.command()(password.password)
app.command()(chat.chat)
app.add_typer(conversations.app, name="conversations")
app.add_typer(models.app, name="models")
app.add_typer(replicas.app, name="replicas")
app.add_typer(adapters.app, name="adapters")
app.add_typer(rollouts.app, name="rollouts")
app.add_typer(cache.app, name="cache")
app.add_typer(tools.app, name="tools")
app.add_typer(mcp.app, name="mcp")
app.add_typer(keys.app, name="keys")
app.add_typer(users.app, name="users")
app.add_typer(roles.app, name="roles")
app.add_typer(quota.app, name="quota")
app.add_typer(tenants.app, name="tenants")
app.add_typer(sessions.app, name="sessions")
app.add_typer(signing_keys.app, name="signing-keys")
app.add_typer(audit.app, name="audit")
app.command()(usage.usage)
app.add_typer(certs.app, name="certs")
app.command()(doctor.doctor)
app.add_typer(bench.app, name="bench")


def main() -> None:
    """Run the command line."""
    app(prog_name="parley")


if __name__ == "__main__":
    main()
