"""Every room of the administration, in the order of the tabs."""

from __future__ import annotations

from web.administration.audit import AuditRoom
from web.administration.keys import KeysRoom
from web.administration.quotas import QuotasRoom
from web.administration.roles import RolesRoom
from web.administration.rollouts import RolloutsRoom
from web.administration.room import Room
from web.administration.status import StatusRoom
from web.administration.usage import UsageRoom
from web.administration.users import UsersRoom

ROOMS: tuple[type[Room], ...] = (
    UsageRoom,
    KeysRoom,
    UsersRoom,
    RolesRoom,
    QuotasRoom,
    RolloutsRoom,
    StatusRoom,
    AuditRoom,
)
