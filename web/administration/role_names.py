"""The names of the roles that a form can offer."""

from __future__ import annotations

from collections.abc import Sequence

from parley.auth.v1.role_service_pb2 import ListRolesRequest
from web.administration.visitor import Visitor

MAX_OFFERED = 100
"""Roles that a form offers; names beyond can be written."""


async def role_names(visitor: Visitor) -> Sequence[str]:
    """Names to offer; none to a person who may not list roles.

    Raises:
        ParleyError: The platform refuses.
    """
    if not visitor.may("auth.roles.read"):
        return ()
    answer = await visitor.administration.list_roles(ListRolesRequest(page_size=MAX_OFFERED))
    return [role.name for role in answer.roles]
