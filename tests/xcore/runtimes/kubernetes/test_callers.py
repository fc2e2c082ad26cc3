"""Whose a pod's token is: what is asked of the API server, how often, and what is believed without it."""

import asyncio
import base64
import contextlib
import json

import pytest
from hypothesis import given, strategies as st

from xcore.errors import RuntimeUnavailable
from xcore.runtimes.callsockets import Caller
from xcore.runtimes.kubernetes.callers import (
    AT_ONCE,
    FIRST_PAUSE,
    LONGEST_PAUSE,
    TOKENS,
    PodCallers,
    PodName,
    Running,
    read,
    running_as,
)
from xcore.runtimes.kubernetes.client import Refusal
from xcore.runtimes.kubernetes.pod import AUDIENCE
from xcore.testing import FakeClock

SHOP, OTHER = PodName("plugins", "shop-1", "uid-1"), PodName("plugins", "other-1", "uid-2")
HERE = "10.244.0.7"


def token(pod=SHOP, *, seconds=3600, signature="good"):
    """What the kubelet gives a pod, but for the signature."""
    bound = {"namespace": pod.namespace, "pod": {"name": pod.name, "uid": pod.uid}, "node": {"name": "n"}}
    claims = {"exp": 1000 + seconds, "aud": [AUDIENCE], "sub": "x", "kubernetes.io": bound}
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in ({}, claims)]
    return b".".join([*parts, signature.encode()])


class Server:
    """An API server that knows which signatures are good; `asked` counts."""

    def __init__(self):
        self.asked, self.failure, self.waiting, self.most = [], None, None, 0
        self.answer = {}

    async def create(self, path, wanted):
        assert path == "/apis/authentication.k8s.io/v1/tokenreviews"
        text = wanted["spec"]["token"].encode()
        self.asked.append(text)
        self.most = max(self.most, len(self.asked))
        if self.waiting is not None:
            await self.waiting.wait()
        if self.failure is not None:
            raise self.failure
        if not text.endswith(b".good"):
            return {"status": {"error": "invalid bearer token"}}
        pod = read(text).pod
        extra = {
            "authentication.kubernetes.io/pod-name": [pod.name],
            "authentication.kubernetes.io/pod-uid": [pod.uid],
        }
        user = {"username": f"system:serviceaccount:{pod.namespace}:default", "extra": extra}
        status = {"authenticated": True, "audiences": wanted["spec"]["audiences"], "user": user}
        return {"status": {**status, **self.answer}}


class Pods:
    """What runs, and from where."""

    def __init__(self):
        self.running = {
            SHOP: Running("shop", "shop-1", frozenset({HERE, "fd00::7"})),
            OTHER: Running("other", "other-1", frozenset({"10.244.0.8"})),
        }


@pytest.fixture
def server():
    return Server()


@pytest.fixture
def pods():
    return Pods()


@pytest.fixture
def clock():
    return FakeClock(1000.0)


@pytest.fixture
def callers(server, pods, clock):
    return PodCallers(server, pods.running.get, clock)


async def who(callers, text, address=HERE):
    found = callers.identify(text, address)
    return found if found is None or isinstance(found, Caller) else await found


async def test_the_api_server_is_asked_once_for_each_token(callers, server):
    """Then it is known at once who calls, as one and the same caller: also by the next token."""
    first = await who(callers, token())
    assert (first.plugin, first.instance) == ("shop", "shop-1")
    assert [callers.identify(token(), also) for also in ("fd00::7", f"::ffff:{HERE}")] == [first, first]
    assert await who(callers, token(seconds=7200)) is first
    assert callers.identify(token(), HERE) is first
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"x",
        b"a.b.c",
        b"..",
        b"\xff.\xff.\xff",
        b"e30.e30.good",
        b"e30." + base64.urlsafe_b64encode(b'{"exp": 1e99}') + b".good",
        token(PodName("plugins", "shop-1", "another uid")),
        token(PodName("elsewhere", "shop-1", "uid-1")),
        token(seconds=0),
    ],
)
async def test_what_names_no_pod_that_runs_is_not_even_asked_about(callers, server, text):
    """Nor what is over."""
    assert await who(callers, text) is None
    assert server.asked == []


