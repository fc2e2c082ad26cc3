"""One replica leads: taken over when it falls silent, and never two at once."""

import asyncio

import pytest

from controller.operator.lease import LEASE_SECONDS, NAME, RENEW_SECONDS, Leadership
from xcore.errors import RuntimeUnavailable
from xcore.runtimes.kubernetes.client import Refusal


class Leases:
    """The API server's side: one object, replaced only by who names its version."""

    def __init__(self):
        self.lease, self.version, self.away, self.forbidden = None, 0, False, False
        self.written = 0

    def _answer(self):
        if self.away:
            raise RuntimeUnavailable("away")
        if self.forbidden:
            raise Refusal(403, "user x may not")

    def _store(self, lease):
        self.version += 1
        lease["metadata"]["resourceVersion"] = str(self.version)
        self.lease = lease

    async def get(self, path):
        self._answer()
        assert path.endswith(f"/leases/{NAME}")
        return None if self.lease is None else {**self.lease, "metadata": dict(self.lease["metadata"])}

    async def create(self, path, lease):
        self._answer()
        if self.lease is not None:
            raise Refusal(409, "it is there")
        self._store(lease)

    async def replace(self, path, lease):
        self._answer()
        self.written += 1
        if lease["metadata"]["resourceVersion"] != str(self.version):
            raise Refusal(409, "it has changed")
        self._store(lease)


class World:
    def __init__(self):
        self.now, self.server = 1000.0, Leases()

    def replica(self, name):
        return Leadership(self.server, "space", name, clock=lambda: self.now)


@pytest.fixture
def world():
    return World()


async def test_the_first_one_leads_and_goes_on_leading(world):
    a, b = world.replica("a"), world.replica("b")
    await a._try()
    await b._try()
    assert (a.leads(), b.leads()) == (True, False)
    for _ in range(20):
        world.now += 2
        await a._try()
        await b._try()
        assert (a.leads(), b.leads()) == (True, False)


async def test_a_silent_leader_is_taken_over_and_knows_before_that_it_leads_no_more(world):
    """It stops after ten seconds by its own clock; the other takes over when the lease has not changed for fifteen."""
    a, b = world.replica("a"), world.replica("b")
    await a._try()
    await b._try()
    begun = world.now
    while not b.leads():
        world.now += 1
        await b._try()
        assert not (a.leads() and b.leads())
    assert LEASE_SECONDS <= world.now - begun <= LEASE_SECONDS + 2
    written = world.server.written
    await a._try()
    assert (a.leads(), b.leads()) == (False, True)
    assert world.server.written == written, "it looks before it writes"
    assert world.server.lease["spec"]["leaseTransitions"] == 1


async def test_a_leader_that_cannot_renew_stops_in_time(world):
    a = world.replica("a")
    await a._try()
    world.server.away = True
    with pytest.raises(RuntimeUnavailable):
        await a._try()
    assert a.leads()
    world.now += RENEW_SECONDS
    assert not a.leads()


async def test_a_lease_that_cannot_be_had_for_long_is_told_and_nobodys_account_is(world):
    """As long as a lease lasts: a hiccup is none. Whoever sees that another one leads is well."""

    class Waits:
        async def wait(self, _event, seconds):
            world.now += seconds
            told.append(a.trouble)
            if len(told) == 30:
                raise asyncio.CancelledError

    a, told = world.replica("a"), []
    world.server.forbidden = True
    with pytest.raises(asyncio.CancelledError):
        await a.run(Waits())
    assert told[: int(RENEW_SECONDS)] == [""] * int(RENEW_SECONDS)
    assert told[-1] == "the API server refuses the Lease xcore-controller (403): nobody may lead"
    world.server.forbidden = False
    await world.replica("b")._try()
    told.clear()
    with pytest.raises(asyncio.CancelledError):
        await a.run(Waits())
    assert told[-1] == ""


async def test_of_two_that_try_at_once_one_leads(world):
    """Who names an older version is refused, and does not lead."""
    a, b = world.replica("a"), world.replica("b")
    await a._try()
    await a.give_up()
    assert not a.leads()
    stale = await world.server.get(f"/leases/{NAME}")
    await b._try()
    with pytest.raises(Refusal):
        await world.server.replace("", a._lease(stale))
    assert b.leads()


async def test_who_gives_up_is_followed_at_once(world):
    a, b = world.replica("a"), world.replica("b")
    await a._try()
    await b._try()
    await a.give_up()
    await b._try()
    assert (a.leads(), b.leads()) == (False, True)
