"""The tables. A change here is a new step in `migrations/versions` as well; a test holds the two together."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, Double, ForeignKey, Index, Integer, MetaData, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

_NAMES = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=_NAMES)


class PluginRow(Base):
    """A plugin that came through the API. `uid` tells it from an earlier one of the name; `wanted`: its newest revision."""

    __tablename__ = "plugins"

    name: Mapped[str] = mapped_column(String(63), primary_key=True)
    uid: Mapped[str] = mapped_column(String(16))
    wanted: Mapped[int] = mapped_column(Integer)


class RevisionRow(Base):
    """One revision of a plugin: its manifest, the digest of its code ("" with an image), who sent it, when (RFC 3339) and how."""

    __tablename__ = "revisions"

    plugin: Mapped[str] = mapped_column(ForeignKey("plugins.name", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    manifest: Mapped[dict[str, Any]] = mapped_column(JSON)
    digest: Mapped[str] = mapped_column(String(64))
    by: Mapped[str] = mapped_column(String(255))
    at: Mapped[str] = mapped_column(String(32))
    how: Mapped[str] = mapped_column(String(16))
    note: Mapped[str] = mapped_column(Text)
    request: Mapped[str] = mapped_column(String(64))


class AnswerRow(Base):
    """An order that came with an Idempotency-Key and was carried out; and, once it was given, its answer (`body` is not null)."""

    __tablename__ = "answers"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    at: Mapped[float] = mapped_column(Double, index=True)  # seconds since 1970
    fingerprint: Mapped[str] = mapped_column(String(64))
    plugin: Mapped[str] = mapped_column(String(63))
    status: Mapped[int] = mapped_column(Integer)
    headers: Mapped[dict[str, str]] = mapped_column(JSON)
    body: Mapped[str | None] = mapped_column(Text)


class EventRow(Base):
    """Something that happened. Numbers go up by one; the newest row is never removed, so that none is given twice."""

    __tablename__ = "events"
    __table_args__ = (Index("ix_events_plugin_number", "plugin", "number"),)

    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    at: Mapped[float] = mapped_column(Double)  # seconds since 1970
    kind: Mapped[str] = mapped_column(String(64))
    plugin: Mapped[str] = mapped_column(String(320))  # or the folder that is refused, or ""
    told: Mapped[dict[str, Any]] = mapped_column(JSON)
