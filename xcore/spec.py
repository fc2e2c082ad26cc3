"""The `spec` of a Plugin: every field with its default, its bounds and what it does.

The descriptions are the reference documentation and go into the JSON Schema. Names follow the Kubernetes API
conventions. Numbers are never read out of strings, so `replicas: "1"` is refused.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from xcore import fields
from xcore.fields import Action, Json, Label, Model, Seconds, Subdomain, UniqueBy, Whole, wrong
from xcore.instance_spec import EnvVar, Isolation, Legacy, Network, Resources, SecretRef, Source, Storage
from xcore.schedule import Schedule

Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


class OperatingMode(StrEnum):
    RUNNING = "Running"
    SUSPENDED = "Suspended"


class Access(StrEnum):
    PUBLIC = "Public"
    KEY = "Key"
    SCOPED = "Scoped"


class RestartPolicy(StrEnum):
    ALWAYS = "Always"
    ON_FAILURE = "OnFailure"
    NEVER = "Never"


class OnExhausted(StrEnum):
    HOLD = "Hold"
    KEEP_TRYING = "KeepTrying"


class UpdateStrategy(StrEnum):
    ROLLING = "Rolling"
    RECREATE = "Recreate"


class OnFailure(StrEnum):
    ROLLBACK = "Rollback"
    HOLD = "Hold"


class Timeouts(Model):
    first_byte_seconds: Seconds = Field(
        30, ge=0.1, le=3600, description="Longest wait for an answer to begin."
    )
    idle_seconds: Seconds = Field(60, ge=0.1, le=3600, description="Longest silence within an answer.")
    max_duration_seconds: Seconds = Field(
        300, ge=0.1, le=86400, description="Longest a request may take in all."
    )


class ActionSpec(Model):
    """How requests to one action are judged. An action that is not listed has these defaults."""

    name: Action = Field(description="Name of the action: the part of the path after /app/<plugin>/.")
    methods: Annotated[tuple[Method, ...], Field(max_length=7), UniqueBy()] = Field(
        (), description="HTTP methods let through; empty: those the plugin itself answers."
    )
    access: Access = Field(
        Access.KEY, description="Who may call: anyone, whoever has a key, or a key with the scopes."
    )
    scopes: Annotated[
        tuple[Annotated[str, Field(pattern=fields.SCOPE, max_length=128)], ...],
        Field(max_length=16),
        UniqueBy(),
    ] = Field((), description="Scopes a key needs where access is Scoped.")
    timeouts: Timeouts = Field(Timeouts(), description="How long a request may take.")
    max_body_bytes: Whole = Field(10 * 2**20, ge=0, le=2**30, description="Largest request body, in bytes.")

    @model_validator(mode="after")
    def _scoped(self) -> Self:
        if self.access is Access.SCOPED and not self.scopes:
            raise wrong("must name at least one where access is Scoped", ("scopes",))
        if self.access is not Access.SCOPED and self.scopes:
            raise wrong("must be absent unless access is Scoped", ("scopes",))
        return self


class Queue(Model):
    max_length: Whole = Field(
        64, ge=0, le=10_000, description="Requests that may wait when all places are taken."
    )
    timeout_seconds: Seconds = Field(10, ge=0, le=600, description="Longest a request may wait.")


class Retry(Model):
    max_attempts: Whole = Field(
        1, ge=1, le=10, description="Attempts in all at a request that may be repeated."
    )


class CircuitBreaker(Model):
    consecutive_failures: Whole = Field(
        5, ge=1, le=1000, description="Failures in a row after which it opens."
    )
    open_seconds: Seconds = Field(
        30, ge=0.1, le=3600, description="How long it stays open before one request tries."
    )


class Traffic(Model):
    max_concurrent_requests: Whole = Field(
        64, ge=1, le=10_000, description="Requests the plugin serves at once."
    )
    queue: Queue = Field(Queue(), description="Where requests wait beyond that.")
    retry: Retry = Field(Retry(), description="Repeating requests that failed.")
    circuit_breaker: CircuitBreaker = Field(
        CircuitBreaker(), description="Sparing a plugin that keeps failing."
    )


ProbePath = Annotated[
    str, Field(pattern=fields.PATH, max_length=256, description="Path that answers 2xx when all is well.")
]
Period = Annotated[Seconds, Field(ge=0.1, le=3600, description="Time between two probes.")]
ProbeTimeout = Annotated[Seconds, Field(ge=0.1, le=300, description="Longest wait for an answer.")]
Failures = Annotated[Whole, Field(ge=1, le=10_000, description="Failures in a row that decide.")]


class ProbeSpec(Model):
    path: ProbePath
    period_seconds: Period
    timeout_seconds: ProbeTimeout = 1
    failure_threshold: Failures


class StartupProbe(ProbeSpec):
    path: ProbePath = "/startup"
    period_seconds: Period = 1
    failure_threshold: Failures = 60


class ReadinessProbe(ProbeSpec):
    path: ProbePath = "/ready"
    period_seconds: Period = 5
    failure_threshold: Failures = 2


class LivenessProbe(ProbeSpec):
    path: ProbePath = "/live"
    period_seconds: Period = 10
    failure_threshold: Failures = 3


class Probes(Model):
    startup: StartupProbe = Field(
        StartupProbe(), description="Has it started? Nothing else is asked before it has."
    )
    readiness: ReadinessProbe = Field(ReadinessProbe(), description="May it get requests?")
    liveness: LivenessProbe = Field(
        LivenessProbe(), description="Does it still work, or must it be restarted?"
    )


class RestartSpec(Model):
    policy: RestartPolicy = Field(
        RestartPolicy.ALWAYS, description="After which exits a new instance is started."
    )
    max_restarts: Whole = Field(
        10, ge=0, le=1000, description="Restarts allowed within the window: the budget."
    )
    window_seconds: Seconds = Field(1800, ge=1, le=604_800, description="Length of the window.")
    on_exhausted: OnExhausted = Field(
        OnExhausted.HOLD, description="Stop when the budget is spent, or keep trying slowly."
    )


class Scaling(Model):
    idle_timeout_seconds: Annotated[Seconds, Field(ge=1, le=604_800)] | None = Field(
        None, description="Time without requests after which instances are stopped; never when absent."
    )
    warm_replicas: Whole = Field(0, ge=0, le=100, description="Instances kept all the same.")


class UpdateSpec(Model):
    strategy: UpdateStrategy = Field(
        UpdateStrategy.ROLLING, description="New instance first, or old instance away first."
    )
    on_failure: OnFailure = Field(
        OnFailure.ROLLBACK, description="What happens when the new revision does not become ready."
    )
    progress_deadline_seconds: Seconds = Field(120, ge=1, le=3600, description="Time it has to become ready.")


class Spec(Model):
    version: str = Field(
        "0.0.0", pattern=fields.VERSION, max_length=64, description="The plugin's own version, such as 1.0.0."
    )
    description: str = Field(
        "", pattern=fields.TEXT, max_length=1024, description="What it does, for people."
    )
    isolation: Isolation = Field(
        Isolation.SANDBOXED,
        description="A sandbox of its own, or the controller's process (which its operator must allow).",
    )
    source: Source = Field(Source(folder="."), description="Where the code comes from.")
    entrypoint: Annotated[str, Field(pattern=fields.ENTRYPOINT, max_length=255)] | None = Field(
        None, description="module:Class of a Plugin class. Absent for an image."
    )
    legacy: Legacy | None = Field(
        None, description="There for a plugin of the system before this one; absent for every other."
    )
    config: Json = Field({}, description="Handed to the plugin; at most 32 KiB as JSON.")
    dependencies: Annotated[
        tuple[Annotated[str, Field(pattern=fields.REQUIREMENT, max_length=255)], ...],
        Field(max_length=128),
        UniqueBy(),
    ] = Field((), description="PEP 508 requirements, packed ahead; a sandbox never installs anything.")
    env: Annotated[tuple[EnvVar, ...], Field(max_length=64), UniqueBy("name")] = Field(
        (), description="Environment variables."
    )
    secrets: Annotated[tuple[SecretRef, ...], Field(max_length=64)] = Field(
        (), description="Secrets, as files under /run/secrets, never in the environment."
    )
    plugin_class_name: Subdomain | None = Field(None, description="PluginClass whose guard rails apply.")
    calls: Annotated[tuple[Label, ...], Field(max_length=64), UniqueBy()] = Field(
        (), description="Names of plugins it may call."
    )
    operating_mode: OperatingMode = Field(OperatingMode.RUNNING, description="Whether it should run at all.")
    replicas: Whole = Field(1, ge=0, le=100, description="Instances wanted.")
    resources: Resources = Field(Resources(), description="What one instance may use at most.")
    runtime_class: Label | None = Field(
        None, description="Sandbox runtime, such as gvisor; refused where absent, never silently another."
    )
    actions: Annotated[tuple[ActionSpec, ...], Field(max_length=128), UniqueBy("name")] = Field(
        (), description="Actions judged otherwise than by default."
    )
    traffic: Traffic = Field(
        Traffic(), description="How many requests it gets, and what becomes of the others."
    )
    probes: Probes = Field(Probes(), description="How its health is asked for.")
    restart: RestartSpec = Field(RestartSpec(), description="What happens when it exits or hangs.")
    network: Network = Field(Network(), description="What it may reach.")
    storage: Annotated[tuple[Storage, ...], Field(max_length=16), UniqueBy("name")] = Field(
        (), description="Volumes that outlive its instances."
    )
    scaling: Scaling = Field(Scaling(), description="Stopping instances that nobody uses.")
    update: UpdateSpec = Field(UpdateSpec(), description="How a new revision replaces the old one.")
    termination_grace_period_seconds: Seconds = Field(
        10, ge=0, le=600, description="Time an instance has to finish after it is told to stop."
    )
    schedules: Annotated[tuple[Schedule, ...], Field(max_length=64)] = Field(
        (), description="Actions called by the clock."
    )

    @model_validator(mode="after")
    def _entrypoint(self) -> Self:
        if self.source.image is None and self.entrypoint is None:
            raise wrong("is required, such as main:Hello, unless source.image is given", ("entrypoint",))
        if self.source.image is not None and self.entrypoint is not None:
            raise wrong("must be absent when source.image is given: the image has its own", ("entrypoint",))
        if self.source.image is not None and self.dependencies:
            raise wrong("must be absent when source.image is given: the image has its own", ("dependencies",))
        return self
