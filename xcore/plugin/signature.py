"""From a method's signature to a decoder of arguments, an encoder of results and JSON Schemas.

Refuses, when the plugin loads and not when it is called: `*args`, generators, types msgspec cannot check,
more than one raw body.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs

import msgspec

from xcore.plugin.contract import MARK, ActionMark, Plugin, Response

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,62}")
_AT = re.compile(r" - at `(?P<path>[^`]*)`$")
_MAX_QUERY_FIELDS = 256
_encode = msgspec.json.Encoder().encode


class BadArguments(Exception):
    """The caller's arguments do not fit: `status` 400 or 422, and (field, message) pairs."""

    def __init__(self, status: int, detail: str, errors: list[dict[str, str]]) -> None:
        super().__init__(detail)
        self.status, self.detail, self.errors = status, detail, errors


class BadResult(Exception):
    """An action returned something its annotation does not allow."""


class Action:
    """One compiled action: `arguments(body, query)` → keyword arguments; `encode(result)` → (media type, body)."""

    def __init__(self, name: str, method: Callable[..., Any], *, safe: bool) -> None:
        self.name, self.method, self.safe = name, method, safe
        self.is_async = inspect.iscoroutinefunction(method)
        self.doc = inspect.getdoc(method) or ""
        if inspect.isasyncgenfunction(method) or inspect.isgeneratorfunction(method):
            raise TypeError(f"action {name}: generators (streams) are not supported in this version")
        hints = typing.get_type_hints(method, include_extras=True)
        self._compile_arguments(hints)
        self._returns = hints.get("return", Any)
        try:
            self._check = None if _unchecked(self._returns) else msgspec.json.Decoder(self._returns)
        except TypeError as error:
            raise TypeError(f"action {name}: the result's type cannot be checked: {error}") from error

    def _compile_arguments(self, hints: Mapping[str, Any]) -> None:
        fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
        self._raw: str | None = None
        for parameter in inspect.signature(self.method).parameters.values():
            if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY}:
                raise TypeError(f"action {self.name}: parameter {parameter.name} must be a named parameter")
            hint = hints.get(parameter.name, Any)
            if hint is bytes:
                if self._raw is not None:
                    raise TypeError(f"action {self.name}: only one parameter may be bytes (the raw body)")
                self._raw = parameter.name
            elif parameter.default is parameter.empty:
                fields.append((parameter.name, hint))
            else:
                fields.append((parameter.name, hint, parameter.default))
        try:
            self._struct = msgspec.defstruct(self.name, fields, kw_only=True, forbid_unknown_fields=True)
            self._decode = msgspec.json.Decoder(self._struct).decode
        except (TypeError, ValueError) as error:
            raise TypeError(f"action {self.name}: a parameter's type cannot be checked: {error}") from error
        self._names = self._struct.__struct_fields__

    def arguments(self, body: bytes, query: bytes, *, from_query: bool) -> dict[str, Any]:
        """Check what the caller sent.

        A JSON object in the body; for GET, or beside a raw body, the query. Raises BadArguments.
        """
        try:
            if from_query or self._raw is not None:
                struct = msgspec.convert(self._query(query), self._struct, strict=False)
            else:
                struct = self._decode(body or b"{}")
        except msgspec.ValidationError as error:
            raise _invalid(str(error)) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadArguments(400, f"the body is not JSON: {error}", []) from None
        arguments = {name: getattr(struct, name) for name in self._names}
        if self._raw is not None:
            arguments[self._raw] = body
        return arguments

    def _query(self, query: bytes) -> dict[str, Any]:
        try:
            found = parse_qs(
                query.decode("ascii"),
                keep_blank_values=True,
                errors="strict",
                max_num_fields=_MAX_QUERY_FIELDS,
            )
        except ValueError as error:
            raise BadArguments(400, f"the query cannot be read: {error}", []) from None
        return {
            name: values[0] if len(values) == 1 and not self._wants_list(name) else values
            for name, values in found.items()
        }

    def _wants_list(self, name: str) -> bool:
        hint = self._struct.__annotations__.get(name)
        return typing.get_origin(hint) in {list, tuple, set, frozenset}

    def encode(self, result: object) -> Response:
        """Turn what the action returned into an answer; raises BadResult where the annotation does not allow it."""
        if isinstance(result, Response):
            return result
        if isinstance(result, bytes):
            return Response(result)
        try:
            body = _encode(result)
            if self._check is not None:
                self._check.decode(body)
        except msgspec.ValidationError as error:
            raise BadResult(f"returned what its annotation does not allow: {error}") from None
        except (TypeError, ValueError, RecursionError) as error:
            raise BadResult(f"returned what cannot be JSON: {error}") from None
        return Response(body, "application/json")

    def describe(self) -> dict[str, Any]:
        """Name, docstring and JSON Schemas (draft 2020-12) of arguments and result."""
        (arguments,), components = msgspec.json.schema_components(
            [self._struct], ref_template="#/$defs/{name}"
        )
        schema: dict[str, Any] = {"$defs": dict(components), **arguments} if components else dict(arguments)
        described: dict[str, Any] = {
            "name": self.name,
            "description": self.doc,
            "methods": ["GET", "POST"] if self.safe else ["POST"],
            "arguments": schema,
            "rawBody": self._raw is not None,
        }
        if self._check is not None:
            described["result"] = msgspec.json.schema(self._returns)
        return described


def compile_actions(plugin: Plugin) -> dict[str, Action]:
    """All `@action` methods of a plugin by public name; raises TypeError naming the action that cannot be served."""
    actions: dict[str, Action] = {}
    for attribute in dir(type(plugin)):
        mark = getattr(getattr(type(plugin), attribute), MARK, None)
        if not isinstance(mark, ActionMark):
            continue
        name = mark.name or attribute
        if not _NAME.fullmatch(name):
            raise TypeError(f"action {name!r}: a name matches {_NAME.pattern}")
        if name in actions:
            raise TypeError(f"action {name}: the name is used twice")
        actions[name] = Action(name, getattr(plugin, attribute), safe=mark.safe)
    return actions


def _unchecked(returns: object) -> bool:
    if returns in {Any, bytes, Response}:
        return True
    members = typing.get_args(returns)
    return Response in members or bytes in members


def _invalid(message: str) -> BadArguments:
    """Msgspec says "Expected `int`, got `str` - at `$.count`"; a caller wants the field by itself."""
    at = _AT.search(message)
    where = at["path"].removeprefix("$").removeprefix(".") if at else ""
    missing = re.search(r"(?:missing required field|unknown field) `([^`]+)`", message)
    if missing:
        where = f"{where}.{missing[1]}".removeprefix(".")
    text = _AT.sub("", message)
    return BadArguments(422, f"{where or 'arguments'}: {text}", [{"field": where, "message": text}])
