"""Writes the docs that are made from the code: the API reference and, in the guide, tables and OpenAPI.

Usage: generate.py [--check]

`--check` writes nothing and exits 1 where a committed page differs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

from google.api import annotations_pb2
from google.protobuf.descriptor import EnumDescriptor, MethodDescriptor
from google.rpc import code_pb2
from pydantic.fields import FieldInfo

from deploy.envoy.contract import PASSED_ON
from deploy.envoy.settings import EdgeSettings
from docs import reference
from docs.openapi import FILE as OPENAPI
from docs.openapi import openapi_text
from docs.tool_pages import FOLDER, tool_pages
from parley.auth.v1 import error_reason_pb2 as auth_reasons
from parley.inference.v1 import error_reason_pb2 as inference_reasons
from parley.policy.v1 import error_reason_pb2 as policy_reasons
from parley.policy.v1 import policy_pb2
from parley.tools.v1 import error_reason_pb2 as tools_reasons
from services.auth.descriptors import CONTRACTS
from services.auth.roles import BUILT_IN, DESCRIPTIONS, permissions_of
from services.auth.settings import AuthSettings
from services.inference.settings import InferenceSettings
from services.rpc.errors import REASON_PREFIX
from services.rpc.policies import FOREIGN, Access, access_table
from services.rpc.principal import permits
from services.rpc.secret_files import SECRETS_PATH
from services.rpc.server import HEALTH, REFLECTION
from services.tools.settings import ToolsSettings
from web.settings import WebSettings

EDGE = "edge"
DOCS = Path(__file__).parent
GUIDE = "guide"
MADE_WHOLE = (f"{GUIDE}/{FOLDER}", reference.FOLDER)
"""The folders that hold nothing but pages made here."""
REASONS = (policy_reasons, inference_reasons, tools_reasons, auth_reasons)
SETTINGS = (AuthSettings, ToolsSettings, InferenceSettings, WebSettings, EdgeSettings)
NOTE = "<!-- Made by docs/generate.py; change the contracts or the settings instead. -->"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    options = parser.parse_args(arguments)
    made = {f"{GUIDE}/{name}": text for name, text in pages().items()}
    made |= {f"{reference.FOLDER}/{name}": text for name, text in reference_pages().items()}
    drifted = [name for name, text in made.items() if not settle(DOCS / name, text, options.check)]
    drifted += settle_stale(made, options.check)
    for name in drifted:
        print(f"docs/{name} is not what the code gives; run `make gen`", file=sys.stderr)
    return 1 if drifted else 0


def settle(page: Path, text: str, check: bool) -> bool:
    """Write the page, or with `check` only say whether it is as it should be."""
    if check:
        return page.is_file() and page.read_text(encoding="utf-8") == text
    page.parent.mkdir(exist_ok=True)
    page.write_text(text, encoding="utf-8")
    return True


def settle_stale(made: Container[str], check: bool) -> list[str]:
    """Delete the pages of what is no more, or with `check` only name them."""
    there = [page for folder in MADE_WHOLE for page in sorted((DOCS / folder).glob("*.md"))]
    stale = [page for page in there if str(page.relative_to(DOCS)) not in made]
    if not check:
        for page in stale:
            page.unlink()
        return []
    return [str(page.relative_to(DOCS)) for page in stale]


def pages() -> dict[str, str]:
    """Every page of the guide that is made, by file name."""
    return {
        "methods.md": page("Methods", method_lines()),
        "permissions.md": page("Permissions", permission_lines()),
        "errors.md": page("Errors", error_lines()),
        "settings.md": page("Settings", settings_lines()),
        OPENAPI: openapi_text(),
        **tool_pages(),
    }


def reference_pages() -> dict[str, str]:
    """Every page of the API reference, by file name."""
    services = [service for module in CONTRACTS for service in module.DESCRIPTOR.services_by_name.values()]
    return reference.Reference(services, [module.ErrorReason.DESCRIPTOR for module in REASONS]).pages()


def page(title: str, lines: Iterator[str]) -> str:
    """A page of this title."""
    return "\n".join([NOTE, "", f"# {title}", "", *lines, ""])


def method_lines() -> Iterator[str]:
    """Each method, how it is called as JSON, and what it needs."""
    yield "Every method of the contracts. Which role has what a method needs: [permissions](permissions.md)."
    yield ""
    yield "| Method | JSON | Needs |"
    yield "|---|---|---|"
    for method, access in methods():
        yield f"| `{method.full_name}` | {http_path(method)} | {reference.needs(access)} |"


def permission_lines() -> Iterator[str]:
    """The built-in roles, and each method with the roles that may call it."""
    roles = sorted(BUILT_IN)
    yield "What no role grants is denied. A permission is a dotted name; a trailing `*` stands for all below."
    yield "A tenant may have roles of its own beside the built-in ones (`parley roles`)."
    yield from ["", "## Built-in roles", "", "| Role | What for | Permits |", "|---|---|---|"]
    for role in roles:
        permits_it = ", ".join(f"`{permission}`" for permission in sorted(BUILT_IN[role]))
        yield f"| {role} | {DESCRIPTIONS[role]} | {permits_it} |"
    yield from ["", "## Resources", ""]
    yield "A tool needs `tools.<category>.<tool>` and a model `models.<name>` beside the method's"
    yield "permission; what a caller may not use is not listed either. Methods that take a user's id need,"
    yield "for any but the caller's own, `auth.users.read`, `auth.users.write` or `auth.sessions.write`, as"
    yield "their comments say."
    yield "Whoever changes a user, a role or a key must hold all that it permits."
    yield from [
        "",
        "## Methods",
        "",
        f"| Method | Needs | {' | '.join(roles)} |",
        "|---|---|" + "---|" * len(roles),
    ]
    for name, access in callable_methods(served_at_edge=True):
        held = ["yes" if may(role, access) else "" for role in roles]
        yield f"| {' | '.join([f'`{name}`', reference.needs(access), *held])} |"
    yield from ["", "## Inside the mesh", ""]
    yield "These are not served at the edge; the connection's certificate says who may call."
    yield from ["", "| Method | Needs | Certificates |", "|---|---|---|"]
    for name, access in callable_methods(served_at_edge=False):
        yield f"| `{name}` | {reference.needs(access)} | {', '.join(sorted(access.peers))} |"


def callable_methods(*, served_at_edge: bool) -> Iterator[tuple[str, Access]]:
    """Full names of the methods that are, or are not, served at the edge, the foreign ones last."""
    for method, access in methods():
        if (EDGE in access.peers) is served_at_edge:
            yield method.full_name, access
    if served_at_edge:
        for service in (HEALTH, REFLECTION):
            for foreign in PASSED_ON[service].methods:
                yield f"{service}.{foreign.name}", FOREIGN[service]


def methods() -> Iterator[tuple[MethodDescriptor, Access]]:
    """Each method with its access rule."""
    for module in CONTRACTS:
        for service in module.DESCRIPTOR.services_by_name.values():
            table = access_table([service.full_name])
            for method in service.methods:
                yield method, table[f"/{service.full_name}/{method.name}"]


def may(role: str, access: Access) -> bool:
    """Whether a token of this role may call."""
    return not access.permission or permits(permissions_of([role]), access.permission)


def http_path(method: MethodDescriptor) -> str:
    """The method's JSON path, from its `google.api.http` option."""
    rule: Any = method.GetOptions().Extensions[annotations_pb2.http]
    verb = rule.WhichOneof("pattern")
    return f"`{verb.upper()} {getattr(rule, verb)}`" if verb else ""


