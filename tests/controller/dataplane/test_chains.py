"""However plugins behave, requests that wait for each other do not go on without end."""

from types import SimpleNamespace

import pytest
from hypothesis import given, strategies as st

from controller.dataplane.chains import MAX_DEPTH, Chains, permit
from controller.dataplane.request import Refusal
from xcore.runtimes.callsockets import Caller

NAMES = [f"p{number}" for number in range(MAX_DEPTH + 4)]
ALL = {(a, b) for a in NAMES for b in NAMES}
PLANE = SimpleNamespace(ways={name: SimpleNamespace(calls=frozenset(NAMES)) for name in NAMES}, granted=ALL)


class Serving:
    """Stands for a request that is being served."""

    def __init__(self, plugin, callers):
        self.plugin, self.callers = plugin, callers


# (who of those that serve calls on, whom, which request it names: its own, none, or somebody else's)
STEPS = st.lists(
    st.tuples(st.integers(0, 100), st.sampled_from(NAMES), st.sampled_from(["own", "none", "forged"])),
    max_size=60,
)


@given(STEPS)
def test_no_chain_of_waiting_requests_is_longer_than_the_bound(steps):
    """Names left out or forged included; and a request that names its own never waits for itself."""
    chains, depths = Chains(), {}
    first = Serving(NAMES[0], ())
    serving, depths[first] = [first], 0
    chains.enter(NAMES[0], NAMES[0], first)
    for number, callee, named in steps:
        outer = serving[number % len(serving)]
        caller = Caller(outer.plugin, outer.plugin, "t")
        found = outer if named == "own" else chains.find(caller, b"0" * 32)
        callers = chains.callers(caller, found)
        try:
            permit(PLANE, callers, callee)
        except Refusal:
            continue
        inner = Serving(callee, callers)
        depths[inner] = depths[outer] + 1
        assert depths[inner] <= MAX_DEPTH
        assert callee not in callers
        serving.append(inner)
        chains.enter(callee, callee, inner)
    for exchange in serving:
        chains.leave(exchange)
    assert not chains


def test_a_name_is_worth_something_to_its_instance_alone_and_while_it_lasts():
    """Another instance's is unknown, and so is that of a request that is over."""
    chains, exchange = Chains(), Serving("a", ())
    one, two = Caller("a", "one"), Caller("a", "two")
    line = chains.enter("a", "one", exchange)
    name = line.removeprefix(b"xcore-call: ").strip()
    assert chains.find(one, name) is exchange
    assert chains.find(two, name) is None
    assert chains.find(Caller("b", "one"), name) is None, "an instance of that name, of somebody else"
    chains.leave(exchange)
    assert chains.find(one, name) is None
    chains.leave(exchange)  # once more: nothing to leave


def test_of_several_controllers_each_knows_its_own_requests_alone():
    """A name of another's is refused, not taken for none: that would make a chain shorter. A forged one of its own counts as none."""
    here, there = Chains("10.244.0.1:8001"), Chains("[fd00::2]:8001")
    exchange = Serving("a", ())
    one = Caller("a", "one")
    name = here.enter("a", "one", exchange).removeprefix(b"xcore-call: ").strip()
    assert name.endswith(b"@10.244.0.1:8001")
    assert here.find(one, name) is exchange
    for other in (there, Chains()):
        with pytest.raises(Refusal) as refused:
            other.find(one, name)
        assert refused.value.reason == "Misdirected"
    assert here.find(one, b"0" * 32 + b"@10.244.0.1:8001") is None
    assert here.find(one, b"0" * 32) is None


def test_who_may_not_call_learns_nothing_of_what_there_is():
    """Neither named nor granted: the same refusal for a plugin that is there and for one that is not."""
    plane = SimpleNamespace(ways={"a": SimpleNamespace(calls=frozenset())}, granted=frozenset())
    told = []
    for callee in ("there", "nowhere"):
        with pytest.raises(Refusal) as refused:
            permit(plane, ("a",), callee)
        told.append(refused.value.detail.replace(callee, "X"))
    assert told == ["a does not name X in spec.calls"] * 2
