"""The tables of tasks, of their runs, and of calls that are answered later. Times are seconds since 1970."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, Double, Integer, LargeBinary, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from integrations.database.tables import Base


class TaskRow(Base):
    """One task and whose turn it is: see `integrations.tasks.turn`. `run`: the number of the one under way, or of the last."""

    __tablename__ = "tasks"

    id: Mapped[str] = mapped_column(String(160), primary_key=True)
    times: Mapped[str] = mapped_column(String(255))
    paused: Mapped[bool]
    due: Mapped[float] = mapped_column(Double)
    ready: Mapped[float] = mapped_column(Double, index=True)
    attempts: Mapped[int] = mapped_column(Integer)
    interrupted: Mapped[int] = mapped_column(Integer)
    holder: Mapped[str] = mapped_column(String(128))
    held_until: Mapped[float] = mapped_column(Double)
    by: Mapped[str] = mapped_column(String(255))
    run: Mapped[int] = mapped_column(Integer)


class RunRow(Base):
    """One run of a task. `by`: who asked for it, "" the clock; `output`, `detail`: bounded text; `ended` null while it runs."""

    __tablename__ = "task_runs"

    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    task: Mapped[str] = mapped_column(String(160), index=True)
    due: Mapped[float] = mapped_column(Double)
    started: Mapped[float] = mapped_column(Double)
    ended: Mapped[float | None] = mapped_column(Double, index=True)
    attempt: Mapped[int] = mapped_column(Integer)
    by: Mapped[str] = mapped_column(String(255))
    holder: Mapped[str] = mapped_column(String(128))
    state: Mapped[str] = mapped_column(String(16))
    output: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(String(64))
    detail: Mapped[str] = mapped_column(Text)


class CallRow(Base):
    """A call that is answered later: what is sent, how far it is, and what came of it. See `integrations.tasks.calls`."""

    __tablename__ = "calls"
    __table_args__ = (UniqueConstraint("caller", "key"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    caller: Mapped[str] = mapped_column(String(255))
    key: Mapped[str] = mapped_column(String(255))
    fingerprint: Mapped[str] = mapped_column(String(64))
    plugin: Mapped[str] = mapped_column(String(63), index=True)
    action: Mapped[str] = mapped_column(String(255))
    method: Mapped[str] = mapped_column(String(16))
    target: Mapped[str] = mapped_column(Text)
    headers: Mapped[list[Any]] = mapped_column(JSON)
    body: Mapped[bytes] = mapped_column(LargeBinary)
    seconds: Mapped[float] = mapped_column(Double)
    at: Mapped[float] = mapped_column(Double, index=True)
    state: Mapped[str] = mapped_column(String(16), index=True)
    ready: Mapped[float] = mapped_column(Double, index=True)
    attempts: Mapped[int] = mapped_column(Integer)
    interrupted: Mapped[int] = mapped_column(Integer)
    holder: Mapped[str] = mapped_column(String(128))
    held_until: Mapped[float] = mapped_column(Double)
    ended: Mapped[float | None] = mapped_column(Double, index=True)
    status: Mapped[int | None] = mapped_column(Integer)
    media_type: Mapped[str] = mapped_column(String(255))
    answer: Mapped[bytes] = mapped_column(LargeBinary)
    cut: Mapped[bool]
    reason: Mapped[str] = mapped_column(String(64))
    detail: Mapped[str] = mapped_column(Text)
