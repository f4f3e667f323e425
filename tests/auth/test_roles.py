"""Roles, and the arithmetic of permissions."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.policy.v1 import policy_pb2
from services.auth.descriptors import CONTRACTS
from services.auth.roles import BUILT_IN, first_beyond, intersection, permissions_of
from services.rpc.principal import permits

WORDS = st.sampled_from(["tools", "math", "file", "chat"])
PERMISSIONS = st.lists(WORDS, min_size=1, max_size=3).map(".".join)
ADMINS_OWN = re.compile(r"auth\..*\.write$")
GRANTS = st.one_of(PERMISSIONS, PERMISSIONS.map(lambda name: f"{name}.*"), st.just("*"))


@given(st.frozensets(GRANTS, max_size=4), st.frozensets(GRANTS, max_size=4), PERMISSIONS)
def test_the_intersection_permits_exactly_what_both_permit(
    one: frozenset[str], other: frozenset[str], permission: str
) -> None:
    assert permits(intersection(one, other), permission) == (
        permits(one, permission) and permits(other, permission)
    )


@given(st.frozensets(GRANTS, max_size=4), st.frozensets(GRANTS, max_size=4), PERMISSIONS)
def test_scopes_within_the_grants_permit_nothing_beyond_them(
    scopes: frozenset[str], granted: frozenset[str], permission: str
) -> None:
    if first_beyond(scopes, granted) is None and permits(scopes, permission):
        assert permits(granted, permission)


@pytest.mark.parametrize(
    ("scopes", "granted", "beyond"),
    [
        (["tools.math.*"], ["tools.*"], None),
        (["tools.*"], ["tools.math.*"], "tools.*"),
        (["*"], ["tools.*", "inference.*"], "*"),
        (["b", "a"], [], "a"),
        (["tools.math.calculator"], ["tools.mat"], "tools.math.calculator"),
        ([], [], None),
    ],
)
def test_the_first_scope_beyond_is_named(scopes: list[str], granted: list[str], beyond: str | None) -> None:
    assert first_beyond(scopes, granted) == beyond


def test_an_unknown_role_grants_nothing() -> None:
    assert permissions_of(["no-such-role"]) == frozenset()


def test_roles_add_up() -> None:
    assert permissions_of(["viewer", "user"]) == BUILT_IN["viewer"] | BUILT_IN["user"]


def test_every_method_that_changes_no_identity_is_open_to_some_role_beside_admin() -> None:
    demanded = {
        method.GetOptions().Extensions[policy_pb2.method].permission
        for contract in CONTRACTS
        for service in contract.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    } - {""}
    others = permissions_of(set(BUILT_IN) - {"admin"})
    assert demanded
    assert [
        name for name in sorted(demanded) if not permits(others, name) and not ADMINS_OWN.match(name)
    ] == []


def test_a_viewer_changes_nothing() -> None:
    for permission in ("auth.keys", "auth.users.write", "inference.chat", "tools.execute"):
        assert not permits(BUILT_IN["viewer"], permission)


def test_an_operator_reads_identities_and_writes_none() -> None:
    for area in ("tenants", "users", "roles", "quotas"):
        assert permits(BUILT_IN["operator"], f"auth.{area}.read")
        assert not permits(BUILT_IN["operator"], f"auth.{area}.write")
