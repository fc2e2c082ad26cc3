"""From a plugin's class to its actions. What cannot be served is refused here, when the plugin loads, by name."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Mapping
from typing import Any

from xcore.plugin.arguments import Arguments
from xcore.plugin.contract import MARK, ActionMark, Plugin
from xcore.plugin.results import Results
from xcore.plugin.stream import Streaming, is_stream

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,62}")
_HOOKS = frozenset(("startup", "shutdown", "health"))


class Action:
    """One compiled action: its name, what it takes, what it gives. Raises TypeError where it cannot be served."""

    def __init__(self, name: str, method: Callable[..., Any], *, safe: bool, owner: type = object) -> None:
        self.name, self.method = name, method
        self.methods = ("GET", "HEAD", "POST") if safe else ("POST",)
        self.is_async = inspect.iscoroutinefunction(method)
        self.streaming: Streaming | None = None
        try:
            hints = _hints(method, owner)
            self.arguments = Arguments(name, method, hints)
            returns = hints.get("return", Any)
            if is_stream(method):
                self.streaming = Streaming(returns)
                self.results = self.streaming.results
            else:
                self.results = Results(returns)
            self.description = self._describe()
        except (TypeError, ValueError, NameError) as error:
            raise TypeError(f"action {name}: {error}") from error

    def _describe(self) -> dict[str, Any]:
        described: dict[str, Any] = {
            "name": self.name,
            "description": inspect.getdoc(self.method) or "",
            "methods": [method for method in self.methods if method != "HEAD"],
            "arguments": self.arguments.schema(),
            "rawBody": self.arguments.raw is not None,
            "stream": self.streaming is not None,
        }
        result = self.results.schema()
        return described if result is None else {**described, "result": result}


def compile_actions(plugin: Plugin) -> dict[str, Action]:
    """All `@action` methods of a plugin by public name; raises TypeError naming the action that cannot be served."""
    actions: dict[str, Action] = {}
    owner = type(plugin)
    for attribute in dir(owner):
        mark = _mark(owner, attribute)
        if mark is None:
            continue
        name = mark.name or attribute
        if not _NAME.fullmatch(name):
            raise TypeError(f"action {name!r}: a name matches {_NAME.pattern}")
        if attribute in _HOOKS:
            raise TypeError(
                f"action {name}: {attribute} is a hook; give the method another name, or name= it"
            )
        if name in actions:
            raise TypeError(f"action {name}: the name is used twice")
        actions[name] = Action(name, getattr(plugin, attribute), safe=mark.safe, owner=owner)
    return actions


def _mark(owner: type, attribute: str) -> ActionMark | None:
    """Read without running any of the class's own code: a property may do anything."""
    raw = inspect.getattr_static(owner, attribute, None)
    inner = raw.__func__ if isinstance(raw, staticmethod | classmethod) else raw
    marks = inspect.getattr_static(raw, MARK, None), inspect.getattr_static(inner, MARK, None)
    return next((mark for mark in marks if isinstance(mark, ActionMark)), None)


def _hints(method: Callable[..., Any], owner: type) -> Mapping[str, Any]:
    try:
        hints = typing.get_type_hints(method, include_extras=True)
    except NameError:  # written as text, and named in the class
        hints = typing.get_type_hints(method, localns=dict(vars(owner)), include_extras=True)
    return {name: Any if hint is object else hint for name, hint in hints.items()}
