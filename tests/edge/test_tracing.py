"""Traces that begin at the edge, with the real Envoy and a real receiver."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
import yaml

from cli.local.preflight import free_port
from deploy.envoy.contract import load_contract
from deploy.envoy.endpoints import EndpointFiles
from deploy.envoy.filters import Scope
from deploy.envoy.lint import lint_file
from deploy.envoy.render import bootstrap, write
from deploy.envoy.tls import SecretFiles
from tests.conftest import TokenMaker
from tests.deploy.queries import queries, selectors
from tests.edge.conftest import Identity, Mesh, edge_settings
from tests.edge.front import Front, front
from tests.rpc.collector import Collector, Heard, collecting

slow = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]
STRANGER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
SECRET = "tr0ub4dor"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def collector() -> AsyncIterator[Collector]:
    async with collecting() as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def traced_edge(
    mesh: Mesh, identity: Identity, collector: Collector, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Front]:
    folder = tmp_path_factory.mktemp("traced-edge")
    settings = edge_settings(
        identity("edge"),
        folder,
        listen_address=f"127.0.0.1:{free_port()}",
        admin_address=f"127.0.0.1:{free_port()}",
        otlp_endpoint=collector.endpoint,
        trace_ratio=1,
        **mesh.upstreams(),
    )
    async with front(settings, folder) as running:
        yield running


class TestWithEnvoy:
    pytestmark = slow

    async def test_a_trace_begins_at_the_edge_whatever_the_caller_says(
        self, traced_edge: Front, mesh: Mesh, tokens: TokenMaker, collector: Collector
    ) -> None:
        headers = {**dict(tokens.metadata("*")), "traceparent": STRANGER}
        async with traced_edge.http() as client:
            answer = await client.get("/api/v1/me", headers=headers)
        assert answer.status_code == 200
        request_id = answer.headers["x-request-id"]
        heard = await self.span_of(collector, request_id)
        _, trace_id, parent_id, flags = str(mesh.seen["auth"].header("traceparent")).split("-")
        assert (heard.service, heard.span.trace_id.hex(), flags) == ("parley-edge", trace_id, "01")
        assert heard.span.span_id.hex() == parent_id
        assert trace_id != STRANGER.split("-")[1]
        assert heard.attributes["url.path"] == "/api/v1/me"
        assert (await traced_edge.logged(request_id))["trace_id"] == trace_id

    async def test_a_span_tells_no_query(
        self, traced_edge: Front, tokens: TokenMaker, collector: Collector
    ) -> None:
        async with traced_edge.http() as client:
            answer = await client.get(
                "/api/v1/me", params={"token": SECRET}, headers=dict(tokens.metadata("*"))
            )
        heard = await self.span_of(collector, answer.headers["x-request-id"])
        assert heard.attributes["url.path"] == "/api/v1/me"
        assert heard.attributes["http.status_code"] == "400"
        assert SECRET.encode() not in collector.raw

    async def test_rules_and_dashboards_ask_the_edge_for_what_it_tells(self, traced_edge: Front) -> None:
        async with httpx.AsyncClient(base_url=f"http://{traced_edge.settings.admin_address}") as admin:
            told = (await admin.get("/stats/prometheus")).text
        names = set(re.findall(r"^# TYPE (\w+)", told, re.MULTILINE))
        asked = {selector.name for query in queries().values() for selector in selectors(query)}
        wanted = {name for name in asked if name.startswith("envoy_")}
        assert wanted
        assert wanted <= names

    @staticmethod
    async def span_of(collector: Collector, request_id: str) -> Heard:
        return await collector.find(lambda each: each.attributes.get("guid:x-request-id") == request_id)


def rendered(files: Any, folder: Path, **told: Any) -> str:
    """The configuration of an edge that is told so."""
    scope = Scope(edge_settings(files, folder, **told), load_contract(), folder / "descriptors")
    return yaml.safe_dump(bootstrap(scope, SecretFiles(folder), EndpointFiles(folder)))


def test_without_a_collector_nothing_is_traced(identity: Identity, tmp_path: Path) -> None:
    text = rendered(identity("edge"), tmp_path)
    assert "opentelemetry" not in text
    assert "remove: traceparent" in text


def test_callers_that_are_believed_keep_their_trace(identity: Identity, tmp_path: Path) -> None:
    assert "remove: traceparent" not in rendered(identity("edge"), tmp_path, trace_callers=True)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_edge_that_traces_has_no_faults(identity: Identity, tmp_path: Path, scheme: str) -> None:
    files = identity("edge")
    told = {"otlp_endpoint": f"{scheme}://collector.example:4317", "otlp_authority_path": files.authority}
    settings = edge_settings(files, tmp_path, **told)
    write(settings, load_contract(), tmp_path / "edge.yaml")
    assert lint_file(tmp_path / "edge.yaml") == []


def test_a_collector_behind_tls_must_show_its_name(identity: Identity, tmp_path: Path) -> None:
    files, endpoint = identity("edge"), "https://collector.example:4317"
    text = rendered(files, tmp_path, otlp_endpoint=endpoint, otlp_authority_path=files.authority)
    assert "exact: collector.example" in text
    assert str(files.authority) in text
    with pytest.raises(ValueError, match="otlp_authority_path must be set"):
        rendered(files, tmp_path, otlp_endpoint=endpoint)
