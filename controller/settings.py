"""Settings of the controller and of its command line: the only place where environment variables are read.

`load` takes the defaults, then a YAML file, then `XCORE_*` variables; the environment wins. A name that is no setting
is refused, in the file as in the environment, so a misspelt one is never silently a default. Every complaint is one
line: which setting, what is allowed, what was found (secrets are never repeated). `Settings(...)` alone reads nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, EnvSettingsSource, NoDecode, SettingsConfigDict

from controller import values
from controller.complaints import PREFIX, Places, complaint, no_setting
from sandbox_image.tag import image_tag
from xcore import yamlsafe
from xcore.errors import Invalid, InvalidManifest, Problem
from xcore.fields import IMAGE, Label, wrong
from xcore.yamlsafe import Lines

# Not of the controller: where the command line finds it, and what tests set for themselves.
CONFIG_VARIABLE = "XCORE_CONFIG"
_OTHER_VARIABLES = frozenset({"XCORE_URL", "XCORE_KEY", CONFIG_VARIABLE})
_TEST_PREFIX = "XCORE_TEST_"


class InvalidSettings(Invalid):
    """A setting is wrong; each problem names it as its author wrote it."""

    reason = "InvalidSettings"


def _allowed(text: str) -> dict[str, Any]:
    return {"allowed": text}


Folder = Annotated[Path, AfterValidator(values.from_here)]


class Settings(BaseModel):
    """How one controller runs. Frozen; every field is also an `XCORE_` variable of the same name."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    host: str = Field(
        "127.0.0.1",
        min_length=1,
        max_length=253,
        description="Address to listen on.",
        json_schema_extra=_allowed("an address or host name, such as 127.0.0.1 or 0.0.0.0"),
    )
    port: int = Field(
        8000,
        ge=0,
        le=65535,
        description="Port to listen on; 0 takes any free one.",
        json_schema_extra=_allowed("a whole number from 0 to 65535"),
    )
    runtime: Literal["auto", "process", "docker", "kubernetes"] = Field(
        "auto",
        description="Where sandboxed plugins run; auto: kubernetes in a pod, docker where an engine answers, "
        "else process (loopback only).",
    )
    kubeconfig: Folder | None = Field(
        None,
        description="File that tells how to reach a cluster from outside; without it the cluster this pod runs in.",
        json_schema_extra=_allowed("a file"),
    )
    plugin_namespaces: Annotated[tuple[Label, ...], NoDecode, BeforeValidator(values.listed)] = Field(
        ("xcore-plugins",),
        max_length=100,
        description="Namespaces whose Plugin resources are run, all where it is []; what comes through the API goes into the first.",
        json_schema_extra=_allowed("names of namespaces: a JSON list, or with commas between them"),
    )
    plugins_dir: Folder = Field(
        Path("plugins"),
        description="Directory with one folder for each plugin.",
        json_schema_extra=_allowed("a directory"),
    )
    state_dir: Folder = Field(
        default_factory=values.default_state_dir,
        description="Directory of the controller's own: keys, records, copies of accepted code.",
        json_schema_extra=_allowed("a directory"),
    )
    database_url: SecretStr | None = Field(
        None,
        max_length=2048,
        description="Database: postgresql://USER:PASSWORD@HOST/DATABASE, or sqlite:///FILE; else a file in the state directory.",
        json_schema_extra=_allowed("a URL of at most 2048 characters"),
    )
    admin_key: SecretStr | None = Field(
        None,
        min_length=32,
        max_length=512,
        description="The administrator's key; without it one is made at the first start and kept in the state directory.",
        json_schema_extra=_allowed("a secret of 32 to 512 characters"),
    )
    trusted: Annotated[tuple[Label, ...], NoDecode, BeforeValidator(values.listed)] = Field(
        (),
        max_length=1000,
        description="Plugins that may run inside the controller's process, by name.",
        json_schema_extra=_allowed("names of plugins: a JSON list, or with commas between them"),
    )
    integrations: Annotated[dict[Label, dict[str, Any]], NoDecode, BeforeValidator(values.by_name)] = Field(
        {},
        max_length=32,
        description="Installed integrations to run inside the controller's process, with what each is told.",
        json_schema_extra=_allowed(
            'names of integrations with commas between them, or a JSON object such as {"webhook": {"url": "…"}}'
        ),
    )
    granted_calls: Annotated[
        tuple[Annotated[str, Field(pattern=values.GRANT)], ...], NoDecode, BeforeValidator(values.listed)
    ] = Field(
        (),
        max_length=1000,
        description="Which plugin may call which other, of those that its manifest names in spec.calls.",
        json_schema_extra=_allowed(
            "caller:called, such as shop:stock: a JSON list, or with commas between them"
        ),
    )
    calls_address: Annotated[str, AfterValidator(values.place)] | None = Field(
        None,
        max_length=260,
        description="In a cluster: where pods reach its controllers to call other plugins; this one listens on the port. Without it they call none.",
        json_schema_extra=_allowed("HOST:PORT, such as xcore-calls.xcore-system:8001"),
    )
    allowed_origins: Annotated[
        tuple[Annotated[str, AfterValidator(values.origin)], ...],
        NoDecode,
        BeforeValidator(values.listed),
    ] = Field(
        (),
        max_length=100,
        description="Origins whose pages may open WebSockets to plugins, beside the controller's own.",
        json_schema_extra=_allowed(
            "origins such as https://shop.example: a JSON list, or with commas between them"
        ),
    )
    trusted_proxies: Annotated[
        tuple[Annotated[str, AfterValidator(values.network)], ...],
        NoDecode,
        BeforeValidator(values.listed),
    ] = Field(
        (),
        max_length=100,
        description="Proxies whose X-Forwarded-For and X-Forwarded-Proto say whom a request is from.",
        json_schema_extra=_allowed(
            "at most 100 addresses and networks such as 192.0.2.7 and 10.0.0.0/8: a JSON list, or with commas between them"
        ),
    )
    sandbox_image: str = Field(
        default_factory=image_tag,
        pattern=IMAGE,
        max_length=255,
        description="Image sandboxes run from; by default the one that belongs to this very code.",
        json_schema_extra=_allowed("an image such as xcore/sandbox:1.0"),
    )
    docker_host: str = Field(
        "unix:///var/run/docker.sock",
        pattern=r"^unix:///[^\x00-\x20]+$",
        max_length=120,
        description="Socket of the Docker Engine. It must be of this machine: sandboxes are reached through its files.",
        json_schema_extra=_allowed("a unix socket such as unix:///var/run/docker.sock"),
    )
    log_format: Annotated[Literal["text", "json"], BeforeValidator(values.lower)] = Field(
        "text", description="Lines for people, or JSON for programs."
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(values.lower)] = Field(
        "info", description="The least important messages to log."
    )
    on_exit: Literal["keep", "stop"] = Field(
        "keep", description="What becomes of the sandboxes: kept for the next controller, or stopped."
    )
    auth: Literal["key", "none"] = Field(
        "key", description="Whether requests need a key; none is for loopback only."
    )

    @property
    def database_address(self) -> str | None:
        """The database's URL, which may hold a password."""
        return self.database_url.get_secret_value() if self.database_url is not None else None

    @model_validator(mode="after")
    def _never_open_to_the_world(self) -> Settings:
        if self.auth == "none" and not values.is_loopback(self.host):
            raise wrong("must be key unless XCORE_HOST is a loopback address such as 127.0.0.1", ("auth",))
        return self


