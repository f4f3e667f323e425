"""Whether a process of the local stack answers."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from redis.asyncio import Redis
from redis.exceptions import RedisError

from parley_client.channel import open_channel as open_edge_channel
from services.rpc.channel import open_channel
from services.rpc.tls import TlsFiles

Probe = Callable[[], Awaitable[bool]]

PROBE_TIMEOUT_SECONDS = 2.0
SERVING = health_pb2.HealthCheckResponse.SERVING
HTTP_HEAD_BYTES = 64


def store_answers(url: str) -> Probe:
    """Whether the store takes the password and answers PING."""

    async def probe() -> bool:
        store = Redis.from_url(url, socket_timeout=PROBE_TIMEOUT_SECONDS)
        try:
            return bool(await store.ping())
        except RedisError:
            return False
        finally:
            await store.aclose()

    return probe


def service_answers(
    address: str,
    tls: TlsFiles,
    process: str,
    service: str,
    trust_domain: str,
    *,
    any_answer: bool = False,
) -> Probe:
    """Whether a service of the mesh says SERVING, or with `any_answer` anything at all."""

    async def probe() -> bool:
        channel = open_channel(address, tls=tls, service=process, trust_domain=trust_domain)
        try:
            stub = health_pb2_grpc.HealthStub(channel)
            answer = await stub.Check(
                health_pb2.HealthCheckRequest(service=service), timeout=PROBE_TIMEOUT_SECONDS
            )
            return any_answer or bool(answer.status == SERVING)
        except grpc.aio.AioRpcError:
            return False
        finally:
            await channel.close()

    return probe


def page_answers(address: str, tls: TlsFiles, trust_domain: str) -> Probe:
    """Whether the page's server answers HTTP over mutual TLS without a server error.

    It answers the edge alone, whose files these must be.
    """

    async def probe() -> bool:
        reader, writer = await _connect_to_page(address, tls, trust_domain)
        try:
            writer.write(f"GET / HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n".encode())
            head = await reader.readline()
            return head[:HTTP_HEAD_BYTES].startswith((b"HTTP/1.1 2", b"HTTP/1.1 3", b"HTTP/1.1 4"))
        finally:
            writer.close()

    return probe


def page_shakes_hands(address: str, tls: TlsFiles, trust_domain: str) -> Probe:
    """Whether the page's server shows its identity: all that it does for its neighbours."""

    async def probe() -> bool:
        async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
            _, writer = await _connect_to_page(address, tls, trust_domain)
        writer.close()
        return True

    return probe


async def _connect_to_page(
    address: str, tls: TlsFiles, trust_domain: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection over mutual TLS to what shows the page's certificate."""
    host, _, port = address.rpartition(":")
    context = ssl.create_default_context(cafile=tls.authority)
    context.load_cert_chain(tls.certificate, tls.private_key)
    return await asyncio.open_connection(
        host.strip("[]"), int(port), ssl=context, server_hostname=f"web.{trust_domain}"
    )


def edge_answers(address: str, authority: Path | None, service: str) -> Probe:
    """Whether a call through the edge learns that a service is SERVING."""

    async def probe() -> bool:
        return await edge_health(address, authority, service) == "SERVING"

    return probe


async def edge_health(address: str, authority: Path | None, service: str) -> str:
    """What the edge's aggregated health says of a service; the status code where it says nothing."""
    async with open_edge_channel(address, authority=authority) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service=service)
        try:
            answer = await stub.Check(request, timeout=PROBE_TIMEOUT_SECONDS)
        except grpc.aio.AioRpcError as error:
            return error.code().name
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def local_address(address: str) -> str:
    """Where this machine reaches a listener, whichever addresses it listens on."""
    host, _, port = address.rpartition(":")
    return f"127.0.0.1:{port}" if host in ("0.0.0.0", "[::]", "") else address  # noqa: S104 # nosec B104 - compared, not bound
