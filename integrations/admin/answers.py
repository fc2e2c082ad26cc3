"""What orders are given on and answered with: conditions and keys from the headers, the resource, its version, waiting."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import Depends, Query, Request
from fastapi.responses import JSONResponse, Response

from integrations.admin.upload import MalformedRequest, Uploads
from integrations.grants import Grant
from integrations.once import Done, Once, claim
from xcore.errors import XcoreError
from xcore.intake import Intake, Terms
from xcore.manager import Manager

MAX_NOTE = 200
_TAG = re.compile(r'\*|"[\x21\x23-\x7e]{0,128}"')


class WaitTimeout(XcoreError):
    reason = "WaitTimeout"
    component = "plugin"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a command waits for the plugin to be Ready before it answers; None: not at all."""

    seconds: float | None


def _patience(
    wait: Annotated[Literal["Ready"] | None, Query(description="Answer only when this holds.")] = None,
    seconds: Annotated[float, Query(alias="timeoutSeconds", ge=0.1, le=600)] = 60,
) -> Patience:
    return Patience(None if wait is None else seconds)


PatienceOf = Annotated[Patience, Depends(_patience)]


def _terms(
    request: Request,
    note: Annotated[
        str, Query(max_length=MAX_NOTE, pattern=r"^[^\x00-\x1f\x7f]*$", description="Kept with the revision.")
    ] = "",
) -> Terms:
    """Who asks, and `If-Match`, `If-None-Match: *`."""
    absent = request.headers.get("if-none-match")
    if absent is not None and absent.strip() != "*":
        raise MalformedRequest("If-None-Match must be *; there is nothing else to compare here")
    grant: Grant = request.state.grant
    match = matched(request)
    return Terms(by=grant.id, note=note, match=match, absent=absent is not None, only=grant.plugins)


def matched(request: Request) -> frozenset[str] | None:
    """The versions `If-Match` allows, None where it is absent. A weak tag never matches, as RFC 9110 has it."""
    told = request.headers.getlist("if-match")
    if not told:
        return None
    tags = [tag.strip() for tag in ",".join(told).split(",")]
    if not all(_TAG.fullmatch(tag.removeprefix("W/")) for tag in tags):
        raise MalformedRequest('If-Match must be *, or entity tags in double quotes, such as "1a2b3c4d-2"')
    return frozenset(tag.strip('"') for tag in tags if not tag.startswith("W/"))


TermsOf = Annotated[Terms, Depends(_terms)]


@dataclass(frozen=True, slots=True)
class Desk:
    """One request, and all that orders need."""

    request: Request
    manager: Manager
    intake: Intake
    once: Once
    uploads: Uploads

    def resource(self, name: str) -> dict[str, Any]:
        """The Plugin resource, with the version that `If-Match` compares."""
        found = self.manager.get(name)
        version = self.intake.version(name)
        return {**found, "metadata": {**found["metadata"], "resourceVersion": version}}

    def response(self, name: str, status: int = 200) -> Response:
        found = self.resource(name)
        headers = {"etag": f'"{found["metadata"]["resourceVersion"]}"'}
        if status == 201:
            headers["location"] = f"/api/v1/plugins/{name}"
        return JSONResponse(found, status, headers)

    async def answer(self, done: Done, patience: Patience) -> Response:
        """The resource at once, or when it is Ready: then what was 202 is 200."""
        if patience.seconds is None:
            return self.response(done.name, done.status)
        if not await self.manager.wait_ready(done.name, patience.seconds):
            conditions = {c["type"]: c for c in self.manager.get(done.name)["status"]["conditions"]}
            # What was there before may serve on.
            told = conditions["Progressing" if conditions["Ready"]["status"] == "True" else "Ready"]
            why = f"{told['reason']} {told['message']}".strip()
            raise WaitTimeout(f"{done.name} did not become Ready, in {patience.seconds:g} s at most: {why}")
        return self.response(done.name, 200 if done.status == 202 else done.status)

    @property
    def terms(self) -> Terms:
        """Who asks, and `If-Match`, of an order that has no note."""
        return Terms(by=self.request.state.caller, match=matched(self.request))

    async def command(self, name: str, order: Callable[[], Awaitable[None]], patience: Patience) -> Response:
        """Carry out what has no body, once for each Idempotency-Key."""

        async def ordered() -> Done:
            await order()
            return Done(name, 202)

        return await self.once.perform(claim(self.request), ordered, lambda done: self.answer(done, patience))


def _desk(request: Request) -> Desk:
    state = request.app.state
    return Desk(request, state.manager, state.intake, state.once, state.uploads)


DeskOf = Annotated[Desk, Depends(_desk)]
