"""deploy/compose.yaml as it is written: what is published and confined, and that secrets are files."""

from __future__ import annotations

import json
import re
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from cryptography import x509

from cli.environment import PROCESS_SETTINGS
from deploy.credentials import main, make
from deploy.envoy.settings import EdgeSettings
from services.inference.settings import InferenceSettings
from services.rpc.settings import load
from tests.deploy.imports import ROOT
from tests.deploy.settings_named import unknown_settings

FILE = ROOT / "deploy" / "compose.yaml"
CPU_FILE = ROOT / "deploy" / "compose.cpu.yaml"
COMPOSE: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
# YAML's own reader does not know the tag by which Compose takes away what the first file says.
CPU: dict[str, Any] = yaml.safe_load(CPU_FILE.read_text(encoding="utf-8").replace("!reset ", ""))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
PROFILES = ("embedded", "production")
OWN = ("edge", "web", "auth", "tools", "inference")
SECRET_WORDS = re.compile(r"PASSWORD(?!__?FILE)|SECRET(?!S_PATH)|TOKEN|_KEY(?!_PATH)\b")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The secrets, made once."""
    folder = tmp_path_factory.mktemp("made") / "secrets"
    assert main(["--folder", str(folder), "--host", "parley.example"]) == 0
    return folder


def in_profile(profile: str) -> dict[str, dict[str, Any]]:
    return {name: service for name, service in SERVICES.items() if profile in service["profiles"]}


def mounted(service: dict[str, Any]) -> dict[str, str]:
    """A service's secrets: where each is mounted, and which it is."""
    entries = [
        entry if isinstance(entry, dict) else {"source": entry, "target": entry}
        for entry in service.get("secrets", [])
    ]
    return {entry["target"]: entry["source"] for entry in entries}


def test_only_the_edge_is_published() -> None:
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["edge"]
    assert SERVICES["edge"]["ports"] == ["${PUBLISH_ADDRESS:-127.0.0.1}:${PUBLISH_PORT:-8443}:8443"]


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_is_a_whole_platform(profile: str) -> None:
    services = in_profile(profile)
    aliases = {
        alias
        for name, service in services.items()
        for alias in (
            name,
            *(
                service["networks"].get("mesh", {}).get("aliases", [])
                if isinstance(service["networks"], dict)
                else []
            ),
        )
    }
    assert {*OWN, "store", "cache"} <= aliases


@pytest.mark.parametrize("name", SERVICES)
def test_it_runs_as_nobody_and_can_do_nothing_more(name: str) -> None:
    service = SERVICES[name]
    assert int(service["user"].partition(":")[0]) > 0
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "network_mode", "pid", "ipc", "devices"} & service.keys()
    assert not any(
        ":/" in str(volume) and str(volume).startswith(("/", ".")) for volume in service.get("volumes", [])
    )


@pytest.mark.parametrize("name", SERVICES)
def test_it_has_limits_and_a_health_check(name: str) -> None:
    service = SERVICES[name]
    assert {"cpus", "memory", "pids"} <= service["deploy"]["resources"]["limits"].keys()
    image = service["image"].rpartition("/")[2].partition(":")[0]
    dockerfile = ROOT / "deploy" / "docker" / f"{image}.Dockerfile"
    of_image = dockerfile.is_file() and "\nHEALTHCHECK " in dockerfile.read_text(encoding="utf-8")
    assert of_image or "test" in service.get("healthcheck", {})
    assert "stop_grace_period" in service


@pytest.mark.parametrize("name", SERVICES)
def test_its_secrets_are_files(name: str) -> None:
    service = SERVICES[name]
    variables = service.get("environment", {})
    assert not [key for key in variables if SECRET_WORDS.search(key)]
    assert not [value for value in map(str, variables.values()) if re.search(r"//[^/]*:[^/]*@", value)]
    files = mounted(service)
    paths = [value for value in map(str, variables.values()) if value.startswith("/run/secrets/")]
    paths += re.findall(r"/run/secrets/[\w.-]+", " ".join(map(str, service.get("command", []))))
    assert {Path(path).name for path in paths} <= files.keys()
    assert all(COMPOSE["secrets"][source].keys() == {"file"} for source in files.values())


def test_what_starts_waits_for_the_health_of_what_it_needs() -> None:
    for name, service in SERVICES.items():
        for needed, how in service.get("depends_on", {}).items():
            assert how["condition"] == "service_healthy", name
            assert how.get("required", True) is False or set(service["profiles"]) <= set(
                SERVICES[needed]["profiles"]
            )


def test_nothing_but_tools_the_edge_and_a_download_leaves_the_mesh() -> None:
    assert COMPOSE["networks"]["mesh"]["internal"] is True
    outside = {name for name, service in SERVICES.items() if set(service["networks"]) - {"mesh"}}
    assert outside == {"edge", "tools", "tools-production", "inference-production"}


@pytest.mark.parametrize("file", [FILE, CPU_FILE], ids=lambda file: file.name)
def test_every_variable_is_a_setting(file: Path) -> None:
    assert unknown_settings(file.read_text(encoding="utf-8")) == set()


def test_without_a_gpu_only_the_engine_differs() -> None:
    """It has the image of `embedded`, its threads and its processors, and reserves nothing."""
    assert CPU.keys() == {"services"}
    assert CPU["services"].keys() == {"inference-production"}
    engine, embedded = CPU["services"]["inference-production"], SERVICES["inference"]
    assert engine.keys() == {"image", "build", "environment", "deploy"}
    assert (engine["image"], engine["build"]) == (embedded["image"], embedded["build"])
    threads = {"OMP_NUM_THREADS", "VLLM_CPU_OMP_THREADS_BIND"}
    assert engine["environment"].keys() == {*threads, "PARLEY_INFERENCE_MODEL"}
    assert all(engine["environment"][name] == embedded["environment"][name] for name in threads)
    resources = engine["deploy"]["resources"]
    assert resources["limits"]["cpus"] == embedded["deploy"]["resources"]["limits"]["cpus"]
    assert "reservations: !reset" in CPU_FILE.read_text(encoding="utf-8")