async def test_a_token_is_good_from_its_own_pod_alone(callers, server):
    """Neither a new one nor a known one is worth anything from another address."""
    assert await who(callers, token(), "10.244.0.8") is None
    assert server.asked == []
    assert await who(callers, token()) is not None
    assert await who(callers, token(), "10.244.0.8") is None


@pytest.mark.parametrize(
    "answer",
    [
        {"authenticated": False},
        {"audiences": ["https://kubernetes.default.svc"]},
        {"audiences": []},
        {"user": {"username": "system:serviceaccount:plugins:default"}},
        {"user": {"username": "admin", "extra": {}}},
        {"user": {"username": "system:serviceaccount:elsewhere:default"}},
    ],
)
async def test_what_the_server_does_not_say_of_this_pod_and_this_use_proves_nothing(callers, server, answer):
    server.answer = answer
    assert await who(callers, token()) is None


async def test_who_shows_bad_tokens_waits_longer_and_longer_before_the_server_is_asked_again(
    callers, server, clock
):
    """However many come; others are asked about meanwhile, and a token that is known stays so. A good one ends it."""
    known = await who(callers, token())
    assert await who(callers, token(signature="bad")) is None
    for number in range(20):
        assert await who(callers, token(signature=f"bad{number}")) is None
    assert len(server.asked) == 2
    assert await who(callers, token()) is known
    assert (await who(callers, token(OTHER), "10.244.0.8")).plugin == "other"
    for pause in (FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE):
        asked = len(server.asked)
        await clock.advance(pause - 0.1)
        assert await who(callers, token(signature="bad")) is None
        assert len(server.asked) == asked
        await clock.advance(0.1)
        assert await who(callers, token(signature="bad")) is None
        assert len(server.asked) == asked + 1
    await clock.advance(LONGEST_PAUSE)
    assert await who(callers, token(seconds=7200)) is known
    assert await who(callers, token(signature="bad")) is None
    await clock.advance(FIRST_PAUSE)
    assert await who(callers, token(seconds=7300)) is known


