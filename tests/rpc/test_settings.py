"""Settings: clear about what is wrong, silent about secrets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import SecretStr
from pydantic_settings import BaseSettings
from ulid import ULID

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


@pytest.mark.parametrize(
    ("classes", "fault"),
    [
        ({"acme": "gold"}, "should match pattern"),
        ({str(ULID()): "Gold class"}, "should match pattern"),
        ({str(ULID()): f"class-{number}" for number in range(17)}, "16 classes at most"),
        ({str(ULID()): "none"}, "calls without a caller"),
    ],
)
def test_classes_of_tenants_are_few_and_plain(
    monkeypatch: pytest.MonkeyPatch, classes: dict[str, str], fault: str
) -> None:
    environment(monkeypatch, PARLEY_TOY_TENANT_CLASSES=json.dumps(classes))
    with pytest.raises(SettingsError) as caught:
        load(ToySettings)
    assert any("TENANT_CLASSES" in line and fault in line for line in str(caught.value).split("\n"))


def test_settings_cannot_change(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load(PlainSettings).size = 4


def test_a_secret_is_taken_from_its_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    paths = {f"PARLEY_TOY_TLS_{name}_PATH": "x" for name in ("CERTIFICATE", "PRIVATE_KEY", "AUTHORITY")}
    environment(monkeypatch, PARLEY_SECRETS_PATH=str(tmp_path), **paths)
    (tmp_path / "PARLEY_TOY_DATABASE_URL").write_text("postgresql://u:hunter2@h/d\n")
    (tmp_path / "PARLEY_OTHER_URL").write_text("another process's")
    settings = load(ToySettings)
    assert settings.database_url.get_secret_value() == "postgresql://u:hunter2@h/d"


def test_a_file_that_is_no_setting_names_the_nearest(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment(monkeypatch, PARLEY_SECRETS_PATH=str(tmp_path))
    (tmp_path / "PARLEY_PLAIN_SIZ").write_text("4")
    with pytest.raises(SettingsError, match="did you mean PARLEY_PLAIN_SIZE"):
        load(PlainSettings)


def test_a_setting_is_told_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment(monkeypatch, PARLEY_SECRETS_PATH=str(tmp_path), PARLEY_PLAIN_SIZE="4")
    (tmp_path / "PARLEY_PLAIN_SIZE").write_text("5")
    with pytest.raises(SettingsError, match="PARLEY_PLAIN_SIZE has both a file and a variable"):
        load(PlainSettings)


def test_secrets_that_cannot_be_had_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment(monkeypatch, PARLEY_SECRETS_PATH=str(tmp_path / "none"))
    with pytest.raises(SettingsError, match="cannot be listed: No such file or directory"):
        load(PlainSettings)
    environment(monkeypatch, PARLEY_SECRETS_PATH=str(tmp_path))
    (tmp_path / "PARLEY_PLAIN_SIZE").mkdir()
    with pytest.raises(SettingsError, match="is no file"):
        load(PlainSettings)
    (tmp_path / "PARLEY_PLAIN_SIZE").rmdir()
    (tmp_path / "PARLEY_PLAIN_SIZE").write_bytes(b"1" * 70_000)
    with pytest.raises(SettingsError, match="more than 64 KiB"):
        load(PlainSettings)
