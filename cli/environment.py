"""The PARLEY_* variables of this environment: whose they are, and which are nobody's."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from services.rpc.settings import SettingsError

PREFIX = "PARLEY_"

PROCESS_SETTINGS: Mapping[str, tuple[str, str]] = {
    "PARLEY_AUTH_": ("services.auth.settings", "AuthSettings"),
    "PARLEY_TOOLS_": ("services.tools.settings", "ToolsSettings"),
    "PARLEY_INFERENCE_": ("services.inference.settings", "InferenceSettings"),
    "PARLEY_WEB_": ("web.settings", "WebSettings"),
    "PARLEY_EDGE_": ("deploy.envoy.settings", "EdgeSettings"),
}
"""Where each process declares its settings. Loaded by name: the command must
not pull a process's code in, and import-linter holds that."""

INHERITED = (
    *("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"),
)
"""What every process gets from the person's environment."""


class CommandSettings(BaseModel):
    """What the `parley` command itself is told."""

    model_config = ConfigDict(frozen=True)

    home: Path = Field(Path(".parley"), description="folder of the local stack: state, keys, logs, data")
    api_key: SecretStr = Field(SecretStr(""), description="API key to call with; empty: the saved login")
    address: str = Field("", description="host:port of the edge; empty: the local stack's")
    authority_path: Path | None = Field(
        None, description="PEM certificates that the edge is checked against; unset: the local stack's own"
    )
    pass_variables: str = Field("", description="names of further variables that processes get, by commas")


def command_settings(environment: Mapping[str, str]) -> CommandSettings:
    """The command's settings, once every PARLEY_* variable was found to be somebody's.

    Raises:
        SettingsError: One is nobody's, or not valid.
    """
    faults = [fault for name in sorted(environment) if (fault := _fault(name))]
    if faults:
        raise SettingsError("; ".join(faults))
    own = {name: environment[f"{PREFIX}{name}".upper()] for name in _given(environment)}
    try:
        return CommandSettings.model_validate(own)
    except ValidationError as error:
        names = ", ".join(f"{PREFIX}{fault['loc'][0]}".upper() for fault in error.errors())
        raise SettingsError(f"{names}: not a valid value") from None


def overrides(environment: Mapping[str, str], prefix: str) -> dict[str, str]:
    """What the person sets for one process."""
    return {name: value for name, value in environment.items() if name.startswith(prefix)}


def inherited(environment: Mapping[str, str], more: str = "") -> dict[str, str]:
    """What a process gets of the person's environment: what every program needs, and what is named."""
    names = (*INHERITED, *(name.strip() for name in more.split(",")))
    return {name: environment[name] for name in names if name in environment}


def _given(environment: Mapping[str, str]) -> list[str]:
    return [name for name in CommandSettings.model_fields if f"{PREFIX}{name}".upper() in environment]


def _fault(name: str) -> str:
    """What is wrong with a variable's name; empty where nothing is."""
    if not name.startswith(PREFIX) or name in _own_names():
        return ""
    family = next((prefix for prefix in PROCESS_SETTINGS if name.startswith(prefix)), "")
    known = _names_of(family) if family else {*_own_names(), *PROCESS_SETTINGS}
    if name in known:
        return ""
    nearest = _nearest(name, known)
    if nearest in PROCESS_SETTINGS:  # the typo is in the part that says whose it is
        nearest = _nearest(name, _names_of(nearest))
    return f"{name} is not a setting; did you mean {nearest}?"


def _nearest(name: str, known: Iterable[str]) -> str:
    return difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]


def _own_names() -> set[str]:
    return {f"{PREFIX}{name}".upper() for name in CommandSettings.model_fields}


def _names_of(family: str) -> set[str]:
    """The variables of one process. Its settings are loaded only when one of them is set."""
    module, settings = PROCESS_SETTINGS[family]
    fields = getattr(importlib.import_module(module), settings).model_fields
    return {f"{family}{name}".upper() for name in fields}
