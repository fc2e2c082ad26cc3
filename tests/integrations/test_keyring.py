"""Keys as rows, and what gates on one database know of them."""

import asyncio
from contextlib import asynccontextmanager
from math import inf

import pytest
from sqlalchemy import text

from integrations import keyring
from integrations.database.database import Database
from integrations.gate import Gate
from integrations.grants import Grant, Role
from integrations.keyring import STALE_SECONDS, KeyNotFound, KeyRing, Wish, version
from integrations.newkey import NewKey
from xcore.errors import Conflict, DatabaseUnavailable, PreconditionFailed
from xcore.testing import FakeClock

ADMIN = Grant("admin", Role.ADMIN, bytes(32))


def wish(role="caller", *, expires=None, mark="", **said):
    return Wish(NewKey.model_validate({"name": "a key", "role": role, **said}), expires, "admin", mark)


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def gate(clock):
    return Gate(ADMIN, clock=clock.time)


@pytest.fixture
def ring(database, gate, clock):
    return KeyRing(database, gate, clock)


async def test_a_key_is_good_at_once_and_is_nowhere_in_the_database(ring, gate, database):
    """What allows it is in the rows; of the key itself its digest, and twelve characters for people."""
    row, key = await ring.create(
        wish(plugins=["shop"], actions=["buy"], scopes=["orders:write"], expires=None)
    )
    grant = gate.known(key.encode())
    assert (grant.id, grant.role, grant.plugins, grant.actions, grant.scopes, grant.expires) == (
        row.id,
        Role.CALLER,
        {"shop"},
        {"buy"},
        {"orders:write"},
        inf,
    )
    assert (len(key), key[:4], row.prefix) == (47, "xck_", key[:12])
    async with database.reading() as session:
        (found,) = (await session.execute(text("SELECT * FROM keys"))).all()
    assert not [value for value in found if key in str(value) or key[12:] in str(value)]


async def test_a_revoked_key_is_good_nowhere(ring, database, clock):
    """Here at once, and with another controller on the database when it looks next: once a second."""
    other_gate = Gate(ADMIN, clock=clock.time)
    other = KeyRing(database, other_gate, clock)
    row, key = await ring.create(wish())
    following = asyncio.create_task(other.follow())
    try:
        async with asyncio.timeout(5):
            while other_gate.known(key.encode()) is None:
                await asyncio.sleep(0.01)
        ended = []
        other_gate.listen(ended.append)
        await ring.revoke(row.id, "admin", None)
        async with asyncio.timeout(5):
            while other_gate.known(key.encode()) is not None:
                await asyncio.sleep(0.01)
        assert ended == [{row.id}]
    finally:
        following.cancel()


async def test_a_key_that_expires_is_told_to_those_who_listen(ring, gate, clock):
    """What it has under way can be cut then."""
    row, key = await ring.create(wish(expires=clock.time() + 60))
    ended = []
    gate.listen(ended.append)
    await clock.advance(59)
    await ring.refresh()
    assert (ended, gate.known(key.encode()).id) == ([], row.id)
    await clock.advance(1)
    await ring.refresh()
    await ring.refresh()
    assert (ended, gate.known(key.encode())) == ([{row.id}], None)


async def test_the_same_request_makes_one_key(ring):
    """Its text is told the first time alone."""
    row, key = await ring.create(wish(mark="abc.1"))
    again, none = await ring.create(wish(mark="abc.1"))
    assert (again.id, none) == (row.id, None)
    assert key is not None
    assert len(await ring.page("", 10)) == 1


async def test_two_who_make_the_same_key_at_once_make_one(ring):
    """Whoever comes second is told of the first."""
    made = await asyncio.gather(*(ring.create(wish(mark="abc.1")) for _ in range(5)))
    assert len({row.id for row, _ in made}) == 1
    assert [key is not None for _, key in made].count(True) == 1


async def test_pages_are_in_the_order_of_making(ring, clock):
    """Each key is on one page."""
    made = []
    for number in range(5):
        made.append((await ring.create(wish(name=f"key {number}")))[0].id)
        await clock.advance(1)
    found, after = [], ""
    while page := await ring.page(after, 2):
        found += [row.id for row in page]
        after = found[-1]
    assert found == made


async def test_a_version_that_is_no_longer_is_412(ring):
    """Revoking changes the version; who asks for the old one is told, and revoking twice is no error."""
    row, _ = await ring.create(wish())
    old = version(row)
    revoked = await ring.revoke(row.id, "admin", frozenset({old}))
    with pytest.raises(PreconditionFailed):
        await ring.revoke(row.id, "other", frozenset({old}))
    again = await ring.revoke(row.id, "other", None)
    assert (again.revoked, again.revoked_by) == (revoked.revoked, "admin")
    with pytest.raises(KeyNotFound):
        await ring.revoke("nothing", "admin", None)


async def test_there_is_a_bound_and_what_has_ended_does_not_count(ring, monkeypatch, clock):
    """One more is refused, until one is revoked."""
    monkeypatch.setattr(keyring, "MAX_KEYS", 2)
    first, _ = await ring.create(wish())
    await ring.create(wish(expires=clock.time() + 10))
    with pytest.raises(Conflict, match="there are 2 keys already"):
        await ring.create(wish())
    await ring.revoke(first.id, "admin", None)
    await clock.advance(11)
    for _ in range(2):
        await ring.create(wish())


async def test_rows_of_what_ended_long_ago_are_removed(ring, clock):
    """Those that are good stay, however old."""
    kept, _ = await ring.create(wish())
    gone, _ = await ring.create(wish())
    await ring.create(wish(expires=clock.time() + 10))
    await ring.revoke(gone.id, "admin", None)
    await clock.advance(100)
    assert await ring.forget(clock.time() - 50) == 2
    assert [row.id for row in await ring.page("", 10)] == [kept.id]


class Away:
    """A database that went away."""

    @asynccontextmanager
    async def reading(self):
        raise DatabaseUnavailable("away")
        yield

    writing = reading


async def test_known_keys_go_on_for_a_day_without_a_database(database: Database, gate, clock, monkeypatch):
    """None is made meanwhile; after a day only the administrator's own key is good."""
    monkeypatch.setattr(keyring, "LOOK_SECONDS", 0.001)
    ring = KeyRing(database, gate, clock)
    _, key = await ring.create(wish())
    ring._database = Away()
    with pytest.raises(DatabaseUnavailable):
        await ring.create(wish())
    following = asyncio.create_task(ring.follow())
    try:
        await clock.advance(STALE_SECONDS)
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert gate.known(key.encode()) is not None
        await clock.advance(2)
        async with asyncio.timeout(5):
            while gate.known(key.encode()) is not None:
                await asyncio.sleep(0.001)
        ring._database = database
        async with asyncio.timeout(5):
            while gate.known(key.encode()) is None:
                await asyncio.sleep(0.001)
    finally:
        following.cancel()
