"""What an instance is made of: code, environment, secrets, resources, network, volumes. A change here rolls it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from xcore import fields
from xcore.fields import Label, Model, Seconds, Subdomain, UniqueBy, Whole, exactly_one, wrong
from xcore.quantity import parse_bytes, parse_count, parse_cpu

DEFAULT_PORT = 8080


class Isolation(StrEnum):
    SANDBOXED = "Sandboxed"
    TRUSTED = "Trusted"


class Egress(StrEnum):
    DENY = "Deny"
    ALLOW_LIST = "AllowList"
    PUBLIC_INTERNET = "PublicInternet"


class Retention(StrEnum):
    RETAIN = "Retain"
    DELETE = "Delete"


class Source(Model):
    """Where the code comes from: exactly one of folder, image, bundle and configMap."""

    folder: fields.Folder | None = Field(None, description="Folder beside the manifest that holds the code.")
    image: Annotated[str, Field(pattern=fields.IMAGE, max_length=512)] | None = Field(
        None, description="Container image that serves HTTP, best named by its digest."
    )
    port: Annotated[Whole, Field(ge=1, le=65535)] | None = Field(
        None, description="Port on which the image serves HTTP; 8080 when absent. Only with image."
    )
    socket: Annotated[str, Field(pattern=fields.SOCKET, max_length=64)] | None = Field(
        None, description="Unix socket on which the image serves HTTP, in place of a port. Only with image."
    )
    bundle: Annotated[str, Field(pattern=fields.BUNDLE, max_length=71)] | None = Field(
        None, description="Digest of an archive of code that was sent through the API."
    )
    config_map: Subdomain | None = Field(None, description="Kubernetes ConfigMap that holds the code.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        exactly_one(self, "folder", "image", "bundle", "config_map")
        for name in ("port", "socket"):
            if getattr(self, name) is not None and self.image is None:
                raise wrong("must be absent unless image is given", (name,))
        if self.port is not None and self.socket is not None:
            raise wrong("must be absent where port is given: an image is reached in one way", ("socket",))
        return self

    @property
    def tcp_port(self) -> int | None:
        """Where an image listens that has no socket; None for everything else."""
        return None if self.image is None or self.socket else self.port or DEFAULT_PORT


class EnvVar(Model):
    name: fields.EnvName = Field(
        description="Name of the environment variable. PATH, HOME, LD_* and PLUGIN_* are the sandbox's own."
    )
    value: str = Field("", pattern=fields.TEXT, max_length=4096, description="Its value. Never a secret.")


class SecretRef(Model):
    name: Subdomain = Field(description="Name of the secret.")
    key: Annotated[str, Field(pattern=fields.KEY, max_length=253)] | None = Field(
        None, description="The one key wanted from it; every key when absent."
    )


class Resources(Model):
    """What one instance may use at most, as Kubernetes quantities."""

    cpu: fields.Cpu = Field("500m", description="Processor time, 10m to 64 cores.")
    memory: fields.Memory = Field("128Mi", description="Memory, 16Mi to 64Gi; swap is never added to it.")
    pids: fields.Pids = Field("64", description="Processes and threads, 8 to 4096.")
    tmp: fields.Tmp = Field("16Mi", description="Size of /tmp, 1Mi to 1Gi; it is memory and counts as such.")

    @property
    def cpu_cores(self) -> float:
        return parse_cpu(self.cpu)

    @property
    def memory_bytes(self) -> int:
        return parse_bytes(self.memory)

    @property
    def pids_limit(self) -> int:
        return parse_count(self.pids)

    @property
    def tmp_bytes(self) -> int:
        return parse_bytes(self.tmp)


class EgressRule(Model):
    """One destination: exactly one of host and cidr."""

    host: Subdomain | None = Field(None, description="Host name.")
    cidr: fields.Cidr | None = Field(None, description="Network, such as 203.0.113.0/24.")
    ports: Annotated[
        tuple[Annotated[Whole, Field(ge=1, le=65535)], ...], Field(min_length=1, max_length=16), UniqueBy()
    ] = Field(description="TCP ports.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        exactly_one(self, "host", "cidr")
        return self


class Network(Model):
    egress: Egress = Field(
        Egress.DENY, description="What the plugin may reach: nothing, a list, or the public internet."
    )
    allow: Annotated[tuple[EgressRule, ...], Field(max_length=64)] = Field(
        (), description="The list for AllowList."
    )


class Storage(Model):
    """A volume that outlives its instances."""

    name: Label = Field(description="Name of the volume.")
    mount_path: fields.MountPath = Field(description="Directory it appears at, such as /data.")
    size: fields.Size = Field(description="Size as a Kubernetes quantity, 1Mi to 1Ti.")
    retention: Retention = Field(
        Retention.RETAIN, description="What becomes of it when the plugin is deleted."
    )


class Envelope(StrEnum):
    CURRENT = "Current"
    V0 = "V0"


class RateLimit(Model):
    calls: Whole = Field(ge=1, le=1_000_000, description="Calls allowed in that time.")
    period_seconds: Seconds = Field(60, ge=1, le=86_400, description="The time they are counted over.")


class Legacy(Model):
    """A plugin of the system before this one, run as it was written. `{}` where nothing is to be said."""

    envelope: Envelope = Field(
        Envelope.CURRENT,
        description="How its actions answer: as actions do today, or V0, in the old envelope. "
        "Whoever asks for application/vnd.xcore.v0+json gets the old one anyway.",
    )
    timeout_seconds: Annotated[Seconds, Field(ge=0.1, le=3600)] | None = Field(
        None, description="Longest one of its actions may take; not bounded here when absent."
    )
    rate_limit: RateLimit | None = Field(
        None, description="Calls of its actions that one instance takes; 429 beyond. No limit when absent."
    )