def error_lines() -> Iterator[str]:
    """Each reason, its domain, its status and its metadata."""
    yield "Every error carries `google.rpc.ErrorInfo` with a reason and a domain (AIP-193)."
    for module in REASONS:
        enum: EnumDescriptor = module.ErrorReason.DESCRIPTOR
        root, service, *_ = enum.file.package.split(".")
        yield from ["", f"## {service}.{root}", "", "| Reason | Status | Metadata |", "|---|---|---|"]
        for value in enum.values[1:]:
            policy: policy_pb2.ReasonPolicy = value.GetOptions().Extensions[policy_pb2.reason]
            keys = ", ".join(f"`{key}`" for key in policy.metadata_keys)
            name = value.name.removeprefix(REASON_PREFIX)
            yield f"| `{name}` | {code_pb2.Code.Name(policy.code)} | {keys} |"


def settings_lines() -> Iterator[str]:
    """Each setting of each process."""
    yield "Each process reads its own environment variables once, at its start. `parley up` sets what it must"
    yield "and passes on what you set. A variable with a process's prefix that is no setting is an error."
    yield ""
    yield f"Any setting can come from a file instead, and secrets should: `{SECRETS_PATH}` names a"
    yield "folder, and a file in it that is named as a variable holds its value. A setting has a file or a"
    yield "variable, never both."
    for settings in SETTINGS:
        prefix = str(settings.model_config.get("env_prefix", ""))
        yield from ["", f"## {prefix}*", "", "| Variable | Default | What it is |", "|---|---|---|"]
        for name, field in settings.model_fields.items():
            yield f"| `{prefix}{name.upper()}` | {default(field)} | {field.description or ''} |"


def default(field: FieldInfo) -> str:
    """A field's default, or that it has none."""
    if field.is_required():
        return "required"
    # What a factory makes may differ from machine to machine; its description tells.
    value = None if field.default_factory else field.default
    return f"`{value}`" if value not in ("", None) else ""


if __name__ == "__main__":
    sys.exit(main())
