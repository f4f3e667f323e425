"""Classes of tenants, by which metrics tell callers apart: few, and an operator names them.

Tenants themselves are no label: there may be any number of them, and a label never goes away.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, StringConstraints

DEFAULT = "default"
"""The class of a tenant that has no other."""
NOBODY = "none"
"""In place of a class where a call has no caller: probes, and those whose token was not taken."""
MOST = 16


def _few(classes: dict[str, str]) -> dict[str, str]:
    """Accept so many that metrics stay small, and none that means something else."""
    if len({*classes.values()}) > MOST:
        raise ValueError(f"must name {MOST} classes at most")
    if NOBODY in classes.values():
        raise ValueError(f"{NOBODY} is the class of calls without a caller")
    return classes


TenantId = Annotated[str, StringConstraints(pattern=r"^[0-9A-HJKMNP-TV-Z]{26}$")]
ClassName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
TenantClasses = Annotated[dict[TenantId, ClassName], AfterValidator(_few)]


def class_of(tenant_id: str, classes: Mapping[str, str]) -> str:
    """The class of a tenant."""
    return classes.get(tenant_id, DEFAULT)
