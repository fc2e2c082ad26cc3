"""The PluginClass resource: the guard rails an administrator sets for the plugins that name it.

`forbids` is the judgement, a pure function of class and manifest; `with_defaults` gives a manifest what the class says
where its author said nothing. An empty class forbids nothing. What only time can tell (no traffic before NetworkIsolated
is True: `demands_proof`) is for whoever routes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, StrictBool, ValidationError, model_validator

from xcore import fields
from xcore.complaints import complaints
from xcore.errors import InvalidManifest, Problem
from xcore.fields import Label, Model, Subdomain, UniqueBy, Whole, wrong
from xcore.instance_spec import Egress
from xcore.manifest import Manifest
from xcore.quantity import parse_bytes, parse_count, parse_cpu
from xcore.rating import WAYS, rating, walls
from xcore.schema import schema_of

KIND = "PluginClass"
_WIDTH = tuple(Egress)  # from nothing to everything


class MaxResources(Model):
    """The most one instance may ask for; unlimited where absent."""

    cpu: fields.Cpu | None = Field(None, description="Processor time.")
    memory: fields.Memory | None = Field(None, description="Memory.")
    pids: fields.Pids | None = Field(None, description="Processes and threads.")
    tmp: fields.Tmp | None = Field(None, description="Size of /tmp.")


class EgressLimits(Model):
    default: Egress = Field(Egress.DENY, description="What a plugin gets that says nothing of it.")
    maximum: Egress = Field(Egress.PUBLIC_INTERNET, description="The widest a plugin may ask for.")

    @model_validator(mode="after")
    def _within(self) -> Self:
        if _WIDTH.index(self.default) > _WIDTH.index(self.maximum):
            raise wrong("must not be wider than maximum", ("default",))
        return self


class ClassSpec(Model):
    description: str = Field("", pattern=fields.TEXT, max_length=1024, description="Whom it is for.")
    allowed_registries: Annotated[
        tuple[Annotated[str, Field(pattern=fields.REGISTRY, max_length=255)], ...],
        Field(max_length=64),
        UniqueBy(),
    ] = Field(
        (), description="Where images may come from, such as registry.example.com/team; empty: anywhere."
    )
    digest_required: StrictBool = Field(
        default=False, description="Whether images must be named by their digest."
    )
    max_resources: MaxResources = Field(
        MaxResources(), description="The most one instance may ask for; unlimited where absent."
    )
    runtime_class: Label | None = Field(None, description="The runtimeClass every plugin must name.")
    minimum_security_rating: Whole = Field(
        1,
        ge=1,
        le=8,
        description="The lowest status.securityRating a plugin may have while it gets requests.",
    )
    egress: EgressLimits = Field(EgressLimits(), description="What plugins may reach.")
    require_proof: StrictBool = Field(
        default=False,
        description="Whether a plugin gets requests only once its isolation was probed and holds.",
    )


class _Metadata(Model):
    """Only the name matters here; what else the cluster keeps is its own affair."""

    model_config = ConfigDict(extra="ignore")

    name: Subdomain = Field(description="Name that spec.pluginClassName refers to.")


class PluginClass(Model):
    """What plugins of this class may be and ask for."""

    api_version: Literal["xcore.dev/v1alpha1"] = Field(description="Version of this format.")
    kind: Literal["PluginClass"] = Field(description="Kind of this resource.")
    metadata: _Metadata = Field(description="What it is called.")
    spec: ClassSpec = Field(ClassSpec(), description="What its plugins may be and ask for.")


def from_dict(data: object) -> PluginClass:
    """The class in data that came from JSON; raises InvalidManifest with a problem for each wrong field."""
    try:
        return PluginClass.model_validate(data, by_alias=True, by_name=False)
    except ValidationError as error:
        problems = complaints(error, schema=schema_of(PluginClass), lines={})
        raise InvalidManifest("this is not a valid PluginClass", problems) from None


def with_defaults(plugin_class: PluginClass, manifest: Manifest) -> Manifest:
    """The manifest, with the class's egress where its author said nothing of egress."""
    network = manifest.spec.network
    if "egress" in network.model_fields_set:
        return manifest
    network = network.model_copy(update={"egress": plugin_class.spec.egress.default})
    return manifest.model_copy(update={"spec": manifest.spec.model_copy(update={"network": network})})


