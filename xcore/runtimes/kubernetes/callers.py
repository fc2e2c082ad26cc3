"""Whose a token is that a pod shows when it calls other plugins: the API server is asked, once for each token.

The kubelet puts it into the pod, made for that pod and this use alone, and renews it (kubernetes.io, "Bound service account
tokens"; TokenReview of authentication.k8s.io/v1). What a token says of itself only decides whether asking is worth it: it must name a pod
that runs where the call comes from (pods reach each other without translation of addresses: kubernetes.io, "Services, Load
Balancing, and Networking"). Of each pod one question is under way; who waits for it may leave, the question goes on; after a wrong answer
nothing is asked for longer and longer. What was found out holds as long as token and pod: also while the API server is away.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from xcore.clock import Clock
from xcore.errors import RuntimeUnavailable, XcoreError
from xcore.runtimes.callsockets import Caller
from xcore.runtimes.kubernetes.client import Cluster, Object, Refusal
from xcore.runtimes.kubernetes.found import addresses_of, instance_of
from xcore.runtimes.kubernetes.mirrors import plugin_of
from xcore.runtimes.kubernetes.pod import AUDIENCE
from xcore.runtimes.kubernetes.probe import is_over, is_probe

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # after a token that was no good
TOKENS = 4  # good ones of a pod that are remembered: one is renewed before it ends
REVIEW_SECONDS = 5.0
AT_ONCE = 8
_REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
_EXTRA = "authentication.kubernetes.io/"
# As it is signed (RFC 7515 section 7.1), in no other way of writing it: each would be another question.
_JWS = re.compile(rb"[A-Za-z0-9_-]+\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+")
_log = logging.getLogger("xcore.calls")


class PodName(NamedTuple):
    """One pod, for good: its uid is nobody else's."""

    namespace: str
    name: str
    uid: str


class Running(NamedTuple):
    """A pod that has not ended, of a plugin that is wanted; its addresses are nobody else's meanwhile."""

    plugin: str
    instance: str
    addresses: frozenset[str]


# Gives what runs by that name, if it is one of ours.
Find = Callable[[PodName], Running | None]


class Token(NamedTuple):
    """What a token says of itself. `ends`: epoch seconds."""

    digest: bytes
    pod: PodName
    ends: float


@dataclass(eq=False, slots=True)
class _Known:
    """What is known of one pod. `good`: its tokens that were found good, and when they end; `again_at`: when it may be asked about again.

    `failure`: why it is not known whether the last one was.
    """

    good: dict[bytes, float] = field(default_factory=dict)
    caller: Caller | None = None
    asking: asyncio.Task[None] | None = None
    again_at: float = 0.0
    pause: float = 0.0
    failure: XcoreError | None = None


