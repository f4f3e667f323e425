"""The guide's pages that are made from the contracts say what the contracts say."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.envoy.contract import load_contract
from docs.generate import callable_methods, main, pages, settle
from services.auth.descriptors import CONTRACTS
from services.rpc.policies import access_table


def test_the_committed_pages_are_what_the_code_gives(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"]) == 0, capsys.readouterr().err


def test_every_method_has_its_row_on_the_page_of_permissions() -> None:
    services = [
        service.full_name
        for contract in CONTRACTS
        for service in contract.DESCRIPTOR.services_by_name.values()
    ]
    ours = {path.removeprefix("/").replace("/", ".") for path in access_table(services)}
    passed_on = {f"{method.service}.{method.name}" for method in load_contract().methods}
    # Passed on so that clients which try it first learn from auth that only the older one is served.
    at_the_edge = passed_on - {"grpc.reflection.v1.ServerReflection.ServerReflectionInfo"}
    shown = {name for edge in (True, False) for name, _ in callable_methods(served_at_edge=edge)}
    assert {name for name, _ in callable_methods(served_at_edge=True)} == at_the_edge
    assert shown == ours | at_the_edge
    page = pages()["permissions.md"]
    assert [name for name in sorted(shown) if f"`{name}`" not in page] == []


def test_a_page_that_differs_is_found(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("old")
    assert not settle(tmp_path / "page.md", "new", check=True)
    assert (tmp_path / "page.md").read_text() == "old"
    assert settle(tmp_path / "page.md", "new", check=False)
    assert settle(tmp_path / "page.md", "new", check=True)
