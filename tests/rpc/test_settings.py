"""Settings: clear about what is wrong, silent about secrets."""

from __future__ import annotations

import pytest
from pydantic import SecretStr
from pydantic_settings import BaseSettings

from services.rpc.settings import ServiceSettings, SettingsError, load, settings_config


class ToySettings(ServiceSettings):
    model_config = settings_config("PARLEY_TOY_")

    database_url: SecretStr


class PlainSettings(BaseSettings):
    model_config = settings_config("PARLEY_PLAIN_")

    size: int = 3


def environment(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_an_unknown_variable_names_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    environment(monkeypatch, PARLEY_PLAIN_SIZ="4")
    with pytest.raises(
        SettingsError, match="PARLEY_PLAIN_SIZ is not a setting; did you mean PARLEY_PLAIN_SIZE"
    ):
        load(PlainSettings)


def test_every_fault_has_its_line_and_no_value_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    environment(monkeypatch, PARLEY_TOY_DRAIN_SECONDS="hunter2", PARLEY_TOY_DATABASE_URL="x")
    with pytest.raises(SettingsError) as caught:
        load(ToySettings)
    lines = str(caught.value).split("\n")
    assert any(line.startswith("PARLEY_TOY_DRAIN_SECONDS: ") for line in lines)
    assert any(line.startswith("PARLEY_TOY_TLS_AUTHORITY_PATH: ") for line in lines)
    assert "hunter2" not in str(caught.value)


def test_secrets_are_not_in_the_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    paths = {f"PARLEY_TOY_TLS_{name}_PATH": "x" for name in ("CERTIFICATE", "PRIVATE_KEY", "AUTHORITY")}
    environment(monkeypatch, PARLEY_TOY_DATABASE_URL="postgresql://u:hunter2@h/d", **paths)
    settings = load(ToySettings)
    assert "hunter2" not in repr(settings)
    assert settings.tls.certificate.name == "x"


def test_settings_cannot_change(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load(PlainSettings).size = 4
