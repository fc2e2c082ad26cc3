"""From what is kept of a plugin that came through the API to what is declared, as a folder's would be. Pure but for a look
whether its code is there.
"""

from __future__ import annotations

from xcore.bundle import Snapshots, revision
from xcore.errors import InvalidBundle, InvalidManifest, InvalidSpec, NotAllowedTrusted, XcoreError
from xcore.instance_spec import Isolation
from xcore.ledger import Shelved
from xcore.loader import Declared
from xcore.manifest import Manifest, from_dict

_DOOR = "api/"  # no folder in the plugins directory can be called so


def door(name: str) -> str:
    """Where a plugin of a ledger is declared, in the place of a folder's name."""
    return _DOOR + name


def demand_untrusted(manifest: Manifest) -> None:
    """Whoever may write to the API may not become the controller: trusted code comes from the operator's folders alone."""
    if manifest.spec.isolation is Isolation.TRUSTED:
        raise NotAllowedTrusted(
            "a plugin sent through the API is never trusted: put it into the plugins directory, or make it Sandboxed"
        )


def declare(shelved: Shelved, snapshots: Snapshots) -> Declared:
    """Give what its newest revision wants, or why it cannot run."""
    folder, digest = door(shelved.name), shelved.newest.digest
    try:
        manifest = from_dict(dict(shelved.newest.manifest))
        demand_untrusted(manifest)
    except InvalidManifest as refused:  # a version with other fields accepted it
        return Declared(folder, error=InvalidSpec(refused.detail, refused.problems))
    except NotAllowedTrusted as refused:
        return Declared(folder, manifest, error=refused)
    if not digest:
        return Declared(folder, manifest)
    code = snapshots.path(digest)
    error: XcoreError | None = None
    if not code.is_dir():
        error = InvalidBundle("its code is gone from the state directory; send it again")
    return Declared(folder, manifest, digest, revision(digest, manifest), code, error)
