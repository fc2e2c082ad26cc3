"""Calls that are answered later are made at least once, by one controller at a time, within bounds."""

import asyncio
import contextlib

import pytest
from hypothesis import given, strategies as st

from integrations.once import InvalidKey
from integrations.tasks import call as rules
from integrations.tasks.call import MAX_ATTEMPTS, CallNotFound, CallState, Order, QueueFull, Tally, judge
from integrations.tasks.calling import Sent, Told
from integrations.tasks.calls import AT_ONCE_OF_PLUGIN, Calls, Reach
from integrations.tasks.task import LOST, Outcome, State
from integrations.tasks.turn import LEASE_SECONDS, MAX_INTERRUPTED
from tests.integrations.tasks.test_scheduler import Watched
from tests.support import until
from xcore.errors import Conflict
from xcore.testing.clock import FakeClock

WELL = Told(200, "", "application/json", b"42")
BROKEN = Told(500, "", "text/plain", b"no")


def order(number=0, *, key="", caller="ada", plugin="hello"):
    sent = Sent("POST", f"/app/{plugin}/greet", (("content-type", "application/json"),), b"%d" % number)
    return Order(caller, key, plugin, "greet", sent, 30.0)


class Maker:
    """A controller that makes calls; `told` is what plugins answer, one after the other, the last for ever."""

    def __init__(self, database, clock, name="a", told=(WELL,)):
        self.clock, self.database, self.told = clock, database, list(told)
        self.sent, self.good, self.plugins = [], {"ada", "eve"}, {"hello", "other"}
        reach = Reach(self._call, self.good.__contains__, lambda: self.plugins)
        self.calls = Calls(database, name, clock, reach)
        self.stopping, self.life = asyncio.Event(), None

    async def _call(self, sent, seconds):
        self.sent.append(sent)
        told = self.told.pop(0) if len(self.told) > 1 else self.told[0]
        if told is None:
            await asyncio.Event().wait()
        return told

    def start(self):
        self.life = asyncio.create_task(self.calls.scheduler.run(self.stopping))
        return self

    async def end(self):
        self.stopping.set()
        self.life.cancel()
        await asyncio.gather(self.life, return_exceptions=True)

    async def kill(self):
        async def nothing(*_):
            await asyncio.Event().wait()

        self.calls.finish = self.calls.renew = nothing
        await asyncio.sleep(0)
        for task in (self.life, *self.calls.scheduler._running.values()):
            task.cancel()
            task.cancel()
        await asyncio.sleep(0)

    async def reaches(self, call, *states):
        """Let time pass until the call is in one of these states."""

        async def moved():
            row = await self.calls.get(call.id)
            if row.state in states:
                return row
            for _ in range(5):
                if not self.database.busy:
                    await self.clock.advance(1)
            return None

        return await until(moved, seconds=20, what=f"{states}")


@pytest.fixture
async def make(database):
    made, clock, watched = [], FakeClock(), Watched(database)

    def make(name="a", **how):
        made.append(Maker(watched, clock, name, **how))
        return made[-1]

    yield make
    for maker in made:
        if maker.life is not None and not maker.life.done():
            await maker.end()


async def test_a_call_is_made_and_its_answer_kept(make):
    one = make().start()
    call = await one.calls.accept(order(7))
    row = await one.reaches(call, CallState.SUCCEEDED)
    assert (row.status, row.media_type, row.answer, row.attempts) == (200, "application/json", b"42", 1)
    assert one.sent[0].body == b"7"


async def test_every_attempt_carries_the_same_key(make):
    """The caller's own, or one that is made for the call."""
    one = make(told=(BROKEN, BROKEN, WELL)).start()
    for key in ("mine", ""):
        one.told, one.sent[:] = [BROKEN, BROKEN, WELL], []
        call = await one.calls.accept(order(key=key))
        assert (await one.reaches(call, CallState.SUCCEEDED)).attempts == 3
        keys = {value for sent in one.sent for name, value in sent.headers if name == "idempotency-key"}
        assert keys == {key or call.id}


