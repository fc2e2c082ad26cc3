"""What the writer lets go of: what is not wanted any more, and no code that a kept revision names."""

from datetime import UTC, datetime, timedelta

from xcore.runtimes.kubernetes.code import BUNDLE, code_name
from xcore.runtimes.kubernetes.objects import collection, meta_of
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
        return wanted

    async def delete(self, path, *, uid):
        self.deleted.append(path.rpartition("/")[2])


class NoPods:
    def found(self, namespace, plugin):
        return None, []


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
    policy = {"kind": "NetworkPolicy", "metadata": meta_of("hello", "plugins", "owner")}
    await Writer(cluster, NoPods()).write("hello", [policy])
    assert cluster.deleted == [code_name("hello", b), code_name("hello", d)]
