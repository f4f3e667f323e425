"""A room of the administration: one noun's part of the page, for one tab of one login.

A room holds what is on show and which form is open. The page sends what people
do as an action with fields; the room does it and draws itself anew, whole.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import grpc
from markupsafe import Markup

from parley_client.errors import ParleyError
from web.administration.drawing import draw
from web.administration.fields import Fields
from web.administration.visitor import Visitor
from web.advice import alert

Action = Callable[[Fields], Awaitable[None]]


@dataclass(frozen=True)
class Notice:
    """What came of an action.

    Attributes:
        text: For people.
        secret: Shown in the one answer that follows, and then forgotten.
        meaning: What the secret is.
    """

    text: str
    secret: str = field(default="", repr=False)
    meaning: str = ""


@dataclass
class Form:
    """A form that stands open. Its name is that of the action that it asks for.

    Attributes:
        values: What stands in its controls at first, by their names.
        sent: Fields that were refused, which stand there instead until they are right.
    """

    name: str
    values: Mapping[str, Any] = field(default_factory=dict)
    sent: Fields | None = None

    def text(self, name: str) -> str:
        """What stands in a control."""
        return str(self.values.get(name, "")) if self.sent is None else self.sent.text(name)

    def has(self, name: str, choice: str) -> bool:
        """Whether a choice of a control of many is made."""
        return choice in (self.values.get(name, ()) if self.sent is None else self.sent.all(name))


class Room(ABC):
    """One noun. Subclasses say what is on show and what can be done."""

    name: ClassVar[str]
    """Of its template and of its tab."""
    label: ClassVar[str]
    """What the tab is called."""
    permission: ClassVar[str]
    """What it takes to come in; empty: a login."""

    def __init__(self, visitor: Visitor) -> None:
        """A room with nothing on show yet."""
        self._visitor = visitor
        self._administration = visitor.administration
        self._acting = asyncio.Lock()
        self._drawn = 0
        self.form: Form | None = None
        self.notice: Notice | None = None
        self.trouble: ParleyError | None = None
        """What went wrong in the last action; None when nothing did."""

    @classmethod
    def lets_in(cls, visitor: Visitor) -> bool:
        """Whether a person may come in."""
        return not cls.permission or visitor.may(cls.permission)

    async def enter(self) -> str:
        """What is on show now, without what was left open."""
        return await self.act("cancel", Fields())

    async def act(self, name: str, fields: Fields) -> str:
        """Do what a person asked for; gives what is on show then."""
        async with self._acting:
            self.notice = self.trouble = None
            await self._try(self._do, name, fields)
            await self._try(self.load)
            return self._draw()

    async def _try(self, attempt: Callable[..., Awaitable[None]], *arguments: Any) -> None:
        """Keep what goes wrong, the first trouble before others."""
        try:
            await attempt(*arguments)
        except ParleyError as error:
            self.trouble = self.trouble or error

    async def _do(self, name: str, fields: Fields) -> None:
        action = {"cancel": self._cancel, **self.actions()}.get(name)
        if action is None:
            raise ParleyError(grpc.StatusCode.NOT_FOUND, "The page cannot do that.")
        form = self.form if self.form is not None and self.form.name == name else None
        if form is None:
            self.form = None
        else:
            form.sent = fields
        await action(fields)
        if self.form is form:
            self.form = None

    async def _cancel(self, _fields: Fields) -> None:
        self.form = None

    def open_form(self, name: str, /, **values: Any) -> None:
        """Open a form in place of the one that may stand open."""
        self.form = Form(name, values)

    @abstractmethod
    def actions(self) -> Mapping[str, Action]:
        """What can be done here, by name. The platform checks each again."""

    @abstractmethod
    async def load(self) -> None:
        """Ask for what is on show.

        Raises:
            ParleyError: The platform refuses.
        """

    @abstractmethod
    def shown(self) -> Mapping[str, Any]:
        """What the template is given beside what every room has."""

    def _draw(self) -> str:
        self._drawn += 1
        return draw(
            f"{self.name}.html",
            # The page notices an answer by its difference from the one before.
            drawn=self._drawn,
            may=self._visitor.may,
            form=self.form,
            notice=self.notice,
            alert=Markup(alert(self.trouble)) if self.trouble else "",  # noqa: S704 # nosec B704  # escaped in there
            **self.shown(),
        )
