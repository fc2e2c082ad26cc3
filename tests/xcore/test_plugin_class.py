"""A PluginClass: what it forbids, field by field, and what it decides for those who say nothing."""

import pytest

from tests.kubernetes.vectors import CODE, code, resource
from xcore import manifest, plugin_class
from xcore.errors import InvalidManifest
from xcore.plugin_class import PluginClass, demands_proof, forbids, with_defaults

DIGEST = f"@sha256:{'a' * 64}"


def limits(**spec) -> PluginClass:
    return plugin_class.from_dict(resource("PluginClass", spec, "strict"))


def plugin(spec) -> manifest.Manifest:
    return manifest.from_dict(resource("Plugin", spec))


def refused(limit: PluginClass, spec) -> list[str]:
    return [str(problem) for problem in forbids(limit, plugin(spec), runtime="kubernetes")]


def test_an_empty_class_forbids_nothing():
    everything = code(
        network={"egress": "PublicInternet"}, runtimeClass="gvisor", resources={"cpu": "64", "memory": "64Gi"}
    )
    assert refused(limits(), everything) == []


@pytest.mark.parametrize(
    ("place", "image", "allowed"),
    [
        ("registry.example.com", "registry.example.com/app:1", True),
        ("registry.example.com", "registry.example.com:5000/app", False),
        ("registry.example.com", "registry.example.com.evil.org/app", False),
        ("registry.example.com:5000", "registry.example.com:5000/app", True),
        ("registry.example.com/team", f"registry.example.com/team/app{DIGEST}", True),
        ("registry.example.com/team/", "registry.example.com/team/app", True),
        ("registry.example.com/team", "registry.example.com/team-b/app", False),
        ("registry.example.com/team/app", "registry.example.com/team/app:2", True),
        ("docker.io/library", "nginx:1", True),
        ("docker.io", "team/app", True),
        ("docker.io/library", "team/app", False),
    ],
)
def test_an_image_comes_from_an_allowed_place_by_whole_parts_of_its_name(place, image, allowed):
    found = refused(limits(allowedRegistries=[place]), {"source": {"image": image}})
    assert found == ([] if allowed else [f"spec.source.image: must come from {place}"])


def test_a_digest_may_be_required():
    strict = limits(digestRequired=True)
    assert refused(strict, {"source": {"image": f"team/app{DIGEST}"}}) == []
    (told,) = refused(strict, {"source": {"image": "team/app:1"}})
    assert told.startswith("spec.source.image: must be named by its digest")
    assert refused(strict, CODE) == [], "code in a ConfigMap has no image of its own"


@pytest.mark.parametrize("name", ["cpu", "memory", "pids", "tmp"])
def test_resources_have_a_ceiling_each(name):
    most, more = {
        "cpu": ("1", "1001m"),
        "memory": ("1Gi", "1025Mi"),
        "pids": (100, 101),
        "tmp": ("64Mi", "65Mi"),
    }[name]
    strict = limits(maxResources={name: most})
    assert refused(strict, code(resources={name: most})) == []
    assert refused(strict, code(resources={name: more})) == [
        f"spec.resources.{name}: must be at most {most}, got {more}"
    ]


def test_the_default_counts_as_asked_for():
    """Who says nothing of memory asks for 128Mi, and may not where less is the most."""
    assert refused(limits(maxResources={"memory": "64Mi"}), CODE) == [
        "spec.resources.memory: must be at most 64Mi, got 128Mi"
    ]


def test_the_runtime_class_must_be_named():
    strict = limits(runtimeClass="gvisor")
    assert refused(strict, code(runtimeClass="gvisor")) == []
    for spec in (CODE, code(runtimeClass="runc")):
        assert refused(strict, spec) == ["spec.runtimeClass: must be gvisor"]


@pytest.mark.parametrize(
    ("maximum", "asked", "allowed"),
    [
        ("Deny", "Deny", True),
        ("Deny", "AllowList", False),
        ("AllowList", "AllowList", True),
        ("AllowList", "PublicInternet", False),
    ],
)
def test_egress_has_a_ceiling(maximum, asked, allowed):
    found = refused(limits(egress={"maximum": maximum}), code(network={"egress": asked}))
    assert found == ([] if allowed else [f"spec.network.egress: must not be wider than {maximum}"])


def test_egress_of_the_class_is_for_those_who_say_nothing():
    kind = limits(egress={"default": "PublicInternet"})
    assert with_defaults(kind, plugin(CODE)).spec.network.egress == "PublicInternet"
    said = plugin(code(network={"egress": "Deny"}))
    assert with_defaults(kind, said) == said


def test_a_rating_that_cannot_be_reached_is_told_with_what_would_raise_it():
    strict = limits(minimumSecurityRating=8)
    image = {"source": {"image": "team/app:1"}}
    assert (
        refused(strict, {**image, "source": {"image": f"team/app{DIGEST}"}, "runtimeClass": "gvisor"}) == []
    )
    assert refused(strict, CODE) == [
        "status.securityRating: must be at least 8, and is 7 at best; more would be: spec.runtimeClass: gvisor or kata"
    ]
    (told,) = refused(strict, image)
    assert told.endswith(
        "is 6 at best; more would be: an image named by its digest or spec.runtimeClass: gvisor or kata"
    )


@pytest.mark.parametrize(("least", "demanded"), [(1, False), (6, False), (7, True)])
def test_a_rating_that_needs_a_proven_network_demands_the_proof(least, demanded):
    """Until then it gets no requests: what serves has at least the rating its class wants."""
    strict = limits(minimumSecurityRating=least)
    assert refused(strict, CODE) == []
    assert demands_proof(strict, plugin(CODE), runtime="kubernetes") is demanded
    asked = limits(minimumSecurityRating=least, requireProof=True)
    assert demands_proof(asked, plugin(CODE), runtime="kubernetes")


def test_everything_forbidden_is_told_at_once():
    strict = limits(digestRequired=True, allowedRegistries=["docker.io/team"], runtimeClass="gvisor")
    assert len(refused(strict, {"source": {"image": "other/app:1"}})) == 3


def test_the_cluster_may_add_to_its_metadata():
    """Labels of Helm and the server's own fields are none of our business."""
    document = resource("PluginClass", {}, "standard")
    document["metadata"] |= {"uid": "1", "labels": {"app.kubernetes.io/managed-by": "Helm"}}
    assert plugin_class.from_dict(document).metadata.name == "standard"


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"egres": {}}, "spec.egres: is not a field here; did you mean egress?"),
        (
            {"digestRequired": "yes"},
            'spec.digestRequired: must be true or false, got "yes"',
        ),
        ({"minimumSecurityRating": 9}, "spec.minimumSecurityRating: must be from 1 to 8, got 9"),
        (
            {"allowedRegistries": ["https://x"]},
            'spec.allowedRegistries[0]: must be a registry, or a part of one, such as registry.example.com/team, got "https://x"',
        ),
    ],
)
def test_a_wrong_field_is_named(spec, told):
    with pytest.raises(InvalidManifest) as caught:
        limits(**spec)
    assert [str(problem) for problem in caught.value.problems] == [told]
