"""When the writer writes again, and what it lets go of: what is not wanted any more, and no code that a kept revision names."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.xcore.kernel import make_workload
from xcore.errors import NetworkPolicyFailed
from xcore.runtimes.kubernetes.client import Refusal
from xcore.runtimes.kubernetes.code import BUNDLE, code_name
from xcore.runtimes.kubernetes.objects import Wish, collection, meta_of
from xcore.runtimes.kubernetes.writer import Writer

OLD, NEW = timedelta(hours=1), timedelta(0)


class Kept:
    """A cluster that has these objects of a plugin, and no pods."""

    def __init__(self, maps, recorded):
        self.deleted = []
        records = [{"data": {"digest": digest}} for digest in recorded] + [{"data": {}}]
        self.found = {"ConfigMap": maps, "ControllerRevision": records}

    async def list(self, path, query):
        return self.found.get(next((k for k in self.found if path == collection(k, "plugins")), ""), []), "1"

    async def apply(self, path, wanted):
        return {"metadata": {**wanted["metadata"], "generation": 3}}

    async def delete(self, path, *, uid):
        self.deleted.append(path.rpartition("/")[2])


class Pods:
    """A mirror that has seen no pod, and the policy in this generation."""

    def __init__(self, generation=3):
        self.generation = generation

    def found(self, namespace, plugin):
        return None, []

    def get(self, kind, namespace, name):
        return {"metadata": {"generation": self.generation}} if self.generation else None


WISH = Wish(make_workload(), 1)


def policy():
    return {"kind": "NetworkPolicy", "metadata": meta_of("hello", "plugins", "owner")}


def code(digest, age, *, bundle=True):
    meta = meta_of("hello", "plugins", "owner")
    labels = {**meta["labels"], **({BUNDLE: digest[:12]} if bundle else {})}
    at = (datetime.now(UTC) - age).isoformat(timespec="seconds").replace("+00:00", "Z")
    name = code_name("hello", digest)
    return {"metadata": {**meta, "name": name, "labels": labels, "uid": name, "creationTimestamp": at}}


async def test_code_stays_while_a_kept_revision_names_it_or_may_be_about_to():
    """Without a bundle's mark it goes with the next revision: then it was a folder's or a ConfigMap's of the author."""
    a, b, c, d = ("a" * 64, "b" * 64, "c" * 64, "d" * 64)
    cluster = Kept([code(a, OLD), code(b, OLD), code(c, NEW), code(d, NEW, bundle=False)], [a])
    await Writer(cluster, Pods()).write(WISH, [policy()])
    assert cluster.deleted == [code_name("hello", b), code_name("hello", d)]


@pytest.mark.parametrize(("seen", "stands"), [(3, True), (2, True), (4, False), (None, False)])
async def test_a_wish_stands_until_somebody_changes_what_was_made(seen, stands):
    """Of a later generation, or gone: it is made anew. A mirror that is behind is no reason."""
    mirror = Pods()
    writer = Writer(Kept([], []), mirror)
    assert not writer.stands(WISH)
    await writer.write(WISH, [policy()])
    mirror.generation = seen
    assert writer.stands(WISH) is stands
    assert not writer.stands(replace(WISH, replicas=2))
    assert not writer.stands(replace(WISH, instead="older"))


async def test_a_wish_that_was_refused_half_way_does_not_stand():
    class Refusing(Kept):
        refuses = False

        async def apply(self, path, wanted):
            if self.refuses:
                raise Refusal(403, "no rights")
            return await super().apply(path, wanted)

    cluster = Refusing([], [])
    writer = Writer(cluster, Pods())
    await writer.write(WISH, [policy()])
    cluster.refuses = True
    with pytest.raises(NetworkPolicyFailed):
        await writer.write(replace(WISH, replicas=2), [policy()])
    assert not writer.stands(WISH)
