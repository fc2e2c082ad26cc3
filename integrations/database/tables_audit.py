"""The rows of the audit. An entry is its canonical text; what else a row holds is there to be found by."""

from __future__ import annotations

from sqlalchemy import BigInteger, Double, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from integrations.database.tables import Base


class AuditRow(Base):
    """One entry: see `integrations.chain`. `at`: seconds since 1970; `mark`: of the record, so that it is written once."""

    __tablename__ = "audit"

    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    at: Mapped[float] = mapped_column(Double)
    by: Mapped[str] = mapped_column(String(255), index=True)
    plugin: Mapped[str] = mapped_column(String(255), index=True)
    result: Mapped[str] = mapped_column(String(16))
    entry: Mapped[str] = mapped_column(Text)
    hash: Mapped[str] = mapped_column(String(64))
    mark: Mapped[str] = mapped_column(String(32), unique=True)


class AuditHeadRow(Base):
    """One row: number and hash of the newest entry. Who appends changes it first, so that there is one chain."""

    __tablename__ = "audit_head"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(BigInteger)
    hash: Mapped[str] = mapped_column(String(64))
