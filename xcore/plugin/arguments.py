"""From a method's parameters to a decoder of arguments and their JSON Schema.

Refuses, when the plugin loads and not when it is called: `*args`, types msgspec cannot check, two raw bodies.
"""

from __future__ import annotations

import copy
import inspect
import re
import types
import typing
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import parse_qs

import msgspec
from msgspec import inspect as kinds

_AT = re.compile(r" - at `(?P<path>.*)`$")
_NAMED = re.compile(r"(?:missing required field|unknown field) `(.+?)`")
_MAX_QUERY_FIELDS = 256
_SCALARS = (str, int, float, bool, bytes, type(None))
_LISTS = (kinds.ListType, kinds.SetType, kinds.FrozenSetType, kinds.VarTupleType, kinds.TupleType)


class BadArguments(Exception):
    """The caller's arguments do not fit: `status` 400 or 422, and (field, message) pairs."""

    def __init__(self, status: int, detail: str, errors: list[dict[str, str]]) -> None:
        super().__init__(detail)
        self.status, self.detail, self.errors = status, detail, errors


class Arguments:
    """What an action takes. `raw` names the parameter that is the raw body, if there is one."""

    def __init__(self, action: str, method: Callable[..., Any], hints: Mapping[str, Any]) -> None:
        self.raw: str | None = None
        self._raw_hint: Any = bytes
        self._defaults: dict[str, Any] = {}
        fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
        for parameter in inspect.signature(method).parameters.values():
            name, hint = parameter.name, hints.get(parameter.name, Any)
            if parameter.kind not in {parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY}:
                raise TypeError(f"parameter {name} must be a named parameter")
            if is_raw(hint):
                if self.raw is not None:
                    raise TypeError("only one parameter may be bytes (the raw body)")
                self.raw, self._raw_hint = name, hint
            elif parameter.default is parameter.empty:
                fields.append((name, hint))
            else:
                fields.append((name, hint, self._default(name, parameter.default)))
        self._struct = msgspec.defstruct(action, fields, kw_only=True, forbid_unknown_fields=True)
        self._decode = msgspec.json.Decoder(self._struct).decode
        self._names = self._struct.__struct_fields__
        described = kinds.type_info(self._struct)
        assert isinstance(described, kinds.StructType)
        self._lists = frozenset(field.name for field in described.fields if _is_list(field.type))

    def _default(self, name: str, value: Any) -> Any:
        self._defaults[name] = value
        if type(value) in _SCALARS:
            return msgspec.field(default=value)
        if isinstance(value, list | dict | set | bytearray | msgspec.Struct) or hasattr(
            value, "__dataclass_fields__"
        ):
            # One caller's arguments must never be another's default.
            return msgspec.field(default_factory=partial(copy.deepcopy, value))
        return msgspec.field(default_factory=lambda: value)

    def read(self, body: bytes, query: bytes, *, from_query: bool) -> dict[str, Any]:
        """Check what the caller sent.

        A JSON object in the body; for GET, or beside a raw body, the query. Raises BadArguments.
        """
        try:
            if from_query or self.raw is not None:
                struct = msgspec.convert(self._query(query), self._struct, strict=False)
            else:
                struct = self._decode(body or b"{}")
            arguments = {name: getattr(struct, name) for name in self._names}
            if self.raw is not None:
                arguments[self.raw] = msgspec.convert(body, self._raw_hint)
        except msgspec.ValidationError as error:
            raise _invalid(str(error)) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BadArguments(400, f"the body is not JSON: {error}", []) from None
        except RecursionError:
            raise BadArguments(400, "the body is nested too deeply", []) from None
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
            name: values[0] if len(values) == 1 and name not in self._lists else values
            for name, values in found.items()
        }

    def schema(self) -> dict[str, Any]:
        """One JSON Schema (draft 2020-12) of an object; raises TypeError for a type that cannot be checked."""
        (reference,), components = msgspec.json.schema_components(
            [self._struct], ref_template="#/$defs/{name}"
        )
        schema: dict[str, Any] = components.pop(reference["$ref"].rpartition("/")[2])
        for name, value in self._defaults.items():
            try:
                schema["properties"][name]["default"] = msgspec.to_builtins(value)
            except TypeError:  # a marker of the author's own: nothing a caller could send
                schema["properties"][name].pop("default", None)
        return {**schema, "$defs": components} if components else schema


def members(hint: Any) -> tuple[Any, ...]:
    """The members of a union, Annotated or not; anything else is its own only member."""
    inner = typing.get_args(hint)[0] if typing.get_origin(hint) is typing.Annotated else hint
    return typing.get_args(inner) if typing.get_origin(inner) in {typing.Union, types.UnionType} else (hint,)


def is_raw(hint: Any) -> bool:
    """`bytes`, `bytes | None` and bounds on them are the raw body; bytes anywhere else are base64 in JSON."""
    found = [typing.get_args(m)[0] if typing.get_origin(m) is typing.Annotated else m for m in members(hint)]
    return bytes in found and all(member in (bytes, type(None)) for member in found)


def _is_list(kind: kinds.Type) -> bool:
    if isinstance(kind, kinds.Metadata):
        return _is_list(kind.type)
    if isinstance(kind, kinds.UnionType):
        return all(isinstance(one, (*_LISTS, kinds.NoneType)) for one in kind.types)
    return isinstance(kind, _LISTS)


def _invalid(message: str) -> BadArguments:
    """Msgspec says "Expected `int`, got `str` - at `$.count`"; a caller wants the field by itself."""
    at = _AT.search(message)
    where = at["path"].removeprefix("$").removeprefix(".") if at else ""
    text = message[: at.start()] if at else message
    named = _NAMED.search(text)
    if named:
        where = f"{where}.{named[1]}".removeprefix(".")
    return BadArguments(422, f"{where or 'arguments'}: {text}", [{"field": where, "message": text}])
