"""What update methods share: field masks (AIP-134) and etags (AIP-154)."""

from __future__ import annotations

from collections.abc import Collection

from google.protobuf.field_mask_pb2 import FieldMask

from services.auth.errors import EtagMismatch
from services.rpc.errors import FieldViolation, InvalidRequest


def masked_fields(mask: FieldMask, changeable: Collection[str]) -> frozenset[str]:
    """The fields to change.

    Args:
        mask: What the request names.
        changeable: What may be named.

    Raises:
        InvalidRequest: It names nothing, or something that cannot be changed.
    """
    paths = frozenset(mask.paths)
    if paths and paths <= set(changeable):
        return paths
    allowed = ", ".join(sorted(changeable))
    violation = FieldViolation("update_mask", f"must name one or more of {allowed}, and nothing else")
    raise InvalidRequest(f"update_mask: {violation.description}", violations=[violation])


def etag_of(version: int) -> str:
    """The etag of this version of a resource."""
    return f'"{version}"'


def require_current(etag: str, version: int) -> None:
    """Refuse an update that is based on an earlier state.

    Raises:
        EtagMismatch: It is; an update without an etag is based on whatever there is.
    """
    if etag and etag != etag_of(version):
        raise EtagMismatch(etag_of(version))