class PodCallers:
    """`identify` is an `Identify`."""

    def __init__(self, cluster: Cluster, find: Find, clock: Clock) -> None:
        self._cluster, self._find, self._clock = cluster, find, clock
        self._pods: dict[PodName, _Known] = {}
        self._places = asyncio.Semaphore(AT_ONCE)

    def identify(self, text: bytes, address: str) -> Caller | Awaitable[Caller | None] | None:
        token = read(text)
        if token is None or token.ends <= self._clock.time():
            return None
        running = self._find(token.pod)
        # A socket for both families writes an IPv4 address so (RFC 4291 section 2.5.5.2).
        if running is None or address.removeprefix("::ffff:") not in running.addresses:
            return None
        known = self._pods.get(token.pod)
        if known is not None and token.digest in known.good:
            return _caller(known, running)
        return self._find_out(token, text)

    async def _find_out(self, token: Token, text: bytes) -> Caller | None:
        known = self._pods.get(token.pod) or self._new(token.pod)
        while token.digest not in known.good:
            if known.asking is None:
                if self._clock.time() < known.again_at:
                    break
                known.asking = asyncio.create_task(self._ask(token, text, known))
            await asyncio.shield(known.asking)
        else:
            running = self._find(token.pod)
            return _caller(known, running) if running else None
        if known.failure is not None:
            raise known.failure
        return None

    async def _ask(self, token: Token, text: bytes, known: _Known) -> None:
        """Find out whether a token is good, and note when the next one may be asked about."""
        try:
            good = await self._is_good(token, text)
        except XcoreError as error:
            known.failure, known.again_at = error, self._clock.time() + FIRST_PAUSE
        else:
            known.failure = None
            if good:
                known.good = dict([*known.good.items(), (token.digest, token.ends)][-TOKENS:])
                known.pause = 0.0
            else:
                known.pause = min(LONGEST_PAUSE, 2 * known.pause or FIRST_PAUSE)
                known.again_at = self._clock.time() + known.pause
        finally:
            known.asking = None

    async def _is_good(self, token: Token, text: bytes) -> bool:
        try:
            async with self._places, asyncio.timeout(REVIEW_SECONDS):
                answer = await self._cluster.create(_REVIEWS, _review(text))
        except TimeoutError:
            raise RuntimeUnavailable("who calls cannot be found out in time") from None
        except Refusal as refusal:
            _log.error("the API server does not tell who calls: %s", refusal.detail)
            raise RuntimeUnavailable(
                "the controller may not find out who calls; its log says more"
            ) from refusal
        return _proves(answer.get("status", {}), token.pod)

    def _new(self, pod: PodName) -> _Known:
        """Take note of a pod, in the place of those that are gone."""
        self._pods = {each: known for each, known in self._pods.items() if self._find(each) is not None}
        return self._pods.setdefault(pod, _Known())


def _caller(known: _Known, running: Running) -> Caller:
    """Give the one of an instance, for it counts what that has under way; a container that was started again is another."""
    if known.caller is None or known.caller.instance != running.instance:
        known.caller = Caller(running.plugin, running.instance)
    return known.caller


def running_as(pod: PodName, item: Object | None) -> Running | None:
    """Read what runs by that name from the pod that has it now; another one of the name, a probe, one that has ended: nothing."""
    if item is None or item["metadata"]["uid"] != pod.uid or is_probe(item) or is_over(item):
        return None
    return Running(plugin_of(item), instance_of(item).id, addresses_of(item))


# -- tokens --------------------------------------------------------------------------------------------------------


class _Named(msgspec.Struct):
    name: str
    uid: str


class _Bound(msgspec.Struct):
    namespace: str
    pod: _Named


class _Claims(msgspec.Struct):
    """What is read of a token (RFC 7519). `exp`: epoch seconds."""

    exp: int
    bound: _Bound = msgspec.field(name="kubernetes.io")


_claims = msgspec.json.Decoder(_Claims)


def read(text: bytes) -> Token | None:
    """Take a token at its word: nothing of it is proved. None where it is none of a pod's."""
    written = _JWS.fullmatch(text)
    if written is None:
        return None
    try:
        claims = _claims.decode(base64.urlsafe_b64decode(written[1] + b"=="))
    except (binascii.Error, msgspec.DecodeError):
        return None
    pod = PodName(claims.bound.namespace, claims.bound.pod.name, claims.bound.pod.uid)
    return Token(hashlib.sha256(text).digest(), pod, claims.exp)


def _review(text: bytes) -> Object:
    return {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": text.decode("ascii"), "audiences": [AUDIENCE]},
    }


def _proves(status: Object, pod: PodName) -> bool:
    """Judge what the API server says of a token: good, for this use, and of that very pod."""
    user = status.get("user", {})
    extra = user.get("extra", {})
    return bool(
        status.get("authenticated")
        and AUDIENCE in status.get("audiences", ())
        and user.get("username", "").startswith(f"system:serviceaccount:{pod.namespace}:")
        and extra.get(f"{_EXTRA}pod-name") == [pod.name]
        and extra.get(f"{_EXTRA}pod-uid") == [pod.uid]
    )
