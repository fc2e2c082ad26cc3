"""From an action's return annotation to a checked answer and its JSON Schema.

Refuses, when the plugin loads, types msgspec cannot check.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Mapping, Sequence, Set as AbstractSet
from typing import Any

import msgspec

from xcore.plugin.arguments import members
from xcore.plugin.asgi import Answer, json_answer, render
from xcore.plugin.contract import Response


def simpler(value: Any) -> Any:
    """What msgspec does not write by itself: subclasses of scalars, and anything like a dict or a list."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence | AbstractSet):
        return list(value)
    raise TypeError(f"{type(value).__qualname__} is no JSON")


_encode = msgspec.json.Encoder(enc_hook=simpler).encode
RAW = (bytes, bytearray, memoryview)
# JSON whatever their value, and checked by their very type. Not float: NaN is none.
_PLAIN = frozenset((str, int, bool, type(None)))


class BadResult(Exception):
    """An action returned something its annotation does not allow."""


class Results:
    """What an action gives: JSON checked against the annotation, raw bytes, or a `Response`."""

    def __init__(self, returns: Any, verb: str = "returned") -> None:
        self._verb = verb
        allowed = members(returns)
        json = tuple(one for one in allowed if not (is_raw(one) or is_response(one)))
        self.gives_bytes = Any in allowed or any(map(is_raw, allowed))
        self._type = returns if json == allowed else typing.Union[json] if json else None  # noqa: UP007
        self._check = None if Any in allowed or not json else msgspec.json.Decoder(self._type)
        self.gives_json = bool(json)
        self.gives_anything = any(map(is_response, allowed)) or Any in allowed
        if Any in allowed:
            self._plain = _PLAIN
        else:
            bounded = typing.get_origin(returns) is typing.Annotated
            self._plain = frozenset() if bounded else _PLAIN.intersection(map(_class_of, json))

    def answer(self, result: object) -> Answer:
        """Turn what the action returned into an answer; raises BadResult where the annotation does not allow it."""
        try:
            if isinstance(result, Response):
                return render(result)
        except ValueError as error:
            raise self._unfit(error, result) from None
        if self.gives_bytes and isinstance(result, RAW):
            return Answer(200, [(b"content-type", b"application/octet-stream")], bytes(result))
        return json_answer(self.json(result))

    def json(self, result: object) -> bytes:
        """Turn it into JSON; raises BadResult like `answer`."""
        try:
            return _encode(result) if type(result) in self._plain else self._checked(result)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise self._unfit(error, result) from None

    def _unfit(self, error: Exception, result: object) -> BadResult:
        if isinstance(error, msgspec.ValidationError):
            return BadResult(f"{self._verb} what its annotation does not allow: {error}")
        return BadResult(f"{self._verb} what cannot be sent: {error}{_hint(result)}")

    def _checked(self, result: object) -> bytes:
        if not self.gives_json or (isinstance(result, RAW) and not self.gives_bytes):
            raise msgspec.ValidationError(f"`{type(result).__name__}`")
        body = _encode(result)
        if self._check is not None:
            self._check.decode(body)
        return body

    def schema(self) -> dict[str, Any] | None:
        """Describe the JSON it gives, if it gives any that is known; TypeError for a type that cannot be checked."""
        return None if self._check is None else msgspec.json.schema(self._type)


def _class_of(hint: Any) -> type | None:
    """`None` in an annotation means its type; what is no class is checked the long way."""
    return type(None) if hint is None else hint if isinstance(hint, type) else None


def is_raw(hint: Any) -> bool:
    return any(hint is one for one in RAW)


def is_response(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, Response)


def _hint(result: object) -> str:
    if inspect.iscoroutine(result):
        result.close()
        return " (is an `await` missing?)"
    if inspect.isgenerator(result) or inspect.isasyncgen(result):
        return " (to stream, yield in the action itself)"
    return ""
