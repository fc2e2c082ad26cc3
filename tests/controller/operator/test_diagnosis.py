"""What the doctor makes of a cluster, and what it thinks a controller needs to be allowed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml

from controller.operator.diagnosis import ClusterFacts, Lead, Replica, Seen, Stuck, diagnosis
from controller.operator.rights import wanted
from manifests.render import INSTALL
from tests.kubernetes.rendering import NAMESPACE, ROOT
from xcore.runtimes.kubernetes.probe import Verdict

IMAGE = "xcore/sandbox:1"
WELL = ClusterFacts(
    server="10.96.0.1:443",
    version="v1.34.4",
    definitions=frozenset({"plugins", "plugins/status", "pluginclasses"}),
    account="system:serviceaccount:xcore-system:xcore",
    lead=Lead("xcore-a", 1.0),
    replicas=(Replica("xcore-a", ready=True), Replica("xcore-b", ready=True)),
    image=IMAGE,
    seen=Seen(running=(IMAGE,), verdicts=(("hello", Verdict("p", 10.0, closed=True)),)),
    service="xcore.xcore-system.svc",
    resolved="10.96.3.4",
)
NO_IMAGE = Stuck("hello", "ImagePull", "not found", IMAGE)
OPEN = Verdict("p", 20.0, closed=False, detail="a sandbox reaches 10.96.0.1:443")


def found(facts: ClusterFacts) -> dict[str, str]:
    return {finding.check: finding.level for finding in diagnosis(facts) if finding.level != "ok"}


def test_where_all_is_well_every_check_says_so():
    told = [finding.check for finding in diagnosis(WELL)]
    assert found(WELL) == {}
    assert told == [
        *("api-server", "definitions", "rights", "leader", "controllers", "sandbox-image"),
        *("network-policy", "dns"),
    ]


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"error": "no answer"}, {"api-server": "fail"}),
        ({"definitions": frozenset({"plugins"})}, {"definitions": "fail"}),
        ({"denied": ["list pods in a"]}, {"rights": "fail"}),
        ({"lead": None}, {"leader": "fail"}),
        ({"lead": Lead("xcore-a", 16.0)}, {"leader": "fail"}),
        ({"replicas": [Replica("a", ready=True), Replica("b", ready=False)]}, {"controllers": "warn"}),
        ({"replicas": [Replica("a", ready=False)]}, {"controllers": "fail"}),
        ({"replicas": []}, {}),
        ({"seen": WELL.seen._replace(stuck=[NO_IMAGE])}, {"sandbox-image": "fail"}),
        ({"seen": WELL.seen._replace(stuck=[NO_IMAGE._replace(image="other:1")])}, {"pods": "warn"}),
        ({"seen": WELL.seen._replace(running=())}, {"sandbox-image": "warn"}),
        ({"seen": WELL.seen._replace(verdicts=())}, {"network-policy": "warn"}),
        (
            {"seen": WELL.seen._replace(verdicts=[*WELL.seen.verdicts, ("b", OPEN)])},
            {"network-policy": "fail"},
        ),
        ({"seen": WELL.seen._replace(verdicts=[("b", replace(OPEN, at=5.0)), *WELL.seen.verdicts])}, {}),
        (
            {"seen": WELL.seen._replace(verdicts=[("b", replace(OPEN, closed=None))])},
            {"network-policy": "warn"},
        ),
        ({"resolved": ""}, {"dns": "fail"}),
        ({"service": "", "resolved": ""}, {}),
    ],
)
def test_the_hop_that_fails_is_named_and_no_other(changes, wrong):
    assert found(replace(WELL, **changes)) == wrong


def test_whatever_is_wrong_is_told_with_what_to_do():
    bad = ClusterFacts(server="10.96.0.1:443", service="x.svc", seen=Seen(stuck=[NO_IMAGE] * 7))
    told = [*diagnosis(bad), *diagnosis(replace(bad, error="no answer"))]
    assert [finding for finding in told if finding.level != "ok" and not finding.advice] == []


def test_what_is_missing_is_shown_in_part():
    (finding,) = [
        f for f in diagnosis(replace(WELL, denied=[f"right {n}" for n in range(7)])) if f.check == "rights"
    ]
    assert finding.message.endswith("may not right 0, right 1, right 2, right 3, right 4 and 2 more")


def test_every_right_the_doctor_asks_for_is_granted_by_the_manifests():
    """What it calls missing in a whole installation would be a false alarm."""
    granted = set()
    for item in yaml.safe_load_all((ROOT / INSTALL).read_text("utf-8")):
        if item and item["kind"] in {"Role", "ClusterRole"}:
            granted |= {
                (verb, group, resource, item["metadata"].get("namespace", ""))
                for rule in item["rules"]
                for verb in rule["verbs"]
                for group in rule["apiGroups"]
                for resource in rule["resources"]
            }
    assert set(map(tuple, wanted(["xcore-plugins", NAMESPACE], NAMESPACE, calls=False))) <= granted
