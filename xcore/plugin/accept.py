"""What a client would rather have: `Accept` (RFC 9110 section 12.5.1), as far as a choice between few types needs it."""

from __future__ import annotations

from collections.abc import Sequence

MAX_RANGES = 64


def preferred(accept: bytes, offered: Sequence[bytes]) -> bytes:
    """The offer of the highest quality; among equals one that is named outright, then the first.

    The first as well where nothing is said or nothing fits: an answer it may not read helps a client more than none.
    """
    ranges = [_range(part) for part in accept.lower().split(b",")[:MAX_RANGES] if part.strip()]
    return max(offered, key=lambda offer: _judge(offer, ranges))


def _judge(offer: bytes, ranges: Sequence[tuple[bytes, float]]) -> tuple[float, int]:
    """Its quality by the most specific range that fits, and how specific that is."""
    fitting = [(_specific(name, offer), quality) for name, quality in ranges]
    specific, quality = max(fitting, default=(0, 0.0))
    return (quality, specific) if specific else (0.0, 0)


def _specific(name: bytes, offer: bytes) -> int:
    if name == offer:
        return 3
    if name == offer.partition(b"/")[0] + b"/*":
        return 2
    return int(name == b"*/*")


def _range(part: bytes) -> tuple[bytes, float]:
    name, *parameters = (word.strip() for word in part.split(b";"))
    weights = [word[2:] for word in parameters if word.startswith(b"q=")]
    try:
        quality = float(weights[0]) if weights else 1.0
    except ValueError:
        return name, 0.0
    return name, quality if 0 <= quality <= 1 else 0.0
