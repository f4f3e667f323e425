"""Who looks at the administration, and what they may do there."""

from __future__ import annotations

from dataclasses import dataclass

from parley_client.administration import Administration
from parley_client.client import Client
from services.rpc.principal import permits


@dataclass(frozen=True)
class Visitor:
    """A person in front of the page.

    Attributes:
        client: Acts for this person.
        user_id: The person's id.
        tenant_id: The id of the tenant that the person belongs to.
        permissions: What the person may do; the platform checks it again.
    """

    client: Client
    user_id: str
    tenant_id: str
    permissions: tuple[str, ...]

    @property
    def administration(self) -> Administration:
        """Administers for this person."""
        return self.client.administration

    def may(self, permission: str) -> bool:
        """Whether the person holds a permission."""
        return permits(self.permissions, permission)
