"""What the fields of a Plugin resource are made of: shapes of names, quantities, seconds, bounded JSON, map-lists.

Each shape is a pattern that runs in linear time (pydantic's Rust engine here, RE2 in Kubernetes) and the words that tell
a person what it allows. Whatever a pattern cannot say is a validator raising `wrong`, a sentence that begins with "must".
"""

from __future__ import annotations

import ipaddress
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    JsonValue,
    PlainSerializer,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from xcore.quantity import parse_bytes, parse_count, parse_cpu

LABEL = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
SUBDOMAIN = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$"
LABEL_KEY = r"^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$"
LABEL_VALUE = r"^([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?$"
TEXT = r"^[^\x00]*$"
VERSION = r"^[A-Za-z0-9][A-Za-z0-9.+_-]*$"
ENTRYPOINT = r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_]*$"
ACTION = r"^[A-Za-z_][A-Za-z0-9_-]{0,62}$"
ENV = r"^[A-Za-z_][A-Za-z0-9_]*$"
SCOPE = r"^[A-Za-z0-9][A-Za-z0-9_.:/-]*$"
KEY = r"^\.?[A-Za-z0-9_-][A-Za-z0-9._-]*$"
# A name, extras, versions, a marker: no URL, no path, no option.
REQUIREMENT = (
    r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])? *(\[[A-Za-z0-9._, -]*\])?"
    r" *((===|==|~=|!=|<=|>=|<|>) *[A-Za-z0-9.*+!_-]+ *(, *(===|==|~=|!=|<=|>=|<|>) *[A-Za-z0-9.*+!_-]+ *)*)?"
    r"(;[A-Za-z0-9_.'\"<>=!~() +*,-]+)?$"
)
IMAGE = r"^[a-z0-9][A-Za-z0-9._:/-]*(@sha256:[0-9a-f]{64})?$"
REGISTRY = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?(/[a-z0-9][a-z0-9._-]*)*/?$"
BUNDLE = r"^sha256:[0-9a-f]{64}$"
PATH = r"^/[!-~]*$"
MOUNT = r"^(/[A-Za-z0-9._-]+)+$"
SOCKET = r"^/run/plugin/[A-Za-z0-9][A-Za-z0-9._-]*$"
CRON = r"^[0-9A-Za-z*,/?#-]+( [0-9A-Za-z*,/?#-]+){4}$"
TIME_ZONE = r"^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}$"

SHAPES: Mapping[str, str] = {
    LABEL: "1 to 63 lower-case letters, digits and hyphens, with a letter or digit first and last",
    SUBDOMAIN: "lower-case names of letters, digits and hyphens, joined by dots",
    LABEL_KEY: "a Kubernetes label key, such as team or example.com/team",
    LABEL_VALUE: "at most 63 letters, digits, dots, hyphens and underscores, with a letter or digit first and last",
    TEXT: "text without NUL characters",
    VERSION: "a version such as 1.0.0: letters, digits and . + _ -",
    ENTRYPOINT: "module:Attribute, such as main:Hello or package.module:app",
    ACTION: "1 to 63 letters, digits, underscores and hyphens, with a letter or underscore first",
    ENV: "letters, digits and underscores, with no digit first",
    SCOPE: "letters, digits and _ . : / -, with a letter or digit first",
    KEY: "letters, digits and . _ -, at most one dot first",
    REQUIREMENT: "a PEP 508 requirement of a name and versions, such as pillow>=11: no URL, no path",
    IMAGE: "an image such as registry.example.com/team/app@sha256: and 64 hexadecimal digits",
    REGISTRY: "a registry, or a part of one, such as registry.example.com/team",
    BUNDLE: "sha256: and 64 hexadecimal digits",
    PATH: "a path that begins with / and has no spaces",
    SOCKET: "a file directly in /run/plugin, such as /run/plugin/p.sock",
    MOUNT: "an absolute path of letters, digits and . _ -, such as /data",
    CRON: "five cron fields, such as 0 4 * * 1-5",
    TIME_ZONE: "an IANA time zone, such as UTC or Europe/Paris",
}

_RESERVED_ENV = ("LD_", "PLUGIN_")
_OWN_DIRECTORIES = frozenset(
    {
        "bin",
        "boot",
        "dev",
        "etc",
        "lib",
        "lib64",
        "plugin",
        "proc",
        "run",
        "sbin",
        "site",
        "sys",
        "tmp",
        "usr",
    }
)

MAX_JSON_BYTES = 32 * 1024
MAX_JSON_DEPTH = 12

T = TypeVar("T")


class Model(BaseModel):
    """Frozen; camelCase in documents, snake_case in Python; unknown fields refused."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=to_camel, validate_by_name=True, validate_by_alias=True
    )


def wrong(message: str, at: tuple[str | int, ...] = ()) -> PydanticCustomError:
    """A broken rule; `at` leads from the value that was judged to the field to be named."""
    return PydanticCustomError("wrong", "{message}", {"message": message, "at": at})


@dataclass(frozen=True, slots=True)
class UniqueBy:
    """Marks a list whose items differ in `key`, or as a whole: Kubernetes' map-lists and sets."""

    key: str = ""

    def check(self, items: tuple[T, ...]) -> tuple[T, ...]:
        seen = set()
        for index, item in enumerate(items):
            name = getattr(item, self.key) if self.key else item
            if name in seen:
                raise wrong(f"must be unique, got {name} twice", (index, *([self.key] if self.key else [])))
            seen.add(name)
        return items

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        kind = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [self.key]}
        return handler(schema) | (kind if self.key else {"x-kubernetes-list-type": "set"})


