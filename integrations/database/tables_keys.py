"""The rows of keys. No key itself is in them: a digest to know it by, and its first characters for people."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Double, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from integrations.database.tables import Base


class KeyRow(Base):
    """A key that was made, also after it is revoked or has expired. Times are seconds since 1970; lists null: everything.

    `mark`: the request that made it, so that it is made once.
    """

    __tablename__ = "keys"

    id: Mapped[str] = mapped_column(String(24), primary_key=True)  # in the order they were made
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    prefix: Mapped[str] = mapped_column(String(16))
    name: Mapped[str] = mapped_column(String(100))
    role: Mapped[str] = mapped_column(String(16))
    plugins: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    actions: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    scopes: Mapped[list[str]] = mapped_column(JSON)
    at: Mapped[float] = mapped_column(Double)
    by: Mapped[str] = mapped_column(String(255))
    expires: Mapped[float | None] = mapped_column(Double)
    revoked: Mapped[float | None] = mapped_column(Double)
    revoked_by: Mapped[str] = mapped_column(String(255))
    mark: Mapped[str | None] = mapped_column(String(64), unique=True)


class KeyChangeRow(Base):
    """One row: how often keys were changed. Who knows them all looks at this alone."""

    __tablename__ = "key_changes"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(BigInteger)
