"""A record's body: the one text of an event that its hash covers."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from google.protobuf import json_format

from parley.auth.v1 import audit_pb2

GENESIS = b"parley audit chain\n"


@dataclass(frozen=True)
class Body:
    """What a body says.

    Attributes:
        sequence: The record's place.
        service: Who told of the event.
        event: The event.
    """

    sequence: int
    service: str
    event: audit_pb2.AuditEvent

    def text(self) -> str:
        """As JSON with sorted keys and without white space: one text for one event."""
        event = json_format.MessageToDict(self.event, preserving_proto_field_name=True)
        fields = {**event, "sequence": self.sequence, "service": self.service}
        return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def parse(cls, text: str) -> Body:
        """Read a body.

        Raises:
            ValueError: It is none.
        """
        try:
            fields: dict[str, Any] = json.loads(text)
            sequence, service = int(fields.pop("sequence")), str(fields.pop("service"))
            # A newer program may have told more.
            event = json_format.ParseDict(fields, audit_pb2.AuditEvent(), ignore_unknown_fields=True)
        except (
            json_format.ParseError,
            AttributeError,
            LookupError,
            TypeError,
            ValueError,
            RecursionError,
        ) as error:
            raise ValueError("not a body of an audit record") from error
        return cls(sequence, service, event)

    def columns(self) -> dict[str, Any]:
        """What the database finds the record by."""
        event = self.event
        return {
            "event_id": event.event_id,
            "event_time": event_time(event),
            "tenant_id": _storable(event.tenant_id),
            "user_id": _storable(event.user_id),
            "key_id": _storable(event.key_id),
            "request_id": _storable(event.request_id),
            "method": _storable(event.method),
            "decision": int(event.decision),
        }


def event_time(event: audit_pb2.AuditEvent) -> datetime:
    """When it happened, to the microsecond."""
    return event.time.ToDatetime(UTC)


def genesis(chain_id: str) -> bytes:
    """What the first record of a chain follows."""
    return hashlib.sha256(GENESIS + chain_id.encode()).digest()


def link(previous_hash: bytes, body: str) -> bytes:
    """The hash of a record with this body that follows the one with that hash."""
    return hashlib.sha256(previous_hash + body.encode()).digest()


def _storable(text: str) -> str:
    """PostgreSQL's text cannot hold NUL."""
    return text.replace("\0", "")
