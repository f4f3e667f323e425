"""What the database holds of conversations."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, LargeBinary, MetaData, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from ulid import ULID

from services.sql.columns import NAMES, UtcTime

ULID_LENGTH = 26
TITLE_LENGTH = 200
MODEL_LENGTH = 256


class Record(DeclarativeBase):
    """A row."""

    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map = {datetime: UtcTime, bytes: LargeBinary}  # noqa: RUF012 - read by SQLAlchemy


class StoredConversation(Record):
    """A conversation of one user.

    Attributes:
        change_id: A ULID of its last change: conversations are listed by it, and
            it tells the time.
        bytes: Of its messages' texts.
        hold: Names the run that is adding to it, and until when it may.
    """

    __tablename__ = "conversations"
    __table_args__ = (Index(None, "tenant_id", "user_id", "change_id"),)

    conversation_id: Mapped[str] = mapped_column(String(ULID_LENGTH), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(ULID_LENGTH))
    user_id: Mapped[str] = mapped_column(String(ULID_LENGTH))
    change_id: Mapped[str] = mapped_column(String(ULID_LENGTH))
    title: Mapped[str] = mapped_column(String(TITLE_LENGTH))
    folded_title: Mapped[str] = mapped_column(Text)
    model: Mapped[str] = mapped_column(String(MODEL_LENGTH), default="")
    message_count: Mapped[int] = mapped_column(default=0)
    bytes: Mapped[int] = mapped_column(default=0)
    origin_conversation_id: Mapped[str] = mapped_column(String(ULID_LENGTH), default="")
    origin_message_id: Mapped[str] = mapped_column(String(ULID_LENGTH), default="")
    hold: Mapped[str] = mapped_column(String(ULID_LENGTH), default="")
    hold_until: Mapped[datetime | None]
    create_time: Mapped[datetime]

    @property
    def update_time(self) -> datetime:
        """When it was changed last."""
        return ULID.from_str(self.change_id).datetime

    def changed(self) -> None:
        """Note that it changes now."""
        self.change_id = str(ULID())

    def call(self, title: str) -> None:
        """Give it a title."""
        self.title, self.folded_title = title, title.casefold()


class StoredMessage(Record):
    """A message of a conversation.

    Attributes:
        position: Its place in the conversation, counted from 0.
        body: The `parley.inference.v1.Message`.
        folded_text: What is searched: its text without the difference of cases.
    """

    __tablename__ = "messages"

    conversation_id: Mapped[str] = mapped_column(
        ForeignKey("conversations.conversation_id", ondelete="CASCADE"), primary_key=True
    )
    position: Mapped[int] = mapped_column(primary_key=True)
    message_id: Mapped[str] = mapped_column(String(ULID_LENGTH), unique=True)
    body: Mapped[bytes]
    folded_text: Mapped[str] = mapped_column(Text)
    run_id: Mapped[str] = mapped_column(String(ULID_LENGTH), default="")
    model: Mapped[str] = mapped_column(String(MODEL_LENGTH), default="")
    create_time: Mapped[datetime]
