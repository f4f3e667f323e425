"""Serves `parley.auth.v1.UserService`."""

from __future__ import annotations

from parley.auth.v1 import user_service_pb2 as pb2
from parley.auth.v1.user_service_pb2_grpc import UserServiceServicer
from services.auth.names import require_printable
from services.auth.password_change import PasswordChange
from services.auth.repeats import Repeat
from services.auth.store.models import User, UserKind
from services.auth.store.users import UserFilter
from services.auth.timestamps import timestamp
from services.auth.updates import etag_of, masked_fields
from services.auth.users import NewUser, UserChanges, Users
from services.rpc.call import current_call, current_principal
from services.rpc.interceptors.around import Context
from services.rpc.listing import Listing
from services.rpc.pages import PageTokens

CHANGEABLE = ("display_name", "roles")
KINDS = {pb2.USER_KIND_PERSON: UserKind.PERSON, pb2.USER_KIND_SERVICE: UserKind.SERVICE}
KIND_VALUES = {kind: value for value, kind in KINDS.items()}
STATES = {pb2.USER_STATE_ACTIVE: True, pb2.USER_STATE_DISABLED: False}


class UserServicer(UserServiceServicer):
    """Translates between the contract and `Users`."""

    def __init__(self, users: Users, password_change: PasswordChange, pages: PageTokens) -> None:
        """Work with these parts.

        Args:
            users: Makes, shows and changes users.
            password_change: Changes the caller's own password.
            pages: Makes and reads page tokens.
        """
        self._users = users
        self._password_change = password_change
        self._pages = pages

    async def CreateUser(self, request: pb2.CreateUserRequest, context: Context) -> pb2.CreateUserResponse:
        """Make a user, or give the one that this request made before."""
        caller = current_principal()
        require_printable("display_name", request.display_name)
        kind = KINDS.get(request.kind, UserKind.PERSON)
        new = NewUser(request.username, request.display_name, kind, request.roles)
        user, password = await self._users.create(caller, new, Repeat.of(caller, request))
        return pb2.CreateUserResponse(user=_message(user), one_time_password=password)

    async def GetUser(self, request: pb2.GetUserRequest, context: Context) -> pb2.GetUserResponse:
        """Give a user."""
        user = await self._users.get(current_principal(), request.user_id)
        return pb2.GetUserResponse(user=_message(user))

    async def ListUsers(self, request: pb2.ListUsersRequest, context: Context) -> pb2.ListUsersResponse:
        """List users, newest first."""
        caller = current_principal()
        listing = Listing(self._pages, request, caller)
        wanted = UserFilter(
            KINDS.get(request.kind), STATES.get(request.state), request.role, request.username_prefix
        )
        found = await self._users.page(caller, wanted, listing.after, listing.fetched)
        users, token = listing.cut(found, lambda user: user.user_id)
        return pb2.ListUsersResponse(users=[_message(user) for user in users], next_page_token=token)

    async def UpdateUser(self, request: pb2.UpdateUserRequest, context: Context) -> pb2.UpdateUserResponse:
        """Change a user."""
        fields = masked_fields(request.update_mask, CHANGEABLE)
        wanted = request.user
        require_printable("user.display_name", wanted.display_name)
        changes = UserChanges(
            wanted.display_name if "display_name" in fields else None,
            wanted.roles if "roles" in fields else None,
        )
        user = await self._users.update(current_principal(), wanted.user_id, changes, wanted.etag)
        return pb2.UpdateUserResponse(user=_message(user))

    async def DisableUser(self, request: pb2.DisableUserRequest, context: Context) -> pb2.DisableUserResponse:
        """Shut a user out."""
        user = await self._users.disable(current_principal(), request.user_id)
        return pb2.DisableUserResponse(user=_message(user))

    async def EnableUser(self, request: pb2.EnableUserRequest, context: Context) -> pb2.EnableUserResponse:
        """Let a user in again."""
        user = await self._users.enable(current_principal(), request.user_id)
        return pb2.EnableUserResponse(user=_message(user))

    async def ResetPassword(
        self, request: pb2.ResetPasswordRequest, context: Context
    ) -> pb2.ResetPasswordResponse:
        """Give a person a new one-time password."""
        password = await self._users.reset_password(current_principal(), request.user_id)
        return pb2.ResetPasswordResponse(one_time_password=password)

    async def ChangePassword(
        self, request: pb2.ChangePasswordRequest, context: Context
    ) -> pb2.ChangePasswordResponse:
        """Change the caller's own password."""
        address = current_call().client_address
        await self._password_change.change(
            current_principal(), request.current_password, request.new_password, address
        )
        return pb2.ChangePasswordResponse()


def _message(user: User) -> pb2.User:
    return pb2.User(
        user_id=user.user_id,
        tenant_id=user.tenant_id,
        username=user.username,
        display_name=user.display_name,
        kind=KIND_VALUES[UserKind(user.kind)],
        roles=user.role_names(),
        create_time=timestamp(user.create_time),
        disable_time=timestamp(user.disable_time),
        must_change_password=user.must_change_password(),
        etag=etag_of(user.version),
    )