def exactly_one(model: Model, *names: str) -> None:
    if sum(getattr(model, name) is not None for name in names) != 1:
        listed = [to_camel(name) for name in names]
        raise wrong(f"must have exactly one of {', '.join(listed[:-1])} and {listed[-1]}")


def _quantity(parse: Callable[[str], float], *, what: str, low: str, high: str) -> Callable[[object], str]:
    least, most = parse(low), parse(high)

    def check(value: object) -> str:
        sentence = f"must be {what} from {low} to {high}"
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise wrong(sentence)
        try:
            amount = parse(str(value))
        except ValueError:
            raise wrong(sentence) from None
        if not least <= amount <= most:
            raise wrong(sentence)
        return str(value)

    return check


def _json_object(value: object) -> object:
    """Judged before it is read, without recursion, and counted, so that neither depth nor sharing can cost much."""
    waiting, count = [(value, 1)], 0
    while waiting:
        (node, depth), count = waiting.pop(), count + 1
        if depth > MAX_JSON_DEPTH or count > MAX_JSON_BYTES:
            raise wrong(
                f"must be at most {MAX_JSON_DEPTH} levels deep and {MAX_JSON_BYTES // 1024} KiB as JSON"
            )
        if isinstance(node, dict):
            waiting += [(inner, depth) for inner in node]
            waiting += [(inner, depth + 1) for inner in node.values()]
            if not all(isinstance(key, str) for key in node):
                raise wrong("must have strings as keys")
        elif isinstance(node, list):
            waiting += [(inner, depth + 1) for inner in node]
        elif not _is_json_scalar(node):
            raise wrong(
                "must hold only JSON: text without NUL, finite numbers of 64 bits, booleans, null, lists, mappings"
            )
    if len(json.dumps(value, ensure_ascii=False).encode()) > MAX_JSON_BYTES:
        raise wrong(f"must be at most {MAX_JSON_BYTES // 1024} KiB as JSON")
    return value


def _is_json_scalar(value: object) -> bool:
    match value:
        case None | bool():
            return True
        case int():
            return -(2**63) <= value < 2**63
        case float():
            return math.isfinite(value)
        case str():
            return "\0" not in value and not any("\ud800" <= letter <= "\udfff" for letter in value)
        case _:
            return False


def _inside(folder: str) -> str:
    path = PurePosixPath(folder)
    if path.is_absolute() or ".." in path.parts or "\\" in folder:
        raise wrong("must be a folder inside the plugin's own: relative, without ..")
    return folder


def _env_name(name: str) -> str:
    if name in {"PATH", "HOME"} or name.startswith(_RESERVED_ENV):
        raise wrong("must not be PATH, HOME or begin with LD_ or PLUGIN_: those are the sandbox's own")
    return name


def _network(cidr: str) -> str:
    try:
        ipaddress.ip_network(cidr)
    except ValueError:
        raise wrong(
            "must be a network such as 203.0.113.0/24, without bits set to the right of the prefix"
        ) from None
    return cidr


def _mount_path(path: str) -> str:
    first, *rest = path.removeprefix("/").split("/")
    if first in _OWN_DIRECTORIES or not {first, *rest}.isdisjoint({"", ".", ".."}):
        raise wrong("must be a directory of its own, such as /data, outside those the system uses")
    return path


def _seconds(value: float) -> float:
    return int(value) if value == int(value) else value  # 30, not 30.0, as people write it


_INT_OR_STRING = WithJsonSchema(
    {"anyOf": [{"type": "integer"}, {"type": "string", "maxLength": 32}], "x-kubernetes-int-or-string": True}
)
_cpu = _quantity(parse_cpu, what="a Kubernetes quantity of whole millicores", low="10m", high="64")
_memory = _quantity(parse_bytes, what="a Kubernetes quantity of whole bytes", low="16Mi", high="64Gi")
_tmp = _quantity(parse_bytes, what="a Kubernetes quantity of whole bytes", low="1Mi", high="1Gi")
_size = _quantity(parse_bytes, what="a Kubernetes quantity of whole bytes", low="1Mi", high="1Ti")
_pids = _quantity(parse_count, what="a whole number", low="8", high="4096")

Cpu = Annotated[str, BeforeValidator(_cpu), _INT_OR_STRING]
Memory = Annotated[str, BeforeValidator(_memory), _INT_OR_STRING]
Tmp = Annotated[str, BeforeValidator(_tmp), _INT_OR_STRING]
Size = Annotated[str, BeforeValidator(_size), _INT_OR_STRING]
Pids = Annotated[str, BeforeValidator(_pids), _INT_OR_STRING]

Whole = Annotated[int, Field(strict=True)]
Seconds = Annotated[float, Field(strict=True), PlainSerializer(_seconds, return_type=object)]
_FREE_FORM = WithJsonSchema({"type": "object", "x-kubernetes-preserve-unknown-fields": True})
Json = Annotated[dict[str, JsonValue], BeforeValidator(_json_object), _FREE_FORM]

Label = Annotated[str, Field(pattern=LABEL, max_length=63)]
Subdomain = Annotated[str, Field(pattern=SUBDOMAIN, max_length=253)]
Action = Annotated[str, Field(pattern=ACTION, max_length=63)]
Folder = Annotated[str, Field(pattern=TEXT, min_length=1, max_length=255), AfterValidator(_inside)]
EnvName = Annotated[str, Field(pattern=ENV, max_length=128), AfterValidator(_env_name)]
Cidr = Annotated[str, Field(pattern=TEXT, max_length=64), AfterValidator(_network)]
MountPath = Annotated[str, Field(pattern=MOUNT, max_length=255), AfterValidator(_mount_path)]
