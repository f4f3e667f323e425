"""The PARLEY_* variables that a text names, held against the settings that there are."""

from __future__ import annotations

import re

from deploy.envoy.settings import EdgeSettings
from services.auth.settings import AuthSettings
from services.inference.settings import InferenceSettings
from services.rpc.secret_files import SECRETS_PATH
from services.tools.settings import ToolsSettings
from web.settings import WebSettings

PROCESSES = (AuthSettings, ToolsSettings, InferenceSettings, WebSettings, EdgeSettings)
VARIABLE = re.compile(r"\bPARLEY_[A-Z0-9_]+[A-Z0-9](?!\*)\b")

KNOWN = {
    SECRETS_PATH,
    *(
        f"{settings.model_config.get('env_prefix', '')}{name}".upper()
        for settings in PROCESSES
        for name in settings.model_fields
    ),
}


def unknown_settings(text: str) -> set[str]:
    """The names in it that are no setting of any process."""
    return {name for name in VARIABLE.findall(text) if name not in KNOWN}
