"""A request that the controller sends to a plugin by itself, what came of it, and whether asking again may help."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

MAX_ANSWER = 1024 * 1024  # bytes of an answer that are kept
MAX_DETAIL = 1000
# Of a client's mistakes, those that time mends (RFC 9110 section 15.5, RFC 6585, RFC 8470).
_PASSING = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True)
class Sent:
    """`target` begins with /app/<plugin>/; `headers`: names in lower case, none that is the controller's own."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Told:
    """An answer. `reason`: ours where it is a problem of ours, "" where the plugin answered; `cut`: its body went on."""

    status: int
    reason: str = ""
    media_type: str = ""
    body: bytes = field(default=b"", repr=False)
    cut: bool = False

    @property
    def well(self) -> bool:
        return self.status < 400

    @property
    def final(self) -> bool:
        """Whether the same again would be told the same."""
        return self.status < 500 and self.status not in _PASSING

    @property
    def failure(self) -> tuple[str, str]:
        """The reason and the sentence of what went wrong."""
        return self.reason or "ActionFailed", self._detail()[:MAX_DETAIL]

    def _detail(self) -> str:
        plain = f"the plugin answered {self.status}"
        if not self.media_type.startswith("application/problem+json"):
            return plain
        try:
            problem = json.loads(self.body)
        except (ValueError, RecursionError):
            return plain
        detail = problem.get("detail") if isinstance(problem, dict) else None
        return detail if isinstance(detail, str) and detail else plain


# Sends it on the way every request takes, but for the key; the answer comes within so many seconds, one way or the other.
Caller = Callable[[Sent, float], Awaitable[Told]]
