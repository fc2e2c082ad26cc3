"""When an action is called by the clock: a part of the Plugin resource."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from xcore import fields, times
from xcore.fields import Action, Json, Model, Seconds, Whole, exactly_one, wrong
from xcore.times import Cron, Every, NoSuchTimes, Times


class Schedule(Model):
    """Calls an action on its own: exactly one of cron and everySeconds."""

    action: Action = Field(description="Action to call.")
    cron: Annotated[str, Field(pattern=fields.CRON, max_length=128)] | None = Field(
        None, description="Five cron fields: minute, hour, day of month, month, day of week."
    )
    every_seconds: Annotated[Seconds, Field(ge=10, le=31_536_000)] | None = Field(
        None, description="Time between two calls."
    )
    time_zone: str = Field(
        "UTC", pattern=fields.TIME_ZONE, max_length=64, description="IANA time zone of cron."
    )
    arguments: Json = Field(
        default_factory=dict, description="Arguments of the call; at most 32 KiB as JSON."
    )
    timeout_seconds: Seconds = Field(300, ge=0.1, le=86400, description="Longest a call may take.")
    retries: Whole = Field(0, ge=0, le=10, description="Further attempts when a call fails.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        exactly_one(self, "cron", "every_seconds")
        try:
            times.zone(self.time_zone)
        except NoSuchTimes as error:
            raise wrong(f"must {error}", ("timeZone",)) from None
        try:
            times.demand(self.times)
        except NoSuchTimes as error:
            raise wrong(f"must {error}", ("cron",)) from None
        return self

    @property
    def times(self) -> Times:
        """When its calls are due."""
        if self.cron is not None:
            return Cron(self.cron, self.time_zone)
        assert self.every_seconds is not None  # exactly one of them, as judged above
        return Every(self.every_seconds)