def test_the_database_takes_nobody_from_the_network_without_tls_and_password() -> None:
    """The list of its own, which the server is told of, and which is mounted there."""
    database = SERVICES["database"]
    [config] = database["configs"]
    assert f"hba_file={config['target']}" in database["command"]
    text = (ROOT / "deploy" / COMPOSE["configs"][config["source"]]["file"]).read_text(encoding="utf-8")
    rules = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    assert [(rule[0], rule[-1]) for rule in rules] == [("local", "trust"), ("hostssl", "scram-sha-256")]


def test_each_image_of_other_makers_has_a_stand_in_but_grafana() -> None:
    """Where no registry is reached, `engine.sh stand-ins` gives Debian's program the image's name."""
    node = yaml.safe_load((ROOT / "tests" / "deploy" / "node.yaml").read_text(encoding="utf-8"))
    services = [*SERVICES.values(), *node["services"].values()]
    named = {service["image"] for service in services if "${" not in service["image"]}
    files = (ROOT / "deploy" / "docker" / "stand-ins").glob("*.Dockerfile")
    programs = {file.name.removesuffix(".Dockerfile") for file in files}
    found = {image: [name for name in programs if re.search(rf"\b{name}\b", image)] for image in named}
    assert [image for image, names in found.items() if not names] == ["grafana/grafana:12.1.1"]
    assert sorted(chain.from_iterable(found.values())) == sorted(programs)


def test_the_secrets_that_are_mounted_are_those_that_are_made_and_stay(made: Path) -> None:
    named = {Path(secret["file"]).name for secret in COMPOSE["secrets"].values()}
    assert named == {path.name for path in made.iterdir() if path.is_file()}
    assert made.stat().st_mode & 0o777 == 0o700
    before = {name: (made / name).read_bytes() for name in named}
    assert make(made) == 0
    assert before == {name: (made / name).read_bytes() for name in named}


@pytest.mark.parametrize("name", ["store", "cache", "database"])
def test_what_is_reached_over_tls_has_a_certificate_of_its_name(name: str, made: Path) -> None:
    url = urlsplit((made / f"production-{name}-url").read_text())
    server = SERVICES["database" if name == "database" else f"{name}-production"]
    [file] = [source for source in mounted(server).values() if source.endswith("-certificate.pem")]
    certificate = x509.load_pem_x509_certificate((made / file).read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert url.hostname in names.get_values_for_type(x509.DNSName)


def test_a_lost_url_is_made_again_with_the_password_that_the_store_knows(made: Path) -> None:
    before = (made / "production-store-url").read_text()
    (made / "production-store-url").unlink()
    assert make(made) == 1
    assert (made / "production-store-url").read_text() == before


def test_secrets_that_cannot_be_written_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["--folder", str(tmp_path / "file")]) == 1
    assert "cannot be made" in capsys.readouterr().err


@pytest.mark.parametrize("name", [*OWN, "auth-production", "tools-production", "inference-production"])
def test_its_process_takes_its_settings(
    name: str, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Compose would set, with the files where they are here."""
    service = SERVICES[name]
    for target, source in mounted(service).items():
        (tmp_path / target).write_bytes((made / Path(COMPOSE["secrets"][source]["file"]).name).read_bytes())
    for key, value in service["environment"].items():
        filled = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", str(value))
        monkeypatch.setenv(key, filled.replace("/run/secrets", str(tmp_path)))
    process = name.removesuffix("-production")
    if process == "edge":
        monkeypatch.setenv("PARLEY_EDGE_ADMIN_ADDRESS", "unix:/run/parley/admin.sock")
    if name == "inference":
        monkeypatch.setenv("PARLEY_INFERENCE_MODEL", "/opt/models/parley-demo")  # the image says so
    module, settings = PROCESS_SETTINGS[f"PARLEY_{process.upper()}_"]
    loaded = load(getattr(__import__(module, fromlist=[settings]), settings))
    assert isinstance(loaded, EdgeSettings) or loaded.tls.certificate.is_file()
    if isinstance(loaded, EdgeSettings):
        assert json.dumps(loaded.models) == '{"parley-demo": ["inference:8000"]}'
    if isinstance(loaded, InferenceSettings):
        assert loaded.served_name == "parley-demo"


def test_what_is_watched_beside_it_is_there() -> None:
    files = {name: ROOT / "deploy" / config["file"] for name, config in COMPOSE["configs"].items()}
    assert all(file.is_file() for file in files.values())
    named = {entry["source"] for service in SERVICES.values() for entry in service.get("configs", [])}
    assert named == files.keys()
    dashboards = {file.name for file in (ROOT / "deploy" / "observability" / "dashboards").glob("*.json")}
    assert dashboards == {file.name for file in files.values() if file.parent.name == "dashboards"}
    scraped = yaml.safe_load(files["prometheus"].read_text(encoding="utf-8"))["scrape_configs"]
    targets = {target for job in scraped for config in job["static_configs"] for target in config["targets"]}
    told = {
        f"{name}:{address.rpartition(':')[2]}"
        for name in ("auth", "tools", "inference")
        for key, address in SERVICES[name]["environment"].items()
        if key.endswith("_METRICS_ADDRESS")
    }
    assert targets == told