async def test_what_keeps_failing_is_a_dead_letter_that_can_be_sent_again(make):
    one = make(told=(BROKEN,)).start()
    call = await one.calls.accept(order())
    dead = await one.reaches(call, CallState.DEAD)
    assert (dead.attempts, dead.reason, dead.detail) == (
        MAX_ATTEMPTS,
        "ActionFailed",
        "the plugin answered 500",
    )
    assert dead.ended - dead.at >= 5 + 20 + 80 + 250
    one.told = [WELL]
    await one.calls.retry(call.id)
    row = await one.reaches(call, CallState.SUCCEEDED)
    assert row.attempts == 1
    with pytest.raises(Conflict, match="only one that is Dead"):
        await one.calls.retry(call.id)


async def test_a_plugin_that_never_answers_is_given_up(make):
    one = make(told=(None,)).start()
    row = await one.reaches(await one.calls.accept(order()), CallState.DEAD)
    assert (row.reason, row.status) == ("DurationExceeded", None)


async def test_a_plugin_that_answers_what_is_no_text_ends_its_own_call_alone(make):
    """Half of a surrogate pair in its problem is replaced."""
    one = make(told=(Told(422, "", "application/problem+json", rb'{"detail": "\ud800 no"}'),)).start()
    row = await one.reaches(await one.calls.accept(order()), CallState.FAILED)
    assert (row.reason, row.detail) == ("ActionFailed", "? no")


async def test_the_same_key_is_the_same_call_for_its_caller_alone(make):
    one = make()
    first = await one.calls.accept(order(1, key="k"))
    assert (await one.calls.accept(order(1, key="k"))).id == first.id
    assert (await one.calls.accept(order(1, key="k", caller="eve"))).id != first.id
    with pytest.raises(InvalidKey, match="another call"):
        await one.calls.accept(order(2, key="k"))


async def test_twins_at_the_same_moment_are_one_call(make):
    one, two = make("a"), make("b")
    rows = await asyncio.gather(
        *(maker.calls.accept(order(1, key="k")) for maker in (one, two) for _ in range(5))
    )
    assert len({row.id for row in rows}) == 1


async def test_more_than_can_wait_is_refused(make, monkeypatch):
    """Of one plugin, and in all: 503, and nothing of it is kept."""
    monkeypatch.setattr(rules, "MAX_OF_PLUGIN", 3)
    monkeypatch.setattr(rules, "MAX_UNFINISHED", 5)
    one = make()
    for number in range(3):
        await one.calls.accept(order(number))
    with pytest.raises(QueueFull, match="of hello wait"):
        await one.calls.accept(order(3))
    for number in range(2):
        await one.calls.accept(order(number, plugin="other"))
    with pytest.raises(QueueFull, match="5 calls wait"):
        await one.calls.accept(order(2, plugin="other"))
    assert len(await one.calls.latest(caller=None, state=None, before=None, limit=100)) == 5


async def test_one_plugin_does_not_take_all_the_places(make):
    """Four of it are made at once; another plugin's calls go on beside them."""
    one = make(told=(None,)).start()
    for number in range(AT_ONCE_OF_PLUGIN + 3):
        await one.calls.accept(order(number))
    await until(lambda: len(one.sent) == AT_ONCE_OF_PLUGIN)
    one.told = [WELL]
    await one.reaches(await one.calls.accept(order(plugin="other")), CallState.SUCCEEDED)
    assert len([sent for sent in one.sent if "/hello/" in sent.target]) == AT_ONCE_OF_PLUGIN


async def test_a_call_that_ends_while_others_are_claimed_gives_its_place_back(make):
    """However often that comes about, a plugin keeps all its places."""
    one = make()
    calls, writing, begun, ending = one.calls, one.database.writing, [], []

    @contextlib.asynccontextmanager
    async def while_it_ends():
        async with writing() as session:
            yield session
            while ending:
                calls.ended(ending.pop(), Outcome(State.SUCCEEDED))

    one.database.writing = while_it_ends
    for number in range(2 * AT_ONCE_OF_PLUGIN):
        await calls.accept(order(number))
        ending, begun = begun, []
        begun += [attempt for attempt, _ in await calls.claim((), 1)]
    calls.ended(begun.pop(), Outcome(State.SUCCEEDED))
    for number in range(AT_ONCE_OF_PLUGIN):
        await calls.accept(order(number))
    assert len(await calls.claim((), 10)) == AT_ONCE_OF_PLUGIN


