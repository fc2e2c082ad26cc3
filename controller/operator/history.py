"""What a Plugin resource says, who wanted it, and what it said before. Pure.

The resource is what is wanted. Who ordered it stands on it in an annotation, written with it in one step and believed as long
as the resource says what was ordered; whoever changes it otherwise, with kubectl say, makes a revision too. Each revision
is also a ControllerRevision (apps/v1) that the resource owns, so that it can be gone back to.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from xcore.errors import InvalidManifest
from xcore.ledger import KEPT_REVISIONS, Kept, Shelved
from xcore.manifest import API_VERSION, KIND, from_dict
from xcore.runtimes.kubernetes.client import MANAGER, Object
from xcore.runtimes.kubernetes.objects import meta_of

CHANGE = "xcore.dev/change"
# What the cluster's own tools, and we, note: it is nobody's wish.
_NOTED = (
    *("kubectl.kubernetes.io/", "deployment.kubernetes.io/", "app.kubernetes.io/managed-by"),
    *("helm.sh/", "meta.helm.sh/", "xcore.dev/"),
)
_SHORT = 8
_ORDER = {"number", "by", "at", "how", "note", "request"}


@dataclass(frozen=True, slots=True)
class Held(Shelved):
    """A plugin as it was read. `item`: its resource; `recorded`: the numbers that have a ControllerRevision."""

    item: Object
    recorded: frozenset[int]

    @property
    def version(self) -> str:
        return version_of(self.item)


def version_of(item: Object) -> str:
    """Another one after every change of what is wanted, whoever made it; its status does not count."""
    meta = item["metadata"]
    noted = json.dumps([authors(meta.get("labels")), authors(meta.get("annotations"))], sort_keys=True)
    return (
        f"{meta['uid'][:_SHORT]}-{meta['generation']}-{hashlib.sha256(noted.encode()).hexdigest()[:_SHORT]}"
    )


def authors(told: Mapping[str, str] | None) -> dict[str, str]:
    """Give the labels or annotations that are the author's."""
    return {key: value for key, value in (told or {}).items() if not key.startswith(_NOTED)}


def declared(item: Object) -> dict[str, Any]:
    """Give the manifest a resource holds, as data."""
    meta = item["metadata"]
    told = {"labels": authors(meta.get("labels")), "annotations": authors(meta.get("annotations"))}
    return {
        "apiVersion": item["apiVersion"],
        "kind": item["kind"],
        "metadata": {"name": meta["name"], **{key: value for key, value in told.items() if value}},
        "spec": item["spec"],
    }


def held(item: Object, records: Sequence[Object]) -> Held:
    """Give a plugin with its kept revisions: those recorded, and the present one, whoever made it."""
    meta = item["metadata"]
    owned = [record for record in records if _owner(record) == meta["uid"]]
    recorded = sorted(map(_kept, owned), key=lambda kept: kept.number)
    numbers = frozenset(kept.number for kept in recorded)
    revisions = _with_present(item, recorded)[-KEPT_REVISIONS:]
    return Held(meta["name"], meta["uid"], tuple(revisions), item, numbers)


def _with_present(item: Object, recorded: list[Kept]) -> list[Kept]:
    manifest = declared(item)
    newest = recorded[-1].number if recorded else 0
    ordered, of = _ordered(item, manifest)
    if ordered is not None and of == _wish(manifest) and ordered.number >= newest:
        return [*(kept for kept in recorded if kept.number < ordered.number), ordered]
    if recorded and _wish(recorded[-1].manifest) == _wish(manifest):
        return recorded
    number = max(newest, ordered.number if ordered else 0) + 1
    by, at = _written(item)
    how = "create" if number == 1 else "update"
    return [*recorded, Kept(number, manifest, _digest(manifest), by, at, how)]


def _ordered(item: Object, manifest: Mapping[str, Any]) -> tuple[Kept | None, str]:
    """Give the last order that was carried out on a resource, and what it wished for."""
    try:
        note = json.loads((item["metadata"].get("annotations") or {}).get(CHANGE, "{}"))
        order = {key: value for key, value in note.items() if key in _ORDER}
        return Kept(manifest=manifest, digest=_digest(manifest), **order), note["of"]
    except (ValueError, TypeError, KeyError, AttributeError):  # absent, or somebody wrote into it
        return None, ""


def _wish(manifest: Mapping[str, Any]) -> str:
    """Name what a manifest wishes for: the same for equal wishes, with defaults filled in or not."""
    try:
        wish: Any = from_dict(dict(manifest)).wish()
    except InvalidManifest:
        wish = manifest
    return hashlib.sha256(json.dumps(wish, sort_keys=True).encode()).hexdigest()[:16]


def _digest(manifest: Mapping[str, Any]) -> str:
    bundle: str = manifest["spec"].get("source", {}).get("bundle", "")
    return bundle.removeprefix("sha256:")


def _written(item: Object) -> tuple[str, str]:
    """Tell who but us wrote what a resource wants, and when: its field managers know."""
    meta = item["metadata"]
    notes = [
        (note.get("time", ""), note["manager"])
        for note in meta.get("managedFields", ())
        if not note.get("subresource") and note["manager"] != MANAGER and "f:spec" in note.get("fieldsV1", {})
    ]
    at, by = max(notes, default=(meta["creationTimestamp"], ""))
    return by or "unknown", at


# -- objects -------------------------------------------------------------------------------------------------------


def resource(kept: Kept, namespace: str, before: Object | None) -> Object:
    """Give the Plugin resource that wants a revision, in the place of what was `before`."""
    manifest = kept.manifest
    meta = manifest["metadata"]
    known = before["metadata"] if before else {"name": meta["name"], "namespace": namespace}
    item: Object = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {
            **{key: value for key, value in known.items() if key != "managedFields"},
            "labels": {**_others(known.get("labels")), **authors(meta.get("labels"))},
            "annotations": {**_others(known.get("annotations")), **authors(meta.get("annotations"))},
        },
        "spec": manifest["spec"],
    }
    order = {key: value for key, value in asdict(kept).items() if key in _ORDER and value != ""}
    item["metadata"]["annotations"][CHANGE] = json.dumps({**order, "of": _wish(declared(item))})
    return item


def _others(told: Mapping[str, str] | None) -> dict[str, str]:
    mine = authors(told)
    return {key: value for key, value in (told or {}).items() if key not in mine}


def record(kept: Kept, item: Object) -> Object:
    """Give the ControllerRevision of a revision."""
    meta = item["metadata"]
    made = meta_of(meta["name"], meta["namespace"], meta["uid"])
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {**made, "name": record_name(meta["name"], meta["uid"], kept.number)},
        "revision": kept.number,
        "data": {key: value for key, value in asdict(kept).items() if value != ""},
    }


def record_name(plugin: str, uid: str, number: int) -> str:
    """Another one for a later plugin of the same name."""
    return f"xcore-{plugin}-{uid[:_SHORT]}-{number}"


def _kept(record: Object) -> Kept:
    known = {each.name for each in fields(Kept)}
    told = {key: value for key, value in record["data"].items() if key in known}
    return replace(Kept(**{"digest": "", **told}), number=record["revision"])


def _owner(record: Object) -> str:
    return next((str(owner["uid"]) for owner in record["metadata"].get("ownerReferences", ())), "")