async def test_of_one_pod_one_token_is_asked_about_at_a_time(callers, server):
    """A hundred calls with the same new token are one question."""
    server.waiting = asyncio.Event()
    asking = [asyncio.ensure_future(who(callers, token())) for _ in range(100)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    server.waiting.set()
    found = await asyncio.gather(*asking)
    assert len(set(map(id, found))) == 1
    assert len(server.asked) == 1


async def test_only_so_many_questions_are_under_way(callers, server, pods):
    """The others wait their turn."""
    many = [PodName("plugins", f"p-{number}", f"uid-{number}") for number in range(3 * AT_ONCE)]
    pods.running |= {pod: Running(pod.name, pod.name, frozenset({HERE})) for pod in many}
    server.waiting = asyncio.Event()
    asking = [asyncio.ensure_future(who(callers, token(pod))) for pod in many]
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(server.asked) == AT_ONCE
    server.waiting.set()
    assert [caller.instance for caller in await asyncio.gather(*asking)] == [pod.name for pod in many]


async def test_without_the_api_server_what_is_known_holds(callers, server, clock):
    """Until the token or the pod ends; who is not known yet is told to try again, and asked about once a second."""
    known = await who(callers, token())
    server.failure = RuntimeUnavailable("the API server cannot be reached")
    assert await who(callers, token()) is known
    for _ in range(5):
        with pytest.raises(RuntimeUnavailable):
            await who(callers, token(seconds=7200))
    assert len(server.asked) == 2
    server.failure = None
    await clock.advance(FIRST_PAUSE)
    assert await who(callers, token(seconds=7200)) is known
    await clock.advance(3600)
    assert await who(callers, token()) is None


async def test_a_right_that_is_missing_is_an_outage_and_no_fault_of_the_caller(callers, server, caplog):
    """The log says what the API server said; the caller learns nothing of it."""
    server.failure = Refusal(403, 'User "system:serviceaccount:x:y" cannot create resource "tokenreviews"')
    with pytest.raises(RuntimeUnavailable) as told:
        await who(callers, token())
    assert "serviceaccount" not in told.value.detail
    assert "tokenreviews" in caplog.text


async def test_a_pod_that_has_gone_is_nobody(callers, pods):
    """With the very token that was good; a container that was started again is another instance."""
    first = await who(callers, token())
    pods.running[SHOP] = pods.running[SHOP]._replace(instance="shop-1-1")
    again = await who(callers, token())
    assert (again.instance, again is first) == ("shop-1-1", False)
    del pods.running[SHOP]
    assert await who(callers, token()) is None


def pod(uid="uid-1", *, phase="Running", restarts=0, **labels):
    """A pod as the cluster tells it."""
    labels = {"xcore.dev/plugin": "shop", **{f"xcore.dev/{name}": value for name, value in labels.items()}}
    started = "2026-01-01T00:00:00Z"
    addresses = [{"ip": HERE}, {"ip": "fd00::7"}]
    status = {"phase": phase, "startTime": started, "podIP": HERE, "podIPs": addresses}
    return {
        "metadata": {"name": "shop-1", "namespace": "plugins", "uid": uid, "labels": labels},
        "spec": {"containers": [{"name": "plugin", "ports": [{"containerPort": 8080}]}]},
        "status": {**status, "containerStatuses": [{"name": "plugin", "restartCount": restarts}]},
    }


def test_what_runs_by_a_name_is_read_from_its_pod():
    """With all its addresses; started again it is another instance."""
    assert running_as(SHOP, pod()) == Running("shop", "shop-1", frozenset({HERE, "fd00::7"}))
    assert running_as(SHOP, pod(restarts=2)).instance == "shop-1-2"


@pytest.mark.parametrize(
    "item", [None, pod("uid-3"), pod(phase="Failed"), pod(phase="Succeeded"), pod(probe="true")]
)
def test_another_pod_of_the_name_an_ended_one_and_a_probe_are_nobody(item):
    assert running_as(SHOP, item) is None


async def test_nothing_is_kept_of_pods_that_have_gone(callers, pods):
    """When another is heard of; and no token is kept as it was shown."""
    shown = token()
    await who(callers, shown)
    assert shown not in repr(callers._pods).encode()
    del pods.running[SHOP]
    assert await who(callers, token(signature="bad")) is None
    await who(callers, token(OTHER), "10.244.0.8")
    assert list(callers._pods) == [OTHER]


async def test_of_one_pod_few_tokens_are_remembered(callers, server):
    """The newest; an older one is asked about again."""
    for number in range(100):
        await who(callers, token(seconds=3600 + number))
    assert len(callers._pods[SHOP].good) == TOKENS
    assert len(server.asked) == 100
    assert isinstance(callers.identify(token(seconds=3699), HERE), Caller)


async def test_pods_of_one_name_in_two_namespaces_are_two(callers, pods):
    """Whoever may make pods elsewhere gets nobody's part by a name."""
    twin = PodName("elsewhere", SHOP.name, "uid-9")
    pods.running[twin] = Running("evil", "shop-1", frozenset({"10.244.0.66"}))
    first, other = await who(callers, token()), await who(callers, token(twin), "10.244.0.66")
    assert (first.plugin, other.plugin) == ("shop", "evil")
    assert callers.identify(token(), HERE) is first


@pytest.mark.parametrize("spelt", [b"%b 1", b" %b", b"%b=", b"%b\n", b"%b.x"])
async def test_a_token_is_written_in_one_way(callers, server, spelt):
    """What the server would take for the same token would each time be another question."""
    assert await who(callers, spelt % token()) is None
    assert server.asked == []


async def test_who_leaves_takes_no_question_back(callers, server):
    """It is asked to its end, and counts: leaving early is no way to ask more often, and leaves nothing that waits."""
    server.waiting = asyncio.Event()
    for number in range(50):
        asking = asyncio.ensure_future(who(callers, token(signature=f"bad{number}")))
        for _ in range(3):
            await asyncio.sleep(0)
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking
    assert len(server.asked) == 1
    assert len(asyncio.all_tasks()) == 2, "this test and the one question"
    server.waiting.set()
    await callers._pods[SHOP].asking
    assert await who(callers, token()) is None, "the pause after a bad one"
    assert len(server.asked) == 1


@given(
    st.binary(max_size=300)
    | st.text(max_size=300).map(
        lambda text: b"e30." + base64.b64encode(text.encode("utf-8", "replace")) + b".x"
    )
)
def test_whatever_is_shown_is_read_without_an_error(text):
    """A token or none."""
    found = read(text)
    assert found is None or found.digest
