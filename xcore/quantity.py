"""Kubernetes quantities: `500m` of a processor, `128Mi` of memory, `1k` processes.

The notation is that of k8s.io/apimachinery `resource.Quantity`: a decimal number and one suffix out of `n u m k M G T P E`,
`Ki Mi Gi Ti Pi Ei`, or an exponent (`1e3`). Two things Kubernetes does are refused here: negative amounts, and rounding
(half a byte and a tenth of a millicore are mistakes, not wishes). Every function raises ValueError with a sentence that
says what is allowed; it never holds the text it was given.
"""

from __future__ import annotations

import re
from fractions import Fraction

# No backtracking: each part starts with a character the part before it cannot end with.
_QUANTITY = re.compile(
    r"(?P<number>[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE](?P<exponent>[+-]?[0-9]{1,2})|(?P<suffix>[KMGTPE]i|[numkMGTPE]))?"
)
_LONGEST = 32
_DECIMAL = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}


def parse_cpu(text: str) -> float:
    """Processor cores: `500m` is 0.5."""
    millicores = _amount(text, "500m") * 1000
    if millicores.denominator != 1:
        raise ValueError("must be whole millicores, such as 500m")
    return millicores.numerator / 1000


def parse_bytes(text: str) -> int:
    """Bytes: `128Mi` is 134217728."""
    return _whole(_amount(text, "128Mi"), "must be whole bytes, such as 128Mi")


def parse_count(text: str) -> int:
    """A number of things, such as processes: `64` or `1k`."""
    return _whole(_amount(text, "64"), "must be a whole number, such as 64")


def _whole(amount: Fraction, otherwise: str) -> int:
    if amount.denominator != 1:
        raise ValueError(otherwise)
    return amount.numerator


def _amount(text: str, example: str) -> Fraction:
    match = _QUANTITY.fullmatch(text) if len(text) <= _LONGEST else None
    if match is None:
        raise ValueError(f"must be a Kubernetes quantity, such as {example}")
    number, suffix = Fraction(match["number"]), match["suffix"]
    if suffix in _BINARY:
        return number * (1 << _BINARY[suffix])
    return number * Fraction(f"1e{_DECIMAL[suffix] if suffix else match['exponent'] or 0}")