async def test_no_call_is_made_before_it_is_known_which_plugins_there_are(make):
    """Its plugin would be none, and the call would have failed for good."""
    one = make()
    one.plugins = None
    call = await one.calls.accept(order())
    assert await one.calls.prepare() is False
    one.plugins = {"hello"}
    one.start()
    await one.reaches(call, CallState.SUCCEEDED)


async def test_what_is_counted_of_a_plugin_goes_with_it(make):
    one = make().start()
    for plugin in ("hello", "other"):
        await one.reaches(await one.calls.accept(order(plugin=plugin)), CallState.SUCCEEDED)
    assert one.calls.made == {("hello", "Succeeded"): 1, ("other", "Succeeded"): 1}
    one.plugins = {"hello"}
    await one.calls.prepare()
    assert one.calls.made == {("hello", "Succeeded"): 1}


async def test_a_key_that_was_revoked_makes_no_call(make):
    one = make()
    call = await one.calls.accept(order(caller="eve"))
    one.good.discard("eve")
    one.start()
    row = await one.reaches(call, CallState.DEAD)
    assert (row.reason, one.sent) == ("Unauthenticated", [])


async def test_what_a_killed_controller_was_making_is_made_again(make):
    """By its next start at once, by another when its lease is over."""
    for number, (name, least) in enumerate((("a", 0), ("b", LEASE_SECONDS - 5))):
        one = make("a", told=(None,)).start()
        call = await one.calls.accept(order(number))
        await one.reaches(call, CallState.RUNNING)
        await one.kill()
        since = one.clock.time()
        next_one = make(name).start()
        row = await next_one.reaches(call, CallState.SUCCEEDED)
        assert (row.attempts, row.interrupted) == (2, 1)
        assert one.clock.time() - since >= least
        await next_one.end()


async def test_two_controllers_share_the_work(make):
    """Each call is made once."""
    one, two = make("a").start(), make("b").start()
    made = [await one.calls.accept(order(number)) for number in range(20)]
    for call in made:
        assert (await one.reaches(call, CallState.SUCCEEDED)).attempts == 1
    bodies = [sent.body for sent in (*one.sent, *two.sent)]
    assert sorted(bodies) == sorted(b"%d" % number for number in range(20))


async def test_ended_calls_are_let_go_of(make):
    one = make().start()
    call = await one.calls.accept(order())
    await one.reaches(call, CallState.SUCCEEDED)
    waiting = await one.calls.accept(order(1))
    assert await one.calls.kept.forget_dead(one.clock.time() + 1) == 0
    assert await one.calls.kept.forget(one.clock.time() + 1) >= 1
    with pytest.raises(CallNotFound):
        await one.calls.get(call.id)
    await one.reaches(waiting, CallState.SUCCEEDED)


OUTCOMES = st.sampled_from(
    [
        (Outcome(State.SUCCEEDED), WELL),
        (Outcome(State.FAILED, reason="ActionFailed"), BROKEN),
        (Outcome(State.FAILED, reason="ActionFailed"), Told(404)),
        (Outcome(State.FAILED, reason="DurationExceeded"), None),
        (LOST, None),
    ]
)


@given(st.lists(OUTCOMES, min_size=20, max_size=20), st.floats(0, 1))
def test_every_call_ends(outcomes, dice):
    """Whatever comes of its attempts, they are bounded, and each but an interrupted one is later than the one before."""
    attempts = interrupted = 0
    now = 0.0
    for outcome, told in outcomes:
        attempts += 1
        verdict = judge(outcome, told, Tally(attempts, interrupted), now=now, dice=dice)
        interrupted = verdict.interrupted
        if verdict.state is not CallState.QUEUED:
            break
        assert verdict.ready > now or outcome is LOST
        now = verdict.ready
    assert verdict.state in {CallState.SUCCEEDED, CallState.FAILED, CallState.DEAD}
    assert attempts <= MAX_ATTEMPTS + MAX_INTERRUPTED
