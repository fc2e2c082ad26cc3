"""For each rule in CEL, specs of a Plugin or PluginClass that keep it, and that break it and no other."""

from __future__ import annotations

from typing import Any, NamedTuple

from xcore import celrules
from xcore.celrules import Rule

Document = dict[str, Any]
CODE: Document = {"source": {"configMap": "code"}, "entrypoint": "main:Hello"}
IMAGE: Document = {"source": {"image": "team/app:1"}}
BUNDLE = f"sha256:{'a' * 64}"
SOCKET = "/run/plugin/p.sock"
GIB = 2**30


class Vector(NamedTuple):
    """Which field is refused, with which words; specs that pass and specs that fail."""

    field: str
    words: str
    good: tuple[Document, ...]
    bad: tuple[Document, ...]
    # Whether the model in Python judges like the API server: a folder on disk may be what a custom resource may not.
    alike: bool = True


def resource(kind: str, spec: Document, name: str = "probe") -> Document:
    return {"apiVersion": "xcore.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def code(**fields: Any) -> Document:
    return {**CODE, **fields}


def source(**fields: Any) -> Document:
    return {"source": fields} if "image" in fields else code(source=fields)


def allow(**rule: Any) -> Document:
    return code(network={"egress": "AllowList", "allow": [{"ports": [443], **rule}]})


def stored(path: str = "/data", size: Any = "1Gi") -> Document:
    return code(storage=[{"name": "data", "mountPath": path, "size": size}])


def scheduled(**when: Any) -> Document:
    return code(schedules=[{"action": "tidy", **when}])


def named(*names: str) -> tuple[Document, ...]:
    return tuple(code(env=[{"name": name, "value": "x"}]) for name in names)


_QUANTITIES = {
    "cpu": (("10m", "64", 1, "1e0", "0.5"), ("9m", "65", 0, 65)),
    "memory": (("16Mi", "64Gi", 16 * 2**20), ("15Mi", "65Gi", 1, "16777216500m")),
    "pids": (("8", 4096, "1k"), ("7", 4097, "8500m")),
    "tmp": (("1Mi", "1Gi"), ("1023Ki", "1025Mi", "1048576500m")),
}

PLUGIN = (
    Vector(
        "spec.isolation",
        "Sandboxed",
        (code(isolation="Sandboxed"),),
        (code(isolation="Trusted"),),
        alike=False,
    ),
    Vector("spec.source.folder", "no folder", (CODE,), (source(folder=".", configMap="code"),), alike=False),
    Vector(
        "spec.source",
        "exactly one",
        (CODE, IMAGE, source(bundle=BUNDLE)),
        (source(), source(configMap="code", bundle=BUNDLE)),
    ),
    Vector("spec.source.port", "image", (source(image="a", port=80),), (source(configMap="code", port=80),)),
    Vector(
        "spec.source.socket",
        "unless image",
        (source(image="a", socket=SOCKET),),
        (source(configMap="code", socket=SOCKET),),
    ),
    Vector(
        "spec.source.socket",
        "one way",
        (source(image="a", port=80),),
        (source(image="a", port=80, socket=SOCKET),),
    ),
    Vector("spec.entrypoint", "required", (CODE, IMAGE), ({"source": CODE["source"]},)),
    Vector("spec.entrypoint", "must be absent", (CODE, IMAGE), ({**IMAGE, "entrypoint": "main:Hello"},)),
    Vector(
        "spec.dependencies",
        "must be absent",
        (code(dependencies=["pillow>=11"]), {**IMAGE, "dependencies": []}),
        ({**IMAGE, "dependencies": ["pillow>=11"]},),
    ),
    Vector(
        "spec.env[].name",
        "sandbox's own",
        named("MODE", "MY_PATH", "HOMEPAGE"),
        named("PATH", "HOME", "LD_PRELOAD", "PLUGIN_SPEC"),
    ),
    Vector(
        "spec.actions[].scopes",
        "where access is Scoped",
        (
            code(actions=[{"name": "a"}]),
            code(actions=[{"name": "a", "access": "Scoped", "scopes": ["orders:write"]}]),
        ),
        (
            code(actions=[{"name": "a", "access": "Scoped"}]),
            code(actions=[{"name": "a", "scopes": ["orders:write"]}]),
        ),
    ),
    Vector(
        "spec.network.allow[]",
        "exactly one",
        (allow(host="example.com"), allow(cidr="203.0.113.0/24")),
        (allow(), allow(host="example.com", cidr="203.0.113.0/24")),
    ),
    Vector(
        "spec.network.allow[].cidr",
        "network",
        tuple(allow(cidr=cidr) for cidr in ("10.0.0.0/8", "2001:db8::/32", "192.0.2.1", "0.0.0.0/0")),
        tuple(allow(cidr=cidr) for cidr in ("10.0.0.1/8", "10.0.0.0/33", "somewhere", "2001:db8::1/32")),
    ),
    Vector(
        "spec.storage[].mountPath",
        "directory",
        tuple(map(stored, ("/data", "/devices", "/srv/run", "/.cache"))),
        tuple(map(stored, ("/etc", "/usr/lib", "/data/..", "/data/../etc", "/."))),
    ),
    Vector(
        "spec.storage[].size",
        "1Mi to 1Ti",
        tuple(stored(size=size) for size in ("1Mi", "1Ti", 2**20)),
        tuple(stored(size=size) for size in ("1023Ki", "1025Gi", "1048576500m")),
    ),
    Vector(
        "spec.schedules[]",
        "exactly one",
        (scheduled(cron="0 4 * * *"), scheduled(everySeconds=60)),
        (scheduled(), scheduled(cron="0 4 * * *", everySeconds=60)),
    ),
    *(
        Vector(
            f"spec.resources.{name}",
            "must be a",
            tuple(code(resources={name: value}) for value in good),
            tuple(code(resources={name: value}) for value in bad),
        )
        for name, (good, bad) in _QUANTITIES.items()
    ),
)
PLUGIN_CLASS = (
    *(
        Vector(
            f"spec.maxResources.{name}",
            "must be a",
            tuple({"maxResources": {name: value}} for value in good),
            tuple({"maxResources": {name: value}} for value in bad),
        )
        for name, (good, bad) in _QUANTITIES.items()
    ),
    Vector(
        "spec.egress.default",
        "wider",
        ({"egress": {"default": "AllowList"}}, {"egress": {"maximum": "Deny"}}, {"egress": {}}),
        (
            {"egress": {"default": "AllowList", "maximum": "Deny"}},
            {"egress": {"default": "PublicInternet", "maximum": "AllowList"}},
        ),
    ),
)


def rule_of(vector: Vector, rules: tuple[Rule, ...]) -> Rule:
    """The one rule that a vector is about."""
    (rule,) = (
        rule for rule in rules if rule.at + rule.field == vector.field and vector.words in rule.message
    )
    return rule


RULES = {"Plugin": (celrules.PLUGIN, PLUGIN), "PluginClass": (celrules.PLUGIN_CLASS, PLUGIN_CLASS)}
EVERY = tuple((kind, vector) for kind, (_, vectors) in RULES.items() for vector in vectors)


def ids(pair: tuple[str, Vector]) -> str:
    return f"{pair[0]}.{pair[1].field}-{pair[1].words}".replace(" ", "-")
