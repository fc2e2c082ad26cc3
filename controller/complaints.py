"""Says what is wrong with a setting so that its author can mend it: which one, what is allowed there, what was found. Pure.

What is allowed stands with the setting itself. What may be secret is not repeated.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from xcore.errors import Problem
from xcore.yamlsafe import Lines

PREFIX = "XCORE_"
_LONGEST_SHOWN = 60
_SECRET = frozenset({"admin_key", "database_url", "integrations"})  # or may hold some


class Places(NamedTuple):
    """Where settings were read from: the environment, and a file that has each of its own on a line."""

    environment: Mapping[str, str]
    lines: Lines
    file: str

    def line(self, name: str) -> str:
        """Tell where in the file a setting stands, for the beginning of a sentence; "" where it does not."""
        return f"{self.file} line {self.lines[name,]}: " if (name,) in self.lines else ""


def no_setting(name: str, known: Sequence[str]) -> str:
    """What is said of a name that nobody knows."""
    bare = {setting.removeprefix(PREFIX): setting for setting in known}
    close = [bare[match] for match in difflib.get_close_matches(name.removeprefix(PREFIX)[:63], bare, n=1)]
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(sorted(known))}"
    return f"is not a setting; {hint}"


def complaint(details: ErrorDetails, fields: Mapping[str, FieldInfo], places: Places) -> Problem:
    """What is said of a value that one of the `fields` cannot have."""
    path = (*details["loc"], *details.get("ctx", {}).get("at", ()))
    name = str(path[0])
    variable = f"{PREFIX}{name.upper()}"
    from_environment = any(key.upper() == variable and value for key, value in places.environment.items())
    wrong = details["type"] == "wrong"
    sentence = details["msg"] if wrong else f"must be {_rule(details, fields)}{_got(details)}"
    if from_environment or not (line := places.line(name)):
        return Problem(variable, sentence)
    return Problem(name, f"{line}{sentence}")


def _rule(details: ErrorDetails, fields: Mapping[str, FieldInfo]) -> str:
    if details["type"] == "literal_error":
        return str(details["ctx"]["expected"]).replace("'", "")
    extra = fields[str(details["loc"][0])].json_schema_extra
    return str(extra["allowed"]) if isinstance(extra, dict) else "valid"


def _got(details: ErrorDetails) -> str:
    value = details.get("input")
    if details["loc"][0] in _SECRET or not isinstance(value, str | int | float):
        return ""
    shown = str(value)
    return f", got {json.dumps(shown if len(shown) <= _LONGEST_SHOWN else shown[:_LONGEST_SHOWN] + '…')}"
