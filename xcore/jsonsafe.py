"""Reads JSON that strangers wrote into plain data, as strictly as `yamlsafe` reads YAML.

Refused: more than 64 KiB and nesting deeper than 16 (unless more is asked for), anything but UTF-8, duplicate keys, NaN and
Infinity, whole numbers beyond 64 bits, halves of surrogate pairs.
"""

from __future__ import annotations

import json
import math
from typing import Any

from pydantic import JsonValue

from xcore.errors import InvalidManifest, Problem
from xcore.yamlsafe import MAX_BYTES, MAX_DEPTH

_LONGEST_NUMBER = 32


class _Refused(ValueError):
    """One broken rule, in words."""


def load(text: bytes, *, name: str, max_bytes: int = MAX_BYTES, max_depth: int = MAX_DEPTH) -> JsonValue:
    """The data in a JSON document; raises InvalidManifest saying what is wrong with `name`."""
    try:
        data: JsonValue = _DECODER.decode(_decoded(text, max_bytes))
        _check(data, max_depth)
    except UnicodeDecodeError:
        raise _invalid(name, "must be UTF-8") from None
    except RecursionError:
        raise _invalid(name, f"must not be nested deeper than {max_depth} levels") from None
    except json.JSONDecodeError as error:
        raise _invalid(name, f"is not JSON: {error.msg} on line {error.lineno}") from None
    except _Refused as error:
        raise _invalid(name, str(error)) from None
    return data


def _invalid(name: str, what: str) -> InvalidManifest:
    return InvalidManifest(f"{name} cannot be read", [Problem("", what)])


def _decoded(text: bytes, max_bytes: int) -> str:
    if len(text) > max_bytes:
        raise _Refused(f"must be at most {max_bytes // 1024} KiB")
    return text.decode("utf-8")


def _mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for number, key in enumerate(keys) if key in keys[:number])
        raise _Refused(f"has the key {json.dumps(twice[:60])} twice")
    return found


def _constant(text: str) -> Any:
    raise _Refused(f"must not hold {text}, which is not JSON")


def _whole(text: str) -> int:
    if len(text) > _LONGEST_NUMBER or not -(2**63) <= int(text) < 2**63:
        raise _Refused("must not hold whole numbers beyond 64 bits")
    return int(text)


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _Refused("must not hold numbers too large for a double")
    return number


_DECODER = json.JSONDecoder(
    object_pairs_hook=_mapping, parse_constant=_constant, parse_int=_whole, parse_float=_number
)


def _check(data: JsonValue, max_depth: int, depth: int = 0) -> None:
    if isinstance(data, str):
        if not data.isascii() and any("\ud800" <= letter <= "\udfff" for letter in data):
            raise _Refused("must not hold half of a surrogate pair")
    elif isinstance(data, dict | list):
        if depth >= max_depth:
            raise _Refused(f"must not be nested deeper than {max_depth} levels")
        for part in (*data, *data.values()) if isinstance(data, dict) else data:
            _check(part, max_depth, depth + 1)
