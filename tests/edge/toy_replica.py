"""A small inference replica as a process: answers with its name, and leaves as a real one does.

Usage: python -m tests.edge.toy_replica NAME ADDRESS KEYS CERTIFICATE PRIVATE_KEY AUTHORITY
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

from joserfc.jwk import KeySet

from parley.inference.v1 import chat_pb2, converse_pb2, inference_service_pb2_grpc
from services.rpc.server import RpcServer, run
from services.rpc.settings import ServiceSettings
from services.rpc.verifier import JwksVerifier


class Named(inference_service_pb2_grpc.InferenceServiceServicer):
    """Answers each question with the replica's name."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def Chat(self, request: Any, context: Any) -> AsyncIterator[chat_pb2.ChatResponse]:
        yield chat_pb2.ChatResponse(event={"sequence": 1, "started": {"model": self._name}})
        yield chat_pb2.ChatResponse(event={"finished": {"reason": chat_pb2.FINISH_REASON_STOP}})

    async def Converse(
        self, requests: AsyncIterator[Any], context: Any
    ) -> AsyncIterator[converse_pb2.ConverseResponse]:
        async for _ in requests:
            yield converse_pb2.ConverseResponse(event={"started": {"model": self._name}})


async def main(name: str, address: str, keys: KeySet, *files: str) -> None:
    """Serve until told to stop or to leave."""

    async def fetch() -> KeySet:
        return keys

    certificate, private_key, authority = map(Path, files)
    settings = ServiceSettings(
        listen_address=address,
        tls_certificate_path=certificate,
        tls_private_key_path=private_key,
        tls_authority_path=authority,
        drain_seconds=0,
    )
    server = RpcServer(settings, JwksVerifier(fetch, issuer="parley", audience="parley"))
    server.add(inference_service_pb2_grpc.add_InferenceServiceServicer_to_server, Named(name))
    await server.start()
    await server.set_serving(True)
    await server.serve_until_stopped()


if __name__ == "__main__":
    name, address, keys, *files = sys.argv[1:]
    known = KeySet.import_key_set(json.loads(Path(keys).read_text()))
    run(partial(main, name, address, known, *files))
