"""Every error this engine raises on purpose, and the reason each one carries.

A reason is CamelCase and an API: the same string stands in a status condition, in an HTTP
problem and on the command line. What HTTP status a reason gets is not known here.

    XcoreError                      component, reason, detail
    ├── Invalid                     bad input: carries (field, message) pairs
    │   ├── InvalidManifest
    │   ├── InvalidSpec             a folder's manifest, told in its status
    │   ├── InvalidBundle           a folder or archive that may not be run
    │   ├── DependenciesUnresolved  no set of packages is what spec.dependencies want
    │   ├── NotSupported            understood, but this runtime or version cannot honour it
    │   └── ClassForbids            its PluginClass does
    ├── NotFound → PluginNotFound, RevisionNotFound
    ├── Forbidden                   whoever asks may not
    ├── PreconditionFailed          it changed since it was read
    ├── Conflict
    │   └── RouteConflict           somebody else has the name
    ├── NotAllowedTrusted           trusted is the operator's decision
    ├── WorkloadRejected            the engine refused this workload; asking again may not help
    │   ├── BundleNotFound          the cluster does not have the code that came through the API
    │   ├── ConfigMapNotFound       the ConfigMap that holds its code is not there
    │   ├── ImagePull               its image is not there
    │   ├── NetworkPolicyFailed     its network cannot be closed, so nothing is started
    │   ├── SecretNotFound          a secret it names is not there
    │   └── Unschedulable           no node of the cluster has room for it
    ├── IndexUnavailable            packages cannot be fetched now
    ├── RuntimeUnavailable          the engine or cluster does not answer: unknown is never gone
    ├── DatabaseUnavailable         the database cannot be asked now; requests to plugins go on
    ├── StorageFull                 no room; nothing half-written
    └── UpstreamError               the plugin's side of the wire
        ├── UpstreamUnreachable
        ├── UpstreamInvalid
        └── UpstreamIdentity        somebody else answers where the sandbox should
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with an input: where (`spec.resources.memory`) and what is allowed."""

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class XcoreError(Exception):
    """The root: `detail` is a sentence for a person and never holds a stack, host path or secret.

    `condition`: the one of a plugin's conditions that it makes false when the plugin is refused for it. `retry_after`: seconds after
    which it is worth asking again, where it is at all.
    """

    reason = "Internal"
    component = "controller"
    condition = "Accepted"
    retry_after = 1

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class Invalid(XcoreError):
    """Bad input; `problems` names each field and what is allowed there."""

    component = "client"

    def __init__(self, detail: str, problems: Sequence[Problem] = ()) -> None:
        super().__init__(detail)
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return "; ".join([self.detail, *map(str, self.problems)])


class InvalidManifest(Invalid):
    reason = "InvalidManifest"


class InvalidSpec(Invalid):
    reason = "InvalidSpec"


class InvalidBundle(Invalid):
    reason = "InvalidBundle"


class DependenciesUnresolved(Invalid):
    reason = "DependenciesUnresolved"


class NotSupported(Invalid):
    reason = "NotSupported"


class ClassForbids(Invalid):
    reason = "ClassForbids"


class NotFound(XcoreError):
    component = "client"


class PluginNotFound(NotFound):
    reason = "PluginNotFound"


class RevisionNotFound(NotFound):
    reason = "RevisionNotFound"


class Forbidden(XcoreError):
    reason = "Forbidden"
    component = "client"


class PreconditionFailed(XcoreError):
    reason = "PreconditionFailed"
    component = "client"


class Conflict(XcoreError):
    reason = "Conflict"
    component = "client"


class RouteConflict(Conflict):
    reason = "RouteConflict"


class NotAllowedTrusted(XcoreError):
    reason = "NotAllowedTrusted"
    component = "client"


class WorkloadRejected(XcoreError):
    reason = "WorkloadRejected"
    component = "runtime"


class ImagePull(WorkloadRejected):
    reason = "ImagePull"
    condition = "ImageVerified"


class BundleNotFound(WorkloadRejected):
    reason = "BundleNotFound"
    condition = "ResolvedRefs"


class ConfigMapNotFound(WorkloadRejected):
    reason = "ConfigMapNotFound"
    condition = "ResolvedRefs"


class SecretNotFound(WorkloadRejected):
    reason = "SecretNotFound"
    condition = "ResolvedRefs"


class NetworkPolicyFailed(WorkloadRejected):
    reason = "NetworkPolicyFailed"


class Unschedulable(WorkloadRejected):
    reason = "Unschedulable"


class IndexUnavailable(XcoreError):
    reason = "IndexUnavailable"


class RuntimeUnavailable(XcoreError):
    reason = "RuntimeUnavailable"
    component = "runtime"


class DatabaseUnavailable(XcoreError):
    reason = "DatabaseUnavailable"
    component = "database"


class StorageFull(XcoreError):
    reason = "StorageFull"


class UpstreamError(XcoreError):
    component = "plugin"


class UpstreamUnreachable(UpstreamError):
    reason = "UpstreamUnreachable"


class UpstreamInvalid(UpstreamError):
    reason = "UpstreamInvalid"


class UpstreamIdentity(UpstreamError):
    reason = "UpstreamIdentity"
