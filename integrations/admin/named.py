"""What stands for a name in paths and queries of the API. Its shape is told, not demanded: of another one there is nothing."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path
from pydantic import Field

from integrations.admin import examples
from integrations.telling import kinds


def _named(example: str, pattern: str, description: str) -> Any:
    return Path(examples=[example], json_schema_extra={"pattern": pattern}, description=description)


def _add_kinds(schema: dict[str, Any]) -> None:
    schema["enum"] = kinds()


# A folder that is no plugin, whatever it is called, has a status by its name.
_SEGMENT = r"^[^./\\\x00-\x1f\x7f][^/\\\x00-\x1f\x7f]*$"
PluginName = Annotated[str, _named("hello", _SEGMENT, "The plugin's name.")]
KeyId = Annotated[str, _named(examples.KEY["id"], r"^[0-9a-f]{20}$", "The key's id.")]
TaskId = Annotated[
    str, _named(examples.TASK["id"], r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,159}$", "The task's id.")
]
CallId = Annotated[str, _named(examples.CALL["id"], r"^[0-9a-f]{32}$", "The call's id.")]
EventKind = Annotated[str, Field(json_schema_extra=_add_kinds)]
