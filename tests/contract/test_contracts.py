"""The contracts: linted, compatible with the last release, and complete in what they promise."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import ServiceDescriptor

from protos.generate import GENERATED, PROTOS, compile_image, main, report_drift
from services.auth.descriptors import CONTRACTS
from services.rpc.policies import access_table

BUF = Path(sys.executable).parent / "buf"
CONFIGURATION = PROTOS / "buf.yaml"
BASELINE = PROTOS / "baseline.binpb"
SERVICES = [service for module in CONTRACTS for service in module.DESCRIPTOR.services_by_name.values()]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("image")
    compile_image(folder, folder / "image.binpb")
    return folder / "image.binpb"


@pytest.fixture(scope="module")
def files(image: Path) -> list[descriptor_pb2.FileDescriptorProto]:
    """Our own contracts, with their comments."""
    found = descriptor_pb2.FileDescriptorSet.FromString(image.read_bytes()).file
    return [file for file in found if file.package.startswith("parley.")]


def buf(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [str(BUF), *(str(argument) for argument in arguments), "--config", str(CONFIGURATION)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_committed_stubs_are_what_the_contracts_give() -> None:
    assert main(["--check"]) == 0


def test_drift_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "parley").mkdir()
    (tmp_path / "parley" / "extra_pb2.py").write_text("")
    assert report_drift(GENERATED, tmp_path) == 1
    assert "gen/parley/extra_pb2.py" in capsys.readouterr().err


def test_buf_finds_nothing_to_complain_about(image: Path) -> None:
    result = buf("lint", image)
    assert (result.returncode, result.stdout) == (0, "")


def test_nothing_breaks_clients_of_the_last_release(image: Path) -> None:
    result = buf("breaking", image, "--against", BASELINE)
    assert (result.returncode, result.stdout) == (0, "")


def test_a_removed_field_is_found_to_break_clients(image: Path, tmp_path: Path) -> None:
    broken = descriptor_pb2.FileDescriptorSet.FromString(image.read_bytes())
    file = next(file for file in broken.file if file.name == "parley/inference/v1/chat.proto")
    del file.message_type[0].field[0]
    (tmp_path / "broken.binpb").write_bytes(broken.SerializeToString())
    result = buf("breaking", tmp_path / "broken.binpb", "--against", BASELINE)
    assert result.returncode != 0
    assert "model" in result.stdout


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.full_name)
def test_every_method_declares_who_may_call_it(service: ServiceDescriptor) -> None:
    assert len(access_table([service.full_name])) == len(service.methods)


def test_every_field_method_and_value_is_explained(files: list[descriptor_pb2.FileDescriptorProto]) -> None:
    assert [name for file in files for name in unexplained(file)] == []


def unexplained(file: descriptor_pb2.FileDescriptorProto) -> Iterator[str]:
    """Names of what has no comment in front of it."""
    commented = {
        tuple(place.path) for place in file.source_code_info.location if place.leading_comments.strip()
    }
    for path, name in named_elements(file):
        if path not in commented:
            yield f"{file.name}: {name}"


def named_elements(file: descriptor_pb2.FileDescriptorProto) -> Iterator[tuple[tuple[int, ...], str]]:
    """Path (as in `SourceCodeInfo.Location`) and name of everything that owes an explanation."""
    for index, message in enumerate(file.message_type):
        yield (4, index), message.name
        for number, field in enumerate(message.field):
            yield (4, index, 2, number), f"{message.name}.{field.name}"
    for index, enum in enumerate(file.enum_type):
        yield (5, index), enum.name
        for number, value in enumerate(enum.value):
            yield (5, index, 2, number), value.name
    for index, service in enumerate(file.service):
        yield (6, index), service.name
        for number, method in enumerate(service.method):
            yield (6, index, 2, number), f"{service.name}.{method.name}"


def test_secrets_are_marked_for_redaction() -> None:
    pool = descriptor_pool.Default()
    secrets = [
        "parley.auth.v1.LoginRequest.password",
        "parley.auth.v1.RefreshRequest.refresh_token",
        "parley.auth.v1.TokenPair.access_token",
        "parley.auth.v1.TokenPair.refresh_token",
        "parley.auth.v1.CreateKeyResponse.secret",
        "parley.auth.v1.RotateKeyResponse.secret",
        "parley.auth.v1.ChangePasswordRequest.current_password",
        "parley.auth.v1.ChangePasswordRequest.new_password",
        "parley.auth.v1.CreateTenantResponse.one_time_password",
        "parley.auth.v1.CreateUserResponse.one_time_password",
        "parley.auth.v1.ResetPasswordResponse.one_time_password",
        "parley.auth.v1.ExchangeExternalTokenRequest.subject_token",
        "parley.auth.v1.ExchangeTokenRequest.subject_token",
        "parley.auth.v1.ExchangeTokenResponse.access_token",
    ]
    assert all(pool.FindFieldByName(name).GetOptions().debug_redact for name in secrets)
