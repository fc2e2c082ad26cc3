"""When pods are replaced because of where they call, and when they are not."""

import asyncio
import json
import socket
from dataclasses import replace

import pytest

from tests.xcore.kernel import make_workload
from xcore.errors import RuntimeUnavailable
from xcore.runtimes.kubernetes import numbers
from xcore.runtimes.kubernetes.found import calls_of
from xcore.runtimes.kubernetes.kept import Kept
from xcore.runtimes.kubernetes.numbers import AGAIN_SECONDS, REMEMBER_SECONDS, Numbers, authority
from xcore.runtimes.kubernetes.objects import Surroundings
from xcore.runtimes.kubernetes.state import State
from xcore.runtimes.kubernetes.wording import wished, worded
from xcore.testing import FakeClock

SURROUNDINGS = Surroundings("image:1", "plugins", "system", {"app": "xcore"}, calls="calls.system:8001")
ONE, OTHER = "10.96.0.1:8001", "10.96.0.2:8001"


class Names:
    """A resolver: what it says, how often it was asked, and whether it says nothing at all for now."""

    def __init__(self):
        self.answers, self.asked, self.silent = ["10.96.0.1"], 0, None

    async def getaddrinfo(self, host, port, **_how):
        assert (host, port) == ("calls.system", "8001")
        self.asked += 1
        if self.silent is not None:
            await self.silent.wait()
        if not self.answers:
            raise socket.gaierror("Name or service not known")
        return [(socket.AF_INET, 0, 0, "", (address, 8001)) for address in self.answers]


@pytest.fixture
def names(monkeypatch):
    found = Names()
    monkeypatch.setattr(numbers.asyncio, "get_running_loop", lambda: found)
    return found


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def where(clock, names):
    return Numbers(SURROUNDINGS.calls, clock)


async def never(plugin, namespace, revision):
    raise AssertionError("no older revision is asked for")


def kept(*, suspended=False, calls=("stock",)):
    workload = replace(make_workload(source={"configMap": "code"}, calls=list(calls)), code=None)
    return Kept(workload, suspended, 0.0)


async def deployment(plugin, where, before=None):
    """What is written for a plugin that has this one."""
    wish = await wished(plugin, State(), before, where)
    found = await worded(wish, SURROUNDINGS, before, never)
    return next(item for item in found if item["kind"] == "Deployment")


async def test_pods_are_told_a_number_and_it_is_asked_for_once_in_a_while(where, names, clock):
    """However many want to know it at once."""
    told = await asyncio.gather(*(where.now("") for _ in range(20)))
    assert (set(told), names.asked) == ({ONE}, 1)
    await clock.advance(REMEMBER_SECONDS)
    assert (await where.now(""), names.asked) == (ONE, 2)


async def test_what_was_told_stays_while_the_name_leads_there(where, names):
    """Several answers in another order replace no pod."""
    names.answers = ["10.96.0.2", "10.96.0.1"]
    assert await where.now("") == OTHER
    assert await where.now(ONE) == ONE


async def test_a_service_that_is_made_anew_replaces_the_pods_that_call(where, names, clock):
    """At the latest look after a minute; the others stay as they are."""
    first, quiet = await deployment(kept(), where), await deployment(kept(calls=()), where)
    assert calls_of(first) == ONE
    assert await deployment(kept(), where, first) == first
    names.answers = ["10.96.0.2"]
    await clock.advance(REMEMBER_SECONDS)
    assert await where.now(ONE) == ONE, "nobody waits for a new answer"
    await asyncio.sleep(0)
    again = await deployment(kept(), where, first)
    assert calls_of(again) == OTHER
    assert await deployment(kept(calls=()), where, quiet) == quiet


async def test_without_an_answer_what_runs_is_told_nothing_new(where, names, clock):
    """It is suspended, resumed and written as before; a new plugin that calls waits, and is told why."""
    first = await deployment(kept(), where)
    names.answers = []
    await clock.advance(REMEMBER_SECONDS)
    fresh = Numbers(SURROUNDINGS.calls, clock)
    for plugin in (kept(), kept(suspended=True)):
        assert calls_of(await deployment(plugin, fresh, first)) == ONE
    with pytest.raises(RuntimeUnavailable, match=r"calls\.system, has no address now"):
        await deployment(kept(), fresh)
    assert calls_of(await deployment(kept(suspended=True), fresh)) == ""
    asked = names.asked
    with pytest.raises(RuntimeUnavailable):
        await deployment(kept(), fresh)
    assert names.asked == asked
    names.answers = ["10.96.0.1"]
    await clock.advance(AGAIN_SECONDS)
    assert calls_of(await deployment(kept(), fresh)) == ONE


async def test_a_silent_resolver_holds_up_nobody_who_was_told_before(where, names):
    names.silent = asyncio.Event()
    assert await where.now(ONE) == ONE
    names.silent.set()
    assert await where.now("") == ONE


@pytest.mark.parametrize("edit", ["another container", "valueFrom", "no variables"])
async def test_an_edited_deployment_is_read_all_the_same(where, edit):
    """Whatever somebody put beside or in the place of what is ours."""
    first = json.loads(json.dumps(await deployment(kept(), where)))
    containers = first["spec"]["template"]["spec"]["containers"]
    if edit == "another container":
        containers.insert(0, {"name": "sidecar", "env": [{"name": "PLUGIN_CALLS_ADDRESS", "value": "x"}]})
    elif edit == "valueFrom":
        containers[0]["env"] = [{"name": "PLUGIN_CALLS_ADDRESS", "valueFrom": {}}]
    else:
        del containers[0]["env"]
    assert calls_of(first) == (ONE if edit == "another container" else "")
    assert calls_of(await deployment(kept(), where, first)) == ONE


@pytest.mark.parametrize(("address", "written"), [("10.0.0.1", "10.0.0.1:80"), ("fd00::1", "[fd00::1]:80")])
def test_an_address_and_a_port_are_written_as_in_a_url(address, written):
    assert authority(address, 80) == written
