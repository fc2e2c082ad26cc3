"""Whose a token is that a pod shows when it calls other plugins: the API server is asked, once for each token.

The kubelet puts it into the pod, made for that pod and this use alone, and renews it (kubernetes.io, "Bound service account
tokens"; TokenReview of authentication.k8s.io/v1). What a token says of itself only decides whether asking is worth it: it must name a pod
that runs where the call comes from (pods reach each other without translation of addresses: kubernetes.io, "Services, Load
Balancing, and Networking"), and each pod is asked about by one question at a time, after a wrong answer not for a moment. What was found out
holds as long as token and pod: also while the API server is away.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import msgspec

from xcore.clock import Clock
from xcore.errors import RuntimeUnavailable
from xcore.runtimes.callsockets import Caller
from xcore.runtimes.kubernetes.client import Cluster, Object, Refusal
from xcore.runtimes.kubernetes.found import addresses_of, instance_of
from xcore.runtimes.kubernetes.mirrors import plugin_of
from xcore.runtimes.kubernetes.pod import AUDIENCE
from xcore.runtimes.kubernetes.probe import is_over, is_probe

AGAIN_SECONDS = 1.0  # after a token that was no good
REVIEW_SECONDS = 5.0
AT_ONCE = 8
_REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
_EXTRA = "authentication.kubernetes.io/"
_log = logging.getLogger("xcore.calls")


class PodName(NamedTuple):
    """One pod, for good: its uid is nobody else's."""

    namespace: str
    name: str
    uid: str


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


class _Token(NamedTuple):
    text: bytes
    digest: bytes
    pod: PodName
    ends: float


class Running(NamedTuple):
    """A pod that has not ended, of a plugin that is wanted; its addresses are nobody else's meanwhile."""

    plugin: str
    instance: str
    addresses: frozenset[str]


# Gives what runs by that name, if it is one of ours.
Find = Callable[[PodName], Running | None]


class PodCallers:
    """`identify` is an `Identify`."""

    def __init__(self, cluster: Cluster, find: Find, clock: Clock) -> None:
        self._cluster, self._find, self._clock = cluster, find, clock
        self._good: dict[bytes, _Token] = {}  # by digest: no token is kept
        self._callers: dict[str, Caller] = {}
        self._turns: defaultdict[PodName, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._refused: dict[PodName, float] = {}
        self._places = asyncio.Semaphore(AT_ONCE)

    def identify(self, text: bytes, address: str) -> Caller | Awaitable[Caller | None] | None:
        known = self._good.get(hashlib.sha256(text).digest())
        token = known or read(text)
        if token is None or token.ends <= self._clock.time():
            return None
        running = self._find(token.pod)
        # A socket for both families writes an IPv4 address so (RFC 4291 section 2.5.5.2).
        if running is None or address.removeprefix("::ffff:") not in running.addresses:
            return None
        return self._caller(token.pod) if known else self._find_out(token)

    async def _find_out(self, token: _Token) -> Caller | None:
        async with self._turns[token.pod]:
            if token.digest not in self._good:
                if self._clock.time() - self._refused.get(token.pod, 0.0) < AGAIN_SECONDS:
                    return None
                if not await self._is_good(token):
                    self._refused[token.pod] = self._clock.time()
                    return None
                self._forget()
                self._good[token.digest] = token._replace(text=b"")
        return self._caller(token.pod)

    async def _is_good(self, token: _Token) -> bool:
        try:
            async with asyncio.timeout(REVIEW_SECONDS), self._places:
                answer = await self._cluster.create(_REVIEWS, _review(token))
        except TimeoutError:
            raise RuntimeUnavailable("who calls cannot be found out in time") from None
        except Refusal as refusal:
            _log.error("the API server does not tell who calls: %s", refusal.detail)
            raise RuntimeUnavailable(
                "the controller may not find out who calls; its log says more"
            ) from refusal
        return _proves(answer.get("status", {}), token.pod)

    def _caller(self, pod: PodName) -> Caller | None:
        """One for each instance, for it counts what that has under way."""
        running = self._find(pod)
        if running is None:
            return None
        return self._callers.setdefault(running.instance, Caller(running.plugin, running.instance))

    def _forget(self) -> None:
        """Let go of what is of no use any more; called when something new is learnt, which is seldom."""
        now = self._clock.time()
        pods = {token.pod for token in self._good.values()} | {*self._turns, *self._refused}
        found = {pod: self._find(pod) for pod in pods}
        gone = {pod for pod in pods if found[pod] is None}
        self._good = {
            digest: token
            for digest, token in self._good.items()
            if token.ends > now and token.pod not in gone
        }
        for pod in gone:
            self._turns.pop(pod, None)
            self._refused.pop(pod, None)
        alive = {running.instance for running in found.values() if running}
        self._callers = {
            name: caller for name, caller in self._callers.items() if name in alive or caller.busy
        }


def running_as(pod: PodName, item: Object | None) -> Running | None:
    """Read what runs by that name from the pod that has it now; another one of the name, a probe, one that has ended: nothing."""
    if item is None or item["metadata"]["uid"] != pod.uid or is_probe(item) or is_over(item):
        return None
    return Running(plugin_of(item), instance_of(item).id, addresses_of(item))


def read(text: bytes) -> _Token | None:
    """Take a token at its word: nothing of it is proved. None where it is none of a pod's."""
    try:
        _, payload, _ = text.split(b".")
        claims = msgspec.json.decode(base64.urlsafe_b64decode(payload + b"=="), type=_Claims)
    except (ValueError, binascii.Error, msgspec.DecodeError):
        return None
    pod = PodName(claims.bound.namespace, claims.bound.pod.name, claims.bound.pod.uid)
    return _Token(text, hashlib.sha256(text).digest(), pod, claims.exp)


def _review(token: _Token) -> Object:
    return {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": token.text.decode("latin-1"), "audiences": [AUDIENCE]},
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
