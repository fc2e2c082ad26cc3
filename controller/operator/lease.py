"""Which replica writes: whoever holds the Lease (coordination.k8s.io/v1). Everybody proxies.

As client-go has it: a lease lasts 15 s, is renewed every 2 s, and its holder stops writing 10 s after the last renewal it
knows of, by its own clock: a replica that was paused finds itself no leader before it writes again. Others count
the 15 s from when they saw the lease change, so that clocks need not agree; they look every second and when the time is
over, so that somebody leads at most 17 s after a leader's last word.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime

from xcore.clock import Clock, SystemClock, sleep
from xcore.errors import XcoreError
from xcore.runtimes.kubernetes.client import Cluster, Object, Refusal

LEASE_SECONDS = 15
RENEW_SECONDS = 10.0
RETRY_SECONDS = 2.0
LOOK_SECONDS = 1.0
NAME = "xcore-controller"
_log = logging.getLogger("xcore.operator")


class Leadership:
    """`identity` names this replica. `clock` gives seconds that also pass while the process is stopped."""

    def __init__(
        self, cluster: Cluster, namespace: str, identity: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._cluster, self._identity, self._clock = cluster, identity, clock
        self._collection = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._until, self._well_at, self._failure = 0.0, clock(), ""
        self._held: Object | None = None  # our lease as we wrote it: the next renewal need not read it
        # The version of somebody else's lease, and when its time is over if it is not renewed.
        self._seen, self._free_at = "", 0.0
        self.on_change: Callable[[], None] = lambda: None

    def leads(self) -> bool:
        return self._clock() < self._until

    @property
    def trouble(self) -> str:
        """Why this replica may neither lead nor tell who does; empty unless that lasts."""
        return self._failure if self._clock() - self._well_at > RENEW_SECONDS else ""

    async def run(self, waits: Clock | None = None) -> None:
        """Try for ever to get it, and to keep it."""
        waits = waits or SystemClock()
        while True:
            led = self.leads()
            try:
                await self._try()
                self._well_at = self._clock()
            except XcoreError as error:
                self._failure = error.detail
                if isinstance(error, Refusal):  # somebody else wrote it, or nobody may
                    self._until = 0.0
                    self._failure = (
                        f"the API server refuses the Lease {NAME} ({error.status}): nobody may lead"
                    )
                _log.warning("the lease could not be read or renewed: %s", error.detail)
            if led != self.leads():
                _log.info("this replica %s", "leads" if self.leads() else "leads no more")
                self.on_change()
            await sleep(waits, self._pause())

    async def give_up(self) -> None:
        """Let somebody else have it at once."""
        if not self.leads():
            return
        self._until = 0.0
        found = await self._cluster.get(f"{self._collection}/{NAME}")
        if found is not None and found["spec"].get("holderIdentity") == self._identity:
            found["spec"]["holderIdentity"] = ""
            await self._cluster.replace(f"{self._collection}/{NAME}", found)

    def _pause(self) -> float:
        if self.leads():
            return RETRY_SECONDS
        left = self._free_at - self._clock()
        return left if 0 < left < LOOK_SECONDS else LOOK_SECONDS

    async def _try(self) -> None:
        asked = self._clock()
        # After a pause it may be another one's: who was stopped looks before it writes.
        held, self._held = self._held if self.leads() else None, None
        found = held or await self._cluster.get(f"{self._collection}/{NAME}")
        if found is None:
            self._held = await self._cluster.create(self._collection, self._lease(None))
        elif self._is_free(found):
            self._held = await self._cluster.replace(f"{self._collection}/{NAME}", self._lease(found))
        else:
            self._until = 0.0
            return
        self._until = asked + RENEW_SECONDS

    def _is_free(self, found: Object) -> bool:
        holder = found["spec"].get("holderIdentity") or ""
        if holder in {"", self._identity}:
            return True
        version, now = found["metadata"]["resourceVersion"], self._clock()
        if self._seen != version:
            self._seen = version
            self._free_at = now + found["spec"].get("leaseDurationSeconds", LEASE_SECONDS)
        return bool(now >= self._free_at)

    def _lease(self, found: Object | None) -> Object:
        """Give it with us as holder; the version it names makes sure that nobody else was faster."""
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        before = found["spec"] if found else {}
        ours = before.get("holderIdentity") == self._identity
        changes = before.get("leaseTransitions", 0)
        meta = found["metadata"] if found else {"name": NAME}
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {key: meta[key] for key in ("name", "resourceVersion") if key in meta},
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": LEASE_SECONDS,
                "acquireTime": before.get("acquireTime", now) if ours else now,
                "renewTime": now,
                "leaseTransitions": changes if ours or not found else changes + 1,
            },
        }
