"""Revisions of a resource: who made the present one, whoever it was, and what was before."""

import copy

from controller.operator import history
from tests.support import document
from xcore.ledger import KEPT_REVISIONS, Kept

UID = "0a1b2c3d-0000-0000-0000-000000000000"


def kept(number, **spec):
    manifest = document("hello", **{"source": {"bundle": f"sha256:{'ab' * 32}"}, **spec})
    return Kept(number, manifest, "ab" * 32, "admin", "2026-01-01T00:00:00Z", "update", "why", "mark")


def stored(revision, before=None):
    """The resource as the API server would keep it: defaults filled in, versions counted."""
    item = copy.deepcopy(history.resource(revision, "plugins", before))
    item["metadata"] |= {"uid": UID, "generation": revision.number, "resourceVersion": "7"}
    item["metadata"].setdefault("creationTimestamp", "2026-01-01T00:00:00Z")
    item["spec"] = {"operatingMode": "Running", "restart": {"policy": "Always"}, **item["spec"]}
    return item


def edited(item, manager="kubectl-edit", **spec):
    item = copy.deepcopy(item)
    item["spec"] |= spec
    item["metadata"]["generation"] += 1
    times = {"xcore": "2026-01-02T00:00:09Z", manager: "2026-01-02T00:00:00Z"}
    item["metadata"]["managedFields"] = [
        {"manager": who, "time": at, "fieldsV1": {"f:spec": {}}} for who, at in times.items()
    ]
    return item


def told(revision):
    return (revision.number, revision.by, revision.how, revision.note, revision.request)


def test_the_present_revision_is_known_by_the_resource_alone():
    """Even before it is recorded, and with defaults filled in by the cluster."""
    found = history.held(stored(kept(3)), [])
    assert [told(each) for each in found.revisions] == [(3, "admin", "update", "why", "mark")]
    assert found.recorded == frozenset()


def test_labels_of_an_author_are_kept_and_those_of_the_clusters_tools_are_not_his():
    labels = {"app.kubernetes.io/name": "shop", "helm.sh/chart": "shop-1"}
    sent = kept(1)
    sent.manifest["metadata"]["labels"] = labels
    item = stored(sent)
    assert item["metadata"]["labels"] == {"app.kubernetes.io/name": "shop"}
    assert told(history.held(item, []).newest)[1] == "admin"


def test_a_recorded_revision_is_what_was_ordered():
    first, second = kept(1), kept(2, description="new")
    item = stored(second)
    records = [history.record(each, item) for each in (second, first)]
    found = history.held(item, records)
    assert [told(each)[:3] for each in found.revisions] == [(1, "admin", "update"), (2, "admin", "update")]
    assert found.revisions[0] == first
    assert found.recorded == {1, 2}


def test_a_change_by_others_is_a_revision_of_theirs():
    """Numbered on; and no longer one when it is taken back before anybody recorded it."""
    item = stored(kept(1))
    records = [history.record(kept(1), item)]
    found = history.held(edited(item, description="theirs"), records)
    assert told(found.newest) == (2, "kubectl-edit", "update", "", "")
    assert found.newest.at == "2026-01-02T00:00:00Z"
    assert found.newest.manifest["spec"]["description"] == "theirs"
    assert (
        history.held(edited(edited(item, description="theirs"), description=""), records).newest.number == 1
    )


def test_going_back_to_what_was_before_theirs_is_another_revision():
    """What was recorded between is not forgotten."""
    item = stored(kept(1))
    theirs = history.held(edited(item, description="theirs"), [history.record(kept(1), item)]).newest
    records = [history.record(each, item) for each in (kept(1), theirs)]
    found = history.held(edited(item), records)
    assert [each.number for each in found.revisions] == [1, 2, 3]


def test_revisions_of_an_earlier_plugin_of_that_name_do_not_count():
    item = stored(kept(1))
    stranger = history.record(kept(5), {"metadata": {**item["metadata"], "uid": "another"}})
    assert [each.number for each in history.held(item, [stranger]).revisions] == [1]


def test_ten_revisions_are_given():
    item = stored(kept(30))
    records = [history.record(kept(number, description=f"{number}"), item) for number in range(15, 30)]
    numbers = [each.number for each in history.held(item, records).revisions]
    assert numbers == list(range(31 - KEPT_REVISIONS, 31))


def test_a_note_that_somebody_wrote_into_is_not_believed():
    for nonsense in ("", "[]", "{", '{"number": 4}', '{"of": 3}', "null"):
        item = stored(kept(1))
        item["metadata"]["annotations"][history.CHANGE] = nonsense
        assert told(history.held(item, []).newest)[1:3] == ("unknown", "create")


def test_what_others_note_on_a_resource_stays_and_is_nobodys_wish():
    item = stored(kept(1))
    item["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] = "{}"
    item["metadata"]["labels"] = {"app.kubernetes.io/managed-by": "Helm", "mine": "old"}
    item["metadata"]["finalizers"] = ["a/b"]
    version = history.version_of(item)
    again = history.resource(kept(2), "plugins", item)["metadata"]
    assert "kubectl.kubernetes.io/last-applied-configuration" in again["annotations"]
    assert again["labels"] == {"app.kubernetes.io/managed-by": "Helm"}
    assert (again["finalizers"], again["resourceVersion"]) == (["a/b"], "7")
    assert history.declared(item)["metadata"] == {"name": "hello", "labels": {"mine": "old"}}
    item["metadata"]["annotations"]["xcore.dev/restarted"] = "now"
    item["metadata"]["resourceVersion"] = "8"
    assert history.version_of(item) == version


def test_every_change_of_what_is_wanted_makes_another_version():
    item = stored(kept(1))
    labelled = copy.deepcopy(item)
    labelled["metadata"]["labels"] = {"mine": "new"}
    versions = {history.version_of(each) for each in (item, labelled, edited(item), stored(kept(2)))}
    assert len(versions) == 3  # a generation counts, whoever made it
