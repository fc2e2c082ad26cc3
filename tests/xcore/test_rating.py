"""One figure for how strongly a plugin is isolated."""

from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from tests.support import document
from xcore.manifest import from_dict
from xcore.rating import Wall, rating, walls

DIGEST = f"team/app@sha256:{'a' * 64}"
RUNTIMES = ("inprocess", "process", "docker", "kubernetes", "somebody-elses")
ISOLATED = ("True", "Unknown", "False")


def plugin(image="", **spec):
    if not image:
        return from_dict(document(**spec))
    made = document(source={"image": image}, **spec)
    del made["spec"]["entrypoint"]
    return from_dict(made)


@pytest.mark.parametrize(
    ("runtime", "isolated", "spec", "figure"),
    [
        ("inprocess", "False", {}, 1),
        ("process", "False", {}, 3),
        ("docker", "True", {}, 7),
        ("docker", "True", {"image": "team/app:1"}, 7),
        ("docker", "True", {"runtimeClass": "runsc"}, 8),
        ("kubernetes", "False", {}, 5),
        ("kubernetes", "Unknown", {}, 6),
        ("kubernetes", "True", {}, 7),
        ("kubernetes", "True", {"image": "team/app:1"}, 6),
        ("kubernetes", "True", {"image": DIGEST}, 7),
        ("kubernetes", "True", {"image": DIGEST, "runtimeClass": "kata-qemu"}, 8),
        ("kubernetes", "True", {"runtimeClass": "fast"}, 7),
        ("kubernetes", "True", {"network": {"egress": "PublicInternet"}}, 6),
        ("somebody-elses", "True", {"runtimeClass": "gvisor"}, 1),
    ],
)
def test_every_wall_that_is_known_to_stand_is_one_more(runtime, isolated, spec, figure):
    assert rating(walls(runtime, plugin(**spec), isolated)) == figure


@given(
    st.sampled_from(RUNTIMES), st.sampled_from(["", "team/app:1", DIGEST]), st.sampled_from(["", "gvisor"])
)
def test_it_is_from_1_to_8_and_proof_never_makes_it_less(runtime, image, kernel):
    manifest = plugin(image, **({"runtimeClass": kernel} if kernel else {}))
    figures = [rating(walls(runtime, manifest, isolated)) for isolated in ISOLATED]
    assert figures == sorted(figures, reverse=True)
    assert all(1 <= figure <= 8 for figure in figures)


def test_every_wall_is_explained():
    page = (Path(__file__).parents[2] / "docs/isolation.md").read_text()
    assert [wall for wall in Wall if f"| {wall} |" not in page] == []