def forbids(plugin_class: PluginClass, manifest: Manifest, *, runtime: str) -> list[Problem]:
    """What the class forbids in this manifest where `runtime` runs it, field by field."""
    limits = plugin_class.spec
    found = [problem for check in _CHECKS for problem in check(limits, manifest)]
    least, best = limits.minimum_security_rating, walls(runtime, manifest, "True")
    if rating(best) < least:
        ways = " or ".join(way for wall, way in WAYS.items() if wall not in best)
        told = f"must be at least {least}, and is {rating(best)} at best; more would be: {ways}"
        found.append(Problem("status.securityRating", told))
    return found


def demands_proof(plugin_class: PluginClass, manifest: Manifest, *, runtime: str) -> bool:
    """Whether it gets requests only once its network was seen to be closed: asked for, or short of its rating without."""
    limits = plugin_class.spec
    unproven = rating(walls(runtime, manifest, "Unknown"))
    return limits.require_proof or unproven < limits.minimum_security_rating


def _image(limits: ClassSpec, manifest: Manifest) -> Iterator[Problem]:
    image = manifest.spec.source.image
    if image is None:
        return
    if limits.allowed_registries and not any(
        _comes_from(image, place) for place in limits.allowed_registries
    ):
        told = f"must come from {' or '.join(limits.allowed_registries)}"
        yield Problem("spec.source.image", told)
    if limits.digest_required and "@sha256:" not in image:
        yield Problem("spec.source.image", "must be named by its digest, as in team/app@sha256:…")


def _comes_from(image: str, place: str) -> bool:
    """Whole parts of the name only: `example.com/team` is not where `example.com/team-b/app` comes from."""
    name, place = _whole_name(image), place.rstrip("/")
    # A colon behind a bare host is a port, and so another registry.
    ends = "/:@" if "/" in place else "/"
    return name == place or (name.startswith(place) and name[len(place)] in ends)


def _whole_name(image: str) -> str:
    """As engines complete it: `nginx` is `docker.io/library/nginx`."""
    first, slash, _ = image.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return image
    return f"docker.io/{image}" if slash else f"docker.io/library/{image}"


def _resources(limits: ClassSpec, manifest: Manifest) -> Iterator[Problem]:
    for name, parse in _QUANTITIES.items():
        most, asked = getattr(limits.max_resources, name), getattr(manifest.spec.resources, name)
        if most is not None and parse(asked) > parse(most):
            yield Problem(f"spec.resources.{name}", f"must be at most {most}, got {asked}")


def _runtime_class(limits: ClassSpec, manifest: Manifest) -> Iterator[Problem]:
    if limits.runtime_class is not None and manifest.spec.runtime_class != limits.runtime_class:
        yield Problem("spec.runtimeClass", f"must be {limits.runtime_class}")


def _egress(limits: ClassSpec, manifest: Manifest) -> Iterator[Problem]:
    if _WIDTH.index(manifest.spec.network.egress) > _WIDTH.index(limits.egress.maximum):
        yield Problem("spec.network.egress", f"must not be wider than {limits.egress.maximum}")


_QUANTITIES: dict[str, Callable[[str], float]] = {
    "cpu": parse_cpu,
    "memory": parse_bytes,
    "pids": parse_count,
    "tmp": parse_bytes,
}
_CHECKS: tuple[Callable[[ClassSpec, Manifest], Iterator[Problem]], ...] = (
    _image,
    _resources,
    _runtime_class,
    _egress,
)
