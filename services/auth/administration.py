"""Adds what administrators manage: tenants, users, roles, signing keys."""

from __future__ import annotations

from parley.auth.v1.role_service_pb2_grpc import add_RoleServiceServicer_to_server
from parley.auth.v1.signing_key_service_pb2_grpc import add_SigningKeyServiceServicer_to_server
from parley.auth.v1.tenant_service_pb2_grpc import add_TenantServiceServicer_to_server
from parley.auth.v1.user_service_pb2_grpc import add_UserServiceServicer_to_server
from services.auth.clock import Clock
from services.auth.password_change import PasswordChange
from services.auth.passwords import Passwords
from services.auth.role_servicer import RoleServicer
from services.auth.signing_key_servicer import SigningKeyServicer
from services.auth.signing_keys import SigningKeys
from services.auth.tenant_roles import TenantRoles
from services.auth.tenant_servicer import TenantServicer
from services.auth.tenants import Tenants
from services.auth.throttle import LoginThrottle
from services.auth.user_servicer import UserServicer
from services.auth.users import Users
from services.rpc.pages import PageTokens
from services.rpc.server import RpcServer
from services.sql.database import Database


def add_administration(
    server: RpcServer,
    database: Database,
    passwords: Passwords,
    keys: SigningKeys,
    throttle: LoginThrottle,
    pages: PageTokens,
    clock: Clock,
) -> None:
    """Add the servicers to the server, made of these parts."""
    users = Users(database, passwords, clock)
    change = PasswordChange(database, passwords, throttle, clock)
    server.add(add_UserServiceServicer_to_server, UserServicer(users, change, pages))
    tenants = Tenants(database, passwords, clock)
    server.add(add_TenantServiceServicer_to_server, TenantServicer(tenants, pages))
    server.add(add_RoleServiceServicer_to_server, RoleServicer(TenantRoles(database, clock), pages))
    server.add(add_SigningKeyServiceServicer_to_server, SigningKeyServicer(keys, database))
