"""What the controller needs to be allowed, and asking the API server whether it is (authorization.k8s.io/v1)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import NamedTuple

from xcore.runtimes.kubernetes.client import Cluster, Object

_AT_ONCE = 8
_REVIEWS = "/apis/authorization.k8s.io/v1"


class Right(NamedTuple):
    """To do one thing with one kind of object; in all namespaces where none is named."""

    verb: str
    group: str
    resource: str
    namespace: str = ""

    def __str__(self) -> str:
        kind = f"{self.resource}.{self.group}" if self.group else self.resource
        return f"{self.verb} {kind}" + (f" in {self.namespace}" if self.namespace else "")


# Where plugins are: group, kind, and what is done with it.
_PLUGINS = (
    ("xcore.dev", "plugins", "get list watch create update delete"),
    ("xcore.dev", "plugins/status", "patch"),
    ("xcore.dev", "plugins/finalizers", "update"),
    ("", "configmaps", "get list watch create patch delete"),
    ("", "persistentvolumeclaims", "create patch"),
    ("apps", "deployments", "list watch create patch delete"),
    ("apps", "controllerrevisions", "list create delete"),
    ("apps", "replicasets", "list"),
    ("networking.k8s.io", "networkpolicies", "list watch create patch delete"),
    ("policy", "poddisruptionbudgets", "list create patch delete"),
    ("", "pods", "list watch create delete"),
    ("", "pods/log", "get"),
    ("", "events", "list create"),
)


def wanted(namespaces: Iterable[str], own: str, *, calls: bool) -> list[Right]:
    """Give every right the controller uses. `own`: the namespace it leads in; no namespaces: all of them. `calls`: plugins call each other."""
    found = [Right(verb, "xcore.dev", "pluginclasses") for verb in ("list", "watch")]
    found += [Right(verb, "coordination.k8s.io", "leases", own) for verb in ("get", "create", "update")]
    if calls:
        found.append(Right("create", "authentication.k8s.io", "tokenreviews"))
    return found + [
        Right(verb, group, resource, namespace)
        for namespace in namespaces
        for group, resource, verbs in _PLUGINS
        for verb in verbs.split()
    ]


async def missing(cluster: Cluster, rights: Iterable[Right]) -> list[Right]:
    """Give those the API server denies; raises RuntimeUnavailable, Refusal.

    Each namespace's rules are asked for first, in one request; only what they do not hold is asked for by itself.
    """
    asked = list(rights)
    rules = {
        namespace: await _rules(cluster, namespace)
        for namespace in {right.namespace for right in asked} - {""}
    }
    doubtful = [
        right for right in asked if not any(_allows(rule, right) for rule in rules.get(right.namespace, ()))
    ]
    places = asyncio.Semaphore(_AT_ONCE)

    async def denied(right: Right) -> bool:
        async with places:
            return not await _allowed(cluster, right)

    answers = await asyncio.gather(*map(denied, doubtful))
    return [right for right, no in zip(doubtful, answers, strict=True) if no]


async def _rules(cluster: Cluster, namespace: str) -> list[Object]:
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    }
    answer = await cluster.create(f"{_REVIEWS}/selfsubjectrulesreviews", review)
    return list(answer["status"].get("resourceRules", ()))


def _allows(rule: Object, right: Right) -> bool:
    told = (("verbs", right.verb), ("apiGroups", right.group), ("resources", right.resource))
    listed = all({value, "*"} & set(rule.get(name, ())) for name, value in told)
    return listed and not rule.get("resourceNames")


async def _allowed(cluster: Cluster, right: Right) -> bool:
    resource, _, subresource = right.resource.partition("/")
    asked = {
        "verb": right.verb,
        "group": right.group,
        "resource": resource,
        "subresource": subresource,
        "namespace": right.namespace,
    }
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": asked},
    }
    answer = await cluster.create(f"{_REVIEWS}/selfsubjectaccessreviews", review)
    return bool(answer["status"]["allowed"])