class _Environment(Settings, BaseSettings):
    """The same fields as pydantic-settings reads them from the environment; never made, only asked for its fields."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__", env_ignore_empty=True)


class Connection(BaseSettings):
    """How the command line reaches a controller."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", frozen=True)

    url: Annotated[str, AfterValidator(values.url)] = Field(
        "http://127.0.0.1:8000", description="Its address."
    )
    key: SecretStr | None = Field(None, description="Key to show it.")


def load(config: Path | None = None) -> Settings:
    """The settings from the environment and, where it is silent, the YAML file; raises InvalidSettings."""
    named = os.environ.get(CONFIG_VARIABLE)
    config = config or (Path(named) if named else None)
    written, lines = _read(config) if config else ({}, {})
    places = Places(os.environ, lines, config.name if config else "")
    problems = [*_unknown_variables(places), *_unknown_keys(written, places)]
    if problems:
        raise InvalidSettings("there are settings nobody knows", problems)
    try:
        return Settings.model_validate({**written, **EnvSettingsSource(_Environment)()})
    except ValidationError as error:
        found = error.errors(include_url=False)
        told = [complaint(details, Settings.model_fields, places) for details in found]
        raise InvalidSettings("the settings are not valid", told) from None


def connection() -> Connection:
    """How to reach a controller, by XCORE_URL and XCORE_KEY; raises InvalidSettings."""
    try:
        return Connection()
    except ValidationError as error:
        problem = Problem("XCORE_URL", error.errors()[0]["msg"])
        raise InvalidSettings("the controller's address is not valid", [problem]) from None


def variables() -> Sequence[str]:
    """The name of every variable that is a setting of the controller."""
    return [f"{PREFIX}{name.upper()}" for name in Settings.model_fields]


def _read(config: Path) -> tuple[dict[str, Any], Lines]:
    try:
        with config.open("rb") as file:
            text = file.read(yamlsafe.MAX_BYTES + 1)
        data, lines = yamlsafe.load(text, name=config.name)
    except OSError as error:
        raise InvalidSettings(f"{config} cannot be read: {error.strerror}") from error
    except InvalidManifest as error:
        raise InvalidSettings(error.detail, error.problems) from None
    if not isinstance(data, dict):
        raise InvalidSettings(f"{config.name} must be a mapping such as `port: 8000`")
    return data, lines


def _unknown_variables(places: Places) -> Iterator[Problem]:
    known = [*variables(), *_OTHER_VARIABLES]
    for name in sorted(places.environment):
        upper = name.upper()
        if upper.startswith(PREFIX) and upper not in known and not upper.startswith(_TEST_PREFIX):
            yield Problem(name, no_setting(upper, known))


def _unknown_keys(written: Mapping[str, Any], places: Places) -> Iterator[Problem]:
    known = list(Settings.model_fields)
    for name in written:
        if name not in known:
            field = yamlsafe.dotted((name,))
            yield Problem(field, f"{places.line(name)}{no_setting(name.lower(), known)}")
