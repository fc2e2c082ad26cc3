"""PostgreSQL as it is used here: few connections, and no wait for a server without an end.

psycopg asks a silent server to cancel and waits for that; a connection of ours is cut instead, and the server rolls back.
"""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

import psycopg
from psycopg import AsyncConnection, waiting
from psycopg.abc import PQGen
from sqlalchemy import URL, NullPool
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

ANSWER_SECONDS = 0.7
APPLICATION = "xcore"
T = TypeVar("T")


class BoundedConnection(AsyncConnection[Any]):
    """Every wait for the server ends: with its answer, or with the connection."""

    async def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:  # noqa: ASYNC109  psycopg's own signature
        seconds = ANSWER_SECONDS if timeout is None else min(timeout, ANSWER_SECONDS)
        try:
            async with asyncio.timeout(seconds):
                return await waiting.wait_async(gen, self.pgconn.socket, interval=interval)
        except TimeoutError:
            self.pgconn.finish()
            raise psycopg.OperationalError("the server does not answer") from None
        except asyncio.CancelledError:
            self.pgconn.finish()
            raise


def postgresql_engine(url: URL, *, connections: int) -> AsyncEngine:
    """Make an engine whose every wait is bounded; nothing is connected yet."""
    milliseconds = int(ANSWER_SECONDS * 1000)
    return create_async_engine(
        url,
        pool_size=connections // 2,
        max_overflow=connections - connections // 2,
        pool_use_lifo=True,
        pool_pre_ping=True,  # a server that was restarted costs nobody an error
        connect_args={
            "async_creator_fn": BoundedConnection.connect,
            "application_name": APPLICATION,
            # What was cut here goes on there until the server is told, or finds out by itself.
            "options": f"-c statement_timeout={milliseconds} -c lock_timeout={milliseconds}"
            " -c idle_in_transaction_session_timeout=10000",
        },
    )


def patient_engine(url: URL) -> AsyncEngine:
    """One for what may take its time: a change of the schema, which nobody is to cut in the middle."""
    return create_async_engine(
        url, poolclass=NullPool, connect_args={"application_name": APPLICATION, "connect_timeout": 5}
    )
