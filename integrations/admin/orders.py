"""`/api/v1/plugins`: making, changing and removing plugins. What lives in a folder is changed there, and refused here."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from integrations.admin.access import demands
from integrations.admin.answers import DeskOf, PatienceOf, TermsOf, WaitTimeout
from integrations.admin.audited import Audited
from integrations.admin.named import PluginName
from integrations.admin.schemas import GONE, LATE, MAX_REVISION, PATCH, PLUGIN, REVISIONS, ROLLBACK, SENT
from integrations.admin.upload import UnsupportedMediaType, is_json, text
from integrations.grants import Scope
from integrations.once import Done, claim
from xcore import jsonsafe
from xcore.errors import Invalid, InvalidManifest, Problem
from xcore.intake import Outcome
from xcore.ledger import Kept
from xcore.parcel import read_data

router = APIRouter(prefix="/api/v1/plugins", tags=["plugins"], route_class=Audited)
READS, WRITES = [demands(Scope.PLUGINS_READ)], [demands(Scope.PLUGINS_WRITE)]


class InvalidRollback(Invalid):
    reason = "InvalidArguments"


@router.post("", dependencies=WRITES, status_code=201, responses={201: PLUGIN, 504: LATE}, openapi_extra=SENT)
async def create_plugin(desk: DeskOf, terms: TermsOf, patience: PatienceOf) -> Response:
    """Make a plugin: a manifest that names an image, or with an archive of its code."""
    async with desk.uploads.received(desk.request) as upload:
        claimed = claim(desk.request, upload.digest)
        marked = replace(terms, mark=claimed.mark if claimed else "")

        async def order() -> Done:
            outcome = await desk.intake.create(upload.parcel, marked)
            return Done(outcome.name, 201)

        return await desk.once.perform(claimed, order, lambda done: desk.answer(done, patience))


@router.put(
    "/{name}", dependencies=WRITES, responses={200: PLUGIN, 201: PLUGIN, 504: LATE}, openapi_extra=SENT
)
async def put_plugin(name: PluginName, desk: DeskOf, terms: TermsOf, patience: PatienceOf) -> Response:
    """Make it so: 201 where the plugin is new, else 200. The same again changes nothing."""
    async with desk.uploads.received(desk.request) as upload:
        outcome = await desk.intake.replace(name, upload.parcel, terms)
    return await desk.answer(_done(outcome), patience)


@router.patch("/{name}", dependencies=WRITES, responses={200: PLUGIN, 504: LATE}, openapi_extra=PATCH)
async def patch_plugin(name: PluginName, desk: DeskOf, terms: TermsOf, patience: PatienceOf) -> Response:
    """Change some fields by a JSON merge patch (RFC 7396); the result is judged as a whole."""
    if not is_json(desk.request):
        raise UnsupportedMediaType("send application/merge-patch+json")
    changes, _ = read_data(await text(desk.request), is_json=True)
    outcome = await desk.intake.patch(name, changes, terms)
    return await desk.answer(_done(outcome), patience)


@router.delete("/{name}", dependencies=WRITES, status_code=202, responses={200: GONE, 202: GONE, 504: LATE})
async def delete_plugin(
    name: PluginName,
    desk: DeskOf,
    terms: TermsOf,
    wait: Annotated[Literal["Gone"] | None, Query(description="Answer only when this holds.")] = None,
    seconds: Annotated[float, Query(alias="timeoutSeconds", ge=0.1, le=600)] = 60,
) -> Response:
    """Remove it: route, instances, record, revisions. Gives the resource as it was last."""
    last = desk.resource(name)
    await desk.intake.delete(name, terms)
    if wait is None:
        return JSONResponse(last, status_code=202)
    if not await desk.intake.wait_gone(name, seconds):
        raise WaitTimeout(f"{name} is not gone after {seconds:g} s; it is on its way out")
    return JSONResponse(last)


@router.get("/{name}/revisions", dependencies=READS, response_model=None, responses={200: REVISIONS})
async def get_revisions(name: PluginName, desk: DeskOf) -> dict[str, Any]:
    """List the kept revisions, the newest first: who sent each, when and how."""
    kept = await desk.intake.revisions(name)
    return {"items": [_shown(each, wanted=each is kept[-1]) for each in reversed(kept)]}


@router.post(
    "/{name}/rollback",
    dependencies=WRITES,
    status_code=202,
    responses={200: PLUGIN, 202: PLUGIN, 504: LATE},
    openapi_extra=ROLLBACK,
)
async def rollback(name: PluginName, desk: DeskOf, terms: TermsOf, patience: PatienceOf) -> Response:
    """Want again what a kept revision says; that becomes a new revision."""
    revision = await _revision(desk.request)
    claimed = claim(desk.request, str(revision))
    marked = replace(terms, mark=claimed.mark if claimed else "")

    async def order() -> Done:
        await desk.intake.rollback(name, revision, marked)
        return Done(name, 202)

    return await desk.once.perform(claimed, order, lambda done: desk.answer(done, patience))


async def _revision(request: Request) -> int:
    # By hand, as every body here: a parameter of the route would be read before the key is asked for, and without a bound.
    if not is_json(request):
        raise UnsupportedMediaType("send application/json")
    try:
        said = jsonsafe.load(await text(request), name="the body")
    except InvalidManifest as error:
        raise InvalidRollback(error.detail, error.problems) from None
    revision = said.get("revision") if isinstance(said, dict) and len(said) == 1 else None
    if isinstance(revision, float) and revision.is_integer():
        revision = int(revision)  # JSON has one kind of number: 3.0 is as whole as 3
    if type(revision) is not int or not 1 <= revision <= MAX_REVISION:
        problem = Problem("revision", f"must be a whole number from 1 to {MAX_REVISION}, and the only member")
        raise InvalidRollback("the body does not say which revision is wanted", [problem])
    return revision


def _done(outcome: Outcome) -> Done:
    return Done(outcome.name, 201 if outcome.created else 200)


def _shown(kept: Kept, *, wanted: bool) -> dict[str, Any]:
    spec = kept.manifest["spec"]
    source = spec.get("source", {})
    return {
        "revision": kept.number,
        "wanted": wanted,
        "version": spec.get("version", ""),
        "digest": f"sha256:{kept.digest}" if kept.digest else source.get("image", ""),
        "by": kept.by,
        "at": kept.at,
        "how": kept.how,
        "note": kept.note,
        "manifest": kept.manifest,
    }
