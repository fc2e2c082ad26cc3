"""One rule for each field of the old manifest: what it becomes, or why it is left out or refused. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from integrations.legacy.draft import Draft
from integrations.legacy.old import Old
from xcore.plugin.legacy.names import label

Rule = Callable[[Draft, str, Any, Old], None]

_HOST_VARIABLE = re.compile(r"\$\{(.+?)\}", re.DOTALL)  # wherever it stands
_NOT_KNOWN = "the old system knew no such field either"
_TRUE = frozenset({"true", "yes", "1"})


def _to(path: str, note: str = "") -> Rule:
    """The same value in another place; numbers where text is wanted are written as text."""

    def rule(draft: Draft, label: str, value: Any, _: Old) -> None:
        text = str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
        draft.put(label, path, text, note)

    return rule


def _left(note: str) -> Rule:
    def rule(draft: Draft, label: str, _value: Any, _old: Old) -> None:
        draft.drop(label, note)

    return rule


def _is_true(value: Any) -> bool:
    return str(value).lower() in _TRUE


def _each(draft: Draft, label: str, value: Any) -> Iterator[tuple[str, str, Any]]:
    """The members of a mapping, each with its full name; refuses what is none."""
    if not isinstance(value, Mapping):
        draft.refuse(label, "must be a mapping of names to values")
        return
    for key, inner in value.items():
        yield key, f"{label}.{key}", inner


def _entry_point(draft: Draft, label: str, value: Any, old: Old) -> None:
    inside = "must be a Python file inside the folder: relative, without .., such as src/main.py"
    if not isinstance(value, str) or not value or "\\" in value or "\0" in value:
        draft.refuse(label, inside)
        return
    path = PurePosixPath(value if value.endswith(".py") else f"{value}.py")
    if path.is_absolute() or ".." in path.parts:
        draft.refuse(label, inside)
    elif not all(part.isidentifier() and part.isascii() for part in path.with_suffix("").parts):
        draft.refuse(label, "must be made of names that Python can import: letters, digits and underscores")
    elif str(path) not in old.files:
        draft.refuse(label, f"there is no {str(path)[:200]} in the folder")
    else:
        draft.put(label, "spec.entrypoint", f"{'.'.join(path.with_suffix('').parts)}:Plugin")


def _resources(draft: Draft, label: str, value: Any, _: Old) -> None:
    for key, name, inner in _each(draft, label, value):
        if key == "timeout_seconds":
            draft.put(name, "spec.legacy.timeoutSeconds", inner, "of one action")
        elif key == "max_memory_mb":
            draft.put(
                name, "spec.resources.memory", f"{inner}Mi", "of the whole instance, not of its data alone"
            )
        elif key == "max_disk_mb":
            draft.drop(name, "a sandbox has no disk: scratch is /tmp, of spec.resources.tmp")
        elif key == "rate_limit":
            _rate_limit(draft, name, inner)
        else:
            draft.drop(name, _NOT_KNOWN)


def _rate_limit(draft: Draft, label: str, value: Any) -> None:
    limit = {"calls": 100}  # the old system's own defaults, once one is asked for
    for key, name, inner in _each(draft, label, value):
        if key == "calls":
            limit["calls"] = inner
        elif key == "period_seconds":
            limit["periodSeconds"] = inner
        else:
            draft.drop(name, _NOT_KNOWN)
    draft.put(label, "spec.legacy.rateLimit", limit, "of each instance")


def _runtime(draft: Draft, label: str, value: Any, _: Old) -> None:
    for key, name, inner in _each(draft, label, value):
        if key == "health_check":
            _health_check(draft, name, inner)
        elif key == "retry":
            draft.drop(name, "a call that may have had an effect is never repeated for its caller")
        else:
            draft.drop(name, "the sandbox logs everything; levels are the reader's choice")


def _health_check(draft: Draft, label: str, value: Any) -> None:
    for key, name, inner in _each(draft, label, value):
        if key == "interval_seconds":
            draft.put(name, "spec.probes.liveness.periodSeconds", inner)
        elif key == "timeout_seconds":
            draft.put(name, "spec.probes.liveness.timeoutSeconds", inner)
        elif key == "enabled":
            draft.drop(name, "whether it lives is asked in any case")
        else:
            draft.drop(name, _NOT_KNOWN)


def _env(draft: Draft, label: str, value: Any, _: Old) -> None:
    variables = []
    for key, name, inner in _each(draft, label, value):
        found = _HOST_VARIABLE.search(str(inner))
        if found:
            what = f"must be a value: {found[1][:63]} is the host's, and no plugin reads its environment"
            draft.refuse(name, f"{what}; what is secret goes into spec.secrets")
        else:
            text = str(inner).lower() if isinstance(inner, bool) else str(inner)
            variables.append({"name": key, "value": text})
    draft.put(label, "spec.env", variables)


def _dotenv(draft: Draft, label: str, value: Any, _: Old) -> None:
    for key, name, inner in _each(draft, label, value):
        if key == "inject" and _is_true(inner):
            what = "must be false: put what the file holds into env, and what is secret into spec.secrets"
            draft.refuse(name, what)
        else:
            draft.drop(name, "no file is read into the environment")


def _filesystem(draft: Draft, label: str, value: Any, old: Old) -> None:
    for key, name, inner in _each(draft, label, value):
        if not isinstance(inner, list):
            draft.refuse(name, "must be a list of paths")
            continue
        for number, path in enumerate(inner):
            _path(draft, f"{name}[{number}]", str(path), denied=key == "denied_paths", old=old)


def _path(draft: Draft, label: str, path: str, *, denied: bool, old: Old) -> None:
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts or "\\" in path:
        draft.refuse(
            label, "must be inside the folder: relative, without ..; a sandbox sees nothing else of the host"
        )
    elif not denied:
        draft.drop(label, "all of the folder can be read; it cannot be written: scratch is /tmp")
    elif str(parts) in {"src", str(PurePosixPath(str(old.entry)).parent)}:
        draft.drop(label, "the code can be read by itself, and changed by nobody")
    else:
        draft.refuse(
            label, "must not be denied: a plugin reads its whole folder; take out what it must not read"
        )


def _requires(draft: Draft, field: str, value: Any, _: Old) -> None:
    wanted = value if isinstance(value, list) else [value]
    named = [one.get("name") if isinstance(one, Mapping) else one for one in wanted]
    names = [label(name) for name in named if isinstance(name, str)]
    if len(names) < len(named):
        draft.refuse(field, "must be a list of plugins' names")
    elif names:
        note = "call_plugin, where the operator grants it; no order of starting is kept, no object shared"
        draft.put(field, "spec.calls", names, note)


def _tags(draft: Draft, label: str, value: Any, _: Old) -> None:
    tags = value if isinstance(value, list | tuple) else [value]
    draft.metadata.setdefault("annotations", {})
    draft.put(label, "metadata.annotations.tags", ", ".join(map(str, tags)))


def _active(draft: Draft, label: str, value: Any, _: Old) -> None:
    mode = "Running" if _is_true(value) else "Suspended"
    draft.put(label, "spec.operatingMode", mode)


def _envelope(draft: Draft, label: str, value: Any, _: Old) -> None:
    forms = {"v0": "V0", "current": "Current"}
    if str(value).lower() not in forms:
        draft.refuse(label, "must be v0 or current")
        return
    draft.put(label, "spec.legacy.envelope", forms[str(value).lower()])


# `name`, `Api_prefix`, `dependencies` and `execution_mode` depend on more than themselves: see `translate`.
RULES: Mapping[str, Rule] = {
    "version": _to("spec.version"),
    "description": _to("spec.description"),
    "author": _to("metadata.annotations.author"),
    "tag_for_identified": _tags,
    "entry_point": _entry_point,
    "resources": _resources,
    "runtime": _runtime,
    "env": _env,
    "envconfiguration": _dotenv,
    "filesystem": _filesystem,
    "requires": _requires,
    "active": _active,
    "enabled": _active,
    "envelope": _envelope,
    "dependencies": lambda *_: None,
    "execution_mode": lambda *_: None,
    "framework_version": _left("there is one system now"),
    "allowed_imports": _left("the sandbox is the wall, whatever is imported"),
    "permissions": _left("they were of shared services, which a sandbox does not reach"),
    "allowed_callers": _left("only a plugin whose own spec.calls names this one may call it"),
    "async": _left("every plugin is"),
    "requirements": _left("requirements.txt says what is needed"),
}
