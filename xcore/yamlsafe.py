"""Reads YAML that strangers wrote, one event at a time, into plain JSON data.

Refused before anything is built from it: more than 64 KiB, anything but UTF-8, nesting deeper than 16, tags, anchors and
aliases (so no bomb can unfold), merge keys, duplicate keys, keys that are not strings, a second document, and numbers
JSON cannot hold. PyYAML only scans; its constructors and resolvers never run.

What a plain scalar means follows the YAML 1.2 core schema: null, true, false, decimal integers and floats; all else is a
string. Where YAML 1.1 (which kubectl speaks) would read another value than YAML 1.2, the scalar is refused and the message
says what to write: `no`, `yes`, `on`, `off` (the norway problem), `010`, `0o10`, `0x10`, `1_000`. So a file means the same
whichever door it comes through, and nothing is guessed. In quotes, all of them are strings.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping

import yaml
from pydantic import JsonValue

from xcore.errors import InvalidManifest, Problem

MAX_BYTES = 64 * 1024
MAX_DEPTH = 16

Path = tuple[str | int, ...]
Lines = Mapping[Path, int]

# The same grammar in C where PyYAML was built with it, ten times as fast.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEAN = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NORWAY = frozenset(
    form for word in ("yes", "no", "on", "off") for form in (word, word.title(), word.upper())
)
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_OTHER_NUMBER = re.compile(r"[-+]?(?:0(?:[0-9_]+|o[0-7_]+|b[01_]+|x[0-9a-fA-F_]+)|(?=[0-9]*_)[0-9][0-9_]*)")
_LONGEST_INTEGER = 20
# YAML 1.2 section 5.1, c-printable.
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def load(text: bytes, *, name: str) -> tuple[JsonValue, Lines]:
    """The one document in `text`, and the line (from 1) on which each path in it begins.

    A path is the keys and positions from the root: `("spec", "env", 0, "name")`; `()` is the document. Raises
    InvalidManifest naming `name`, the line and the field; never anything else, whatever the bytes are.
    """
    try:
        return _Reader(_decoded(text)).document()
    except _Refused as refused:
        problem = Problem(dotted(refused.path), f"line {refused.line}: {refused.message}")
        raise InvalidManifest(f"{name} cannot be read as YAML", [problem]) from None


def dotted(path: Path) -> str:
    """`("spec", "env", 0, "name")` as people write it: `spec.env[0].name`."""
    written = ""
    for step in path:
        if isinstance(step, str) and re.fullmatch(r"[A-Za-z0-9_-]{1,63}", step):
            written += f".{step}" if written else step
        else:  # anything odd is quoted and cut, so that it can neither mislead nor flood a reader
            written += f"[{step}]" if isinstance(step, int) else f"[{step[:63]!a}]"
    return written


class _Refused(Exception):
    """Not an error of its own: load() tells it as InvalidManifest."""

    def __init__(self, message: str, *, line: int, path: Path = ()) -> None:
        super().__init__(message)
        self.message, self.line, self.path = message, line, path


def _decoded(text: bytes) -> str:
    if len(text) > MAX_BYTES:
        raise _Refused(f"must be at most {MAX_BYTES // 1024} KiB", line=1)
    try:
        decoded = text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _Refused("must be UTF-8", line=text.count(b"\n", 0, error.start) + 1) from None
    if bad := _UNPRINTABLE.search(decoded):
        message = f"must not contain the control character U+{ord(bad[0]):04X}"
        raise _Refused(message, line=decoded.count("\n", 0, bad.start()) + 1)
    return decoded


class _Reader:
    """Builds data from events; `self.lines` fills as it goes."""

    def __init__(self, text: str) -> None:
        self._events = _events(text)
        self.lines: dict[Path, int] = {}

    def document(self) -> tuple[JsonValue, Lines]:
        next(self._events)  # the stream begins
        if isinstance(next(self._events), yaml.StreamEndEvent):
            raise _Refused("is empty", line=1)
        data = self._node(next(self._events), ())
        next(self._events)  # the document ends
        after = next(self._events)
        if not isinstance(after, yaml.StreamEndEvent):
            raise _Refused("must be one document; remove everything from this --- on", line=_line(after))
        return data, self.lines

    def _node(self, event: yaml.Event, path: Path) -> JsonValue:
        self.lines[path] = self.lines.get(path, _line(event))
        _check(event, path)
        if isinstance(event, yaml.ScalarEvent):
            return _scalar(event, path)
        return self._mapping(path) if isinstance(event, yaml.MappingStartEvent) else self._sequence(path)

    def _sequence(self, path: Path) -> list[JsonValue]:
        items: list[JsonValue] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, (*path, len(items))))
        return items

    def _mapping(self, path: Path) -> dict[str, JsonValue]:
        items: dict[str, JsonValue] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = _key(event, path)
            if key in items:
                first = self.lines[*path, key]
                raise _Refused(f"is given twice, first on line {first}", line=_line(event), path=(*path, key))
            self.lines[*path, key] = _line(event)
            items[key] = self._node(next(self._events), (*path, key))
        return items


def _events(text: str) -> Iterator[yaml.Event]:
    try:
        yield from yaml.parse(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = 1 if mark is None else mark.line + 1
        raise _Refused(f"is not YAML: {error.problem or error.context}", line=line) from None
    except (yaml.YAMLError, ValueError, OverflowError):
        # The scanner in Python lets int() and chr() speak for themselves: "\UFFFFFFFF", %YAML 111…1.1
        raise _Refused("is not YAML: a character or number is out of range", line=1) from None


def _line(event: yaml.Event) -> int:
    return 1 if event.start_mark is None else event.start_mark.line + 1


def _check(event: yaml.Event, path: Path) -> None:
    """Refuses what no node may have or be. The path is as long as the node is deep."""
    line = _line(event)
    if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
        raise _Refused("must not use anchors (&) or aliases (*); write the value out", line=line, path=path)
    if getattr(event, "tag", None) is not None:
        raise _Refused("must not use tags (!)", line=line, path=path)
    if len(path) >= MAX_DEPTH and not isinstance(event, yaml.ScalarEvent):
        raise _Refused(f"must not be nested deeper than {MAX_DEPTH} levels", line=line)


def _key(event: yaml.Event, path: Path) -> str:
    line = _line(event)
    _check(event, path)
    if not isinstance(event, yaml.ScalarEvent):
        raise _Refused("must have strings as keys, not lists or mappings", line=line, path=path)
    if event.value == "<<" and event.implicit[0]:
        raise _Refused("must not use merge keys (<<); write the fields out", line=line, path=path)
    key = _scalar(event, path)
    if not isinstance(key, str):
        raise _Refused(f"must have strings as keys; put {_shown(event)} in quotes", line=line, path=path)
    return key


def _scalar(event: yaml.ScalarEvent, path: Path) -> JsonValue:
    text: str = event.value
    if event.implicit[0]:  # plain: neither quoted nor a block
        return _plain(event, text, path)
    if not text.isascii() and re.search("[\ud800-\udfff]", text):
        raise _Refused("must not contain half of a surrogate pair", line=_line(event), path=path)
    return text


def _plain(event: yaml.ScalarEvent, text: str, path: Path) -> JsonValue:
    if text in _NULL:
        return None
    if text in _BOOLEAN:
        return _BOOLEAN[text]
    if text in _NORWAY:
        message = f"is ambiguous in YAML; write true or false, or {text} in quotes"
    elif _OTHER_NUMBER.fullmatch(text):
        message = f"is ambiguous in YAML; write a decimal number, or {_shown(event)} in quotes"
    elif _INTEGER.fullmatch(text):
        if len(text) <= _LONGEST_INTEGER and -(2**63) <= int(text) < 2**63:
            return int(text)
        message = "must be a number that fits 64 bits, or be in quotes"
    elif _SPECIAL.fullmatch(text) or _FLOAT.fullmatch(text):
        if not _SPECIAL.fullmatch(text) and math.isfinite(number := float(text)):
            return number
        message = "must be a finite number, or be in quotes"
    else:
        return text
    raise _Refused(message, line=_line(event), path=path)


def _shown(event: yaml.ScalarEvent) -> str:
    return event.value if len(event.value) <= 40 else "it"
