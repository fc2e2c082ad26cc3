"""What the validators of a resource say and a schema cannot, in CEL, for the API server: field by field.

`at` is the path of the value that is judged (`self`): `[]` stands for each item of a list. Two rules hold on Kubernetes
alone: a trusted plugin and a folder are of the controller's own disk, never of a custom resource. What CEL cannot see
(the size of free-form JSON, whole millicores, labels) the controller judges, and tells in Accepted.
"""

from __future__ import annotations

from dataclasses import dataclass

QUANTITY = r"^([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,2}|[KMGTPE]i|[numkMGTPE])?$"


@dataclass(frozen=True, slots=True)
class Rule:
    """One `x-kubernetes-validations` entry; `field`, below `at`, is what the refusal names."""

    at: str
    rule: str
    message: str
    field: str = ""

    def entry(self) -> dict[str, str]:
        named = {"fieldPath": self.field} if self.field else {}
        return {"rule": self.rule, "message": self.message, **named}


def _between(at: str, low: str, high: str, *, whole: bool = True) -> Rule:
    number = "quantity(string(self))"
    rule = f"{number}.compareTo(quantity('{low}')) >= 0 && {number}.compareTo(quantity('{high}')) <= 0"
    what = "whole number" if whole else "quantity"
    return Rule(at, rule + f" && {number}.isInteger()" * whole, f"must be a {what} from {low} to {high}")


def _resources(at: str) -> tuple[Rule, ...]:
    return (
        _between(f"{at}.cpu", "10m", "64", whole=False),
        _between(f"{at}.memory", "16Mi", "64Gi"),
        _between(f"{at}.pids", "8", "4096"),
        _between(f"{at}.tmp", "1Mi", "1Gi"),
    )


_OWN_DIRECTORIES = "bin|boot|dev|etc|lib|lib64|plugin|proc|run|sbin|site|sys|tmp|usr"

PLUGIN = (
    Rule(
        "spec.isolation",
        "self == 'Sandboxed'",
        "must be Sandboxed: no custom resource makes a plugin trusted",
    ),
    Rule("spec.source", "!has(self.folder)", "must be absent: a cluster has no folder of yours", ".folder"),
    Rule(
        "spec.source",
        "[has(self.image), has(self.bundle), has(self.configMap)].filter(given, given).size() == 1",
        "must have exactly one of image, bundle and configMap",
    ),
    Rule(
        "spec.source", "has(self.image) || !has(self.port)", "must be absent unless image is given", ".port"
    ),
    Rule(
        "spec.source",
        "has(self.image) || !has(self.socket)",
        "must be absent unless image is given",
        ".socket",
    ),
    Rule(
        "spec.source",
        "!has(self.port) || !has(self.socket)",
        "must be absent where port is given: an image is reached in one way",
        ".socket",
    ),
    Rule(
        "spec",
        "has(self.source.image) || has(self.entrypoint)",
        "is required, such as main:Hello, unless source.image is given",
        ".entrypoint",
    ),
    Rule(
        "spec",
        "!has(self.source.image) || !has(self.entrypoint)",
        "must be absent when source.image is given: the image has its own",
        ".entrypoint",
    ),
    Rule(
        "spec",
        "!has(self.source.image) || !has(self.dependencies) || self.dependencies.size() == 0",
        "must be absent when source.image is given: the image has its own",
        ".dependencies",
    ),
    Rule(
        "spec.env[].name",
        "!(self in ['PATH', 'HOME']) && !self.startsWith('LD_') && !self.startsWith('PLUGIN_')",
        "must not be PATH, HOME or begin with LD_ or PLUGIN_: those are the sandbox's own",
    ),
    Rule(
        "spec.actions[]",
        "(has(self.access) && self.access == 'Scoped') == (has(self.scopes) && self.scopes.size() > 0)",
        "must name at least one where access is Scoped, and be absent elsewhere",
        ".scopes",
    ),
    *_resources("spec.resources"),
    Rule(
        "spec.network.allow[]", "has(self.host) != has(self.cidr)", "must have exactly one of host and cidr"
    ),
    Rule(
        "spec.network.allow[].cidr",
        "isIP(self) || (isCIDR(self) && cidr(self).masked() == cidr(self))",
        "must be a network such as 203.0.113.0/24, without bits set to the right of the prefix",
    ),
    Rule(
        "spec.storage[].mountPath",
        rf"!self.matches('^/({_OWN_DIRECTORIES})(/|$)') && !self.matches('/\\.\\.?(/|$)')",
        "must be a directory of its own, such as /data, outside those the system uses",
    ),
    _between("spec.storage[].size", "1Mi", "1Ti"),
    Rule(
        "spec.schedules[]",
        "has(self.cron) != has(self.everySeconds)",
        "must have exactly one of cron and everySeconds",
    ),
)

PLUGIN_CLASS = (
    *_resources("spec.maxResources"),
    Rule(
        "spec.egress",
        "self.maximum == 'PublicInternet' || self.default == 'Deny' || self.default == self.maximum",
        "must not be wider than maximum",
        ".default",
    ),
)
