"""Plugins through the API: whole or not at all, on the terms they were ordered on, and nothing of a folder's."""

import asyncio
import contextlib
import io
import json
import os
import shutil
import sqlite3
from dataclasses import replace

import pytest

from integrations.database.address import address
from integrations.database.database import Database
from integrations.ledger import RowLedger, remembered_doors
from tests.support import HELLO, document, write_plugin
from tests.xcore.archives import tar_gz, zipped
from xcore.bundle import COLLECT_AFTER, Snapshots
from xcore.declare import door
from xcore.errors import (
    Conflict,
    InvalidBundle,
    InvalidManifest,
    NotAllowedTrusted,
    NotSupported,
    PluginNotFound,
    PreconditionFailed,
    RevisionNotFound,
    StorageFull,
)
from xcore.intake import Intake, Terms, merged
from xcore.ledger import KEPT_REVISIONS
from xcore.loader import Loader
from xcore.manager import Manager
from xcore.parcel import Parcel
from xcore.records import Records
from xcore.runtimes.supervised import Supervised
from xcore.sources import Sources
from xcore.store import FileStore
from xcore.testing import FakeClock, FakeEngine

ME = Terms(by="me")


class House:
    """A state directory, plugin folders and an engine; controllers come and go."""

    def __init__(self, path):
        self.state, self.plugins = path / "state", path / "plugins"
        self.state.mkdir(exist_ok=True)
        self.plugins.mkdir(exist_ok=True)
        self.clock = FakeClock()
        self.engine = FakeEngine(self.clock)
        self.trusted = frozenset()

    @contextlib.asynccontextmanager
    async def controller(self):
        store, snapshots = FileStore(self.state / "store"), Snapshots(self.state / "snapshots")
        store.tidy()
        records = Records(store, snapshots=snapshots.directory, sites=self.state / "sites")
        self.database = Database(address(None, self.state))
        self.ledger = RowLedger(self.database, snapshots, remembered_doors(records.folders()))
        runtime = Supervised(self.engine, clock=self.clock, dice=lambda: 0.5)
        self.manager = Manager(
            runtime, records=records, collectors=[self.ledger], trusted=self.trusted, clock=self.clock
        )
        self.sources = Sources([Loader(self.plugins, snapshots), self.ledger], clock=self.clock)
        self.intake = Intake(
            self.ledger,
            self.manager,
            hand_over=self.sources.refresh,
            staging=self.state / "uploads",
            clock=self.clock,
        )
        async with self.database, self.ledger.follow(self.sources.changed.set):
            await self.manager.start()
            following = asyncio.create_task(self.sources.follow(self.manager.sync))
            try:
                yield self
            finally:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
                await self.sources.aclose()
                closing = asyncio.create_task(self.manager.aclose(stop_instances=False))
                await self.clock.until(closing.done)
                await closing

    def files(self):
        """All but the database's own."""
        found = (str(p.relative_to(self.state)) for p in self.state.rglob("*") if p.is_file())
        return sorted(name for name in found if not name.startswith("xcore.db"))

    async def wanted(self, name="hello"):
        return await self.ledger.read(name)

    def rewrite(self, name, change):
        """Change the manifests in the rows of a plugin, as another version or somebody else would have written them."""
        with contextlib.closing(sqlite3.connect(self.state / "xcore.db")) as file, file:
            for number, text in file.execute("SELECT number, manifest FROM revisions").fetchall():
                document = json.loads(text)
                change(document)
                file.execute(
                    "UPDATE revisions SET manifest = ? WHERE number = ?", (json.dumps(document), number)
                )


@pytest.fixture
def house(tmp_path):
    return House(tmp_path)


def parcel(name="hello", code=HELLO, *, archive=True, files=None, **spec):
    content = {"main.py": code.encode(), **(files or {})}
    return Parcel(
        json.dumps(document(name, **spec)).encode(),
        is_json=True,
        archive=io.BytesIO(tar_gz(content)) if archive else None,
    )


def bare(archive):
    return Parcel(archive=io.BytesIO(archive))


async def sha(house, name="hello"):
    return (await house.wanted(name)).newest.digest


# -- making and changing -------------------------------------------------------------------------------------------


async def test_a_plugin_that_was_sent_is_wanted_and_kept_over_a_restart(house):
    async with house.controller():
        outcome = await house.intake.create(parcel(), ME)
        assert (outcome.name, outcome.created, outcome.changed) == ("hello", True, True)
        shown = house.manager.get("hello")
        assert shown["spec"]["source"] == {"bundle": f"sha256:{(await sha(house))}"}
        await house.clock.until(lambda: house.engine.alive("hello"))
        version = house.intake.version("hello")
    async with house.controller():
        await house.sources.refresh()
        assert house.intake.version("hello") == version
        assert len(house.engine.alive("hello")) == 1
        [kept] = await house.intake.revisions("hello")
        assert (kept.number, kept.by, kept.how) == (1, "me", "create")
        assert kept.at.endswith("Z")


async def test_the_manifest_may_lie_in_the_archive(house):
    content = {"main.py": HELLO.encode(), "plugin.yaml": json.dumps(document()).encode()}
    async with house.controller():
        for number, archive in enumerate([tar_gz(content), zipped(content)]):
            outcome = await house.intake.replace("hello", bare(archive), ME)
            assert outcome.changed == (number == 0), "the same content is the same revision"


async def test_a_manifest_and_an_archive_that_say_the_same_belong_together(house):
    own = json.dumps(document(description="one")).encode()
    async with house.controller():
        await house.intake.create(parcel(files={"plugin.yaml": own}, description="one"), ME)
        with pytest.raises(InvalidBundle) as refused:
            await house.intake.replace("hello", parcel(files={"plugin.yaml": own}, description="two"), ME)
        assert [problem.field for problem in refused.value.problems] == ["spec.description"]
        assert len(await house.intake.revisions("hello")) == 1


async def test_code_in_a_folder_of_the_archive_is_found(house):
    sent = Parcel(
        json.dumps(document(source={"folder": "src"})).encode(),
        is_json=True,
        archive=io.BytesIO(tar_gz({"src/main.py": HELLO.encode()})),
    )
    async with house.controller():
        await house.intake.create(sent, ME)
        assert (house.ledger.snapshots.path(await sha(house)) / "main.py").is_file()
        with pytest.raises(InvalidBundle, match="does not hold the code"):
            await house.intake.create(parcel("other", source={"folder": "src"}), ME)


async def test_what_get_gave_can_be_sent_again(house):
    async with house.controller():
        await house.intake.create(parcel(), ME)
        shown = house.manager.get("hello")
        shown = {**shown, "metadata": {**shown["metadata"], "resourceVersion": "x"}}
        again = Parcel(json.dumps(shown).encode(), is_json=True)
        assert not (await house.intake.replace("hello", again, ME)).changed
        text = Parcel(json.dumps({**shown, "spec": {**shown["spec"], "version": "3"}}).encode())
        assert (await house.intake.replace("hello", text, ME)).changed, "and as YAML"


async def test_a_patch_changes_what_it_names_and_no_more(house):
    async with house.controller():
        await house.intake.create(parcel(description="greets"), ME)
        await house.intake.patch("hello", {"spec": {"description": None, "version": "2.0.0"}}, ME)
        spec = house.manager.get("hello")["spec"]
        assert "description" not in spec
        assert (spec["version"], spec["entrypoint"]) == ("2.0.0", "main:Hello")
        with pytest.raises(InvalidManifest):
            await house.intake.patch("hello", {"spec": {"version": 2}}, ME)
        with pytest.raises(InvalidManifest):
            await house.intake.patch("hello", "text", ME)
        with pytest.raises(InvalidManifest, match="another plugin"):
            await house.intake.patch("hello", {"metadata": {"name": "other"}}, ME)
        assert [kept.how for kept in await house.intake.revisions("hello")] == ["create", "patch"]


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a"], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ],
)
def test_a_merge_patch_is_that_of_rfc_7396(target, patch, result):
    assert merged(target, patch) == result


async def test_any_kept_revision_can_be_gone_back_to_and_ten_are_kept(house):
    async with house.controller():
        await house.intake.create(parcel(), ME)
        first = await sha(house)
        for number in range(2, KEPT_REVISIONS + 2):
            await house.intake.replace("hello", parcel(code=f"{HELLO}\n# {number}"), ME)
        assert [k.number for k in await house.intake.revisions("hello")] == list(range(2, KEPT_REVISIONS + 2))
        with pytest.raises(RevisionNotFound, match="has no revision 1; there are 2, 3"):
            await house.intake.rollback("hello", 1, ME)
        wanted = (await house.intake.revisions("hello"))[0].digest
        await house.intake.rollback("hello", 2, ME)
        newest = (await house.intake.revisions("hello"))[-1]
        assert (newest.digest, newest.how, newest.note) == (wanted, "rollback", "to revision 2")
        then = COLLECT_AFTER + 1
        for path in house.ledger.snapshots.directory.iterdir():
            os.utime(path, (path.stat().st_mtime - then,) * 2)
        await house.clock.until(lambda: len(house.engine.alive("hello")) == 1)
        collected = house.ledger.collect(frozenset())
        assert first in collected, "code that no kept revision names goes"
        assert wanted not in collected


async def test_a_plugin_that_is_deleted_leaves_nothing(house):
    async with house.controller():
        await house.intake.create(parcel(), ME)
        await house.clock.until(lambda: house.engine.alive("hello"))
        await house.intake.delete("hello", ME)
        waiting = asyncio.create_task(house.manager.wait_gone("hello", 60))
        await house.clock.until(waiting.done)
        assert await waiting
        assert house.engine.alive("hello") == []
        with pytest.raises(PluginNotFound):
            await house.intake.delete("hello", ME)
        assert [name for name in house.files() if "hello" in name] == []


# -- refused -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "error", "says"),
    [
        (Parcel(), InvalidManifest, "neither a manifest nor an archive"),
        (parcel(archive=False), InvalidManifest, "spec.source.folder: must come with its code"),
        (parcel(archive=False, source={"bundle": "sha256:" + "0" * 64}), InvalidManifest, "code is not here"),
        (
            parcel(source={"bundle": "sha256:" + "0" * 64}),
            InvalidBundle,
            "other code than the manifest names",
        ),
        (
            parcel(source={"image": "a/b"}, entrypoint=None),
            InvalidManifest,
            "must be absent where an archive",
        ),
        (parcel(isolation="Trusted"), NotAllowedTrusted, "never trusted"),
        (parcel(network={"egress": "PublicInternet"}), NotSupported, "cannot honour"),
        (parcel(version=1), InvalidManifest, "spec.version"),
        (bare(tar_gz()), InvalidManifest, "there is no manifest"),
        (bare(tar_gz({"plugin.yaml": b"a: !!python/object:os.system x"})), InvalidManifest, "tags"),
        (bare(b"nonsense"), InvalidBundle, "neither a tar.gz nor a zip"),
        (Parcel(b"[]", is_json=True), InvalidManifest, "mapping"),
        (Parcel(b"{} {}", is_json=True), InvalidManifest, "not JSON"),
        (Parcel(b"a: &a 1"), InvalidManifest, "anchors"),
    ],
)
async def test_what_may_not_run_is_refused_and_leaves_nothing(house, sent, error, says):
    house.trusted = frozenset({"hello"})
    if sent.archive is not None:
        sent.archive.seek(0)
    async with house.controller():
        await house.sources.refresh()
        before = house.files()
        with pytest.raises(error) as refused:
            await house.intake.create(sent, ME)
        assert says in f"{refused.value}"
        assert house.manager.names() == []
        assert [name for name in house.files() if not name.startswith("snapshots/")] == before
        assert list((house.state / "uploads").glob("*")) == []


async def test_a_folders_plugin_is_changed_in_its_folder_alone(house):
    write_plugin(house.plugins / "greeter", name="hello")
    write_plugin(house.plugins / "broken", name="Not a name")
    async with house.controller():
        for order in (
            house.intake.create(parcel(), ME),
            house.intake.replace("hello", parcel(), ME),
            house.intake.patch("hello", {}, ME),
            house.intake.rollback("hello", 1, ME),
            house.intake.delete("hello", ME),
        ):
            with pytest.raises(Conflict, match="lives in the folder greeter"):
                await order
        with pytest.raises(Conflict, match="lives in the folder broken"):
            await house.intake.replace("broken", parcel("broken"), ME)
        assert house.intake.version("hello") == "1"


async def test_a_folder_that_reaches_for_the_name_of_a_sent_plugin_is_refused(house):
    async with house.controller():
        await house.intake.create(parcel(), ME)
        write_plugin(house.plugins / "hello", description="the folder's")
        await house.sources.refresh()
        assert house.manager.folder_of("hello") == door("hello")
        assert accepted(house) == (
            "True",
            "Accepted",
            "the folder hello would have the name hello as well, and is not run",
        )
    async with house.controller():
        await house.sources.refresh()
        assert house.manager.folder_of("hello") == door("hello"), "over a restart, too"
        assert "the folder hello" in accepted(house)[2]
        shutil.rmtree(house.plugins / "hello")
        await house.sources.refresh()
        assert accepted(house) == ("True", "Accepted", "")


def accepted(house):
    """What the status says of what was wanted last."""
    condition = house.manager.get("hello")["status"]["conditions"][0]
    return condition["status"], condition["reason"], condition["message"]


async def test_a_folder_cannot_name_code_that_was_sent(house):
    write_plugin(house.plugins / "hello", source={"bundle": "sha256:" + "0" * 64})
    async with house.controller():
        await house.sources.refresh()
        accepted = house.manager.get("hello")["status"]["conditions"][0]
        assert accepted["reason"] == "InvalidSpec"
        assert "spec.source.bundle: must be absent in a folder" in accepted["message"]


async def test_an_order_is_carried_out_on_its_terms_only(house):
    at = lambda *tags: replace(ME, match=frozenset(tags))  # noqa: E731  reads better in a table
    async with house.controller():
        with pytest.raises(PreconditionFailed, match="does not exist"):
            await house.intake.replace("hello", parcel(), at("*"))
        await house.intake.replace("hello", parcel(), replace(ME, absent=True))
        version = house.intake.version("hello")
        with pytest.raises(PreconditionFailed, match="exists already"):
            await house.intake.replace("hello", parcel(), replace(ME, absent=True))
        await house.intake.patch("hello", {"spec": {"version": "2.0.0"}}, at("other", version))
        for order in (
            house.intake.replace("hello", parcel(), at(version)),
            house.intake.patch("hello", {}, at(version)),
            house.intake.rollback("hello", 1, at(version)),
            house.intake.delete("hello", at(version)),
        ):
            with pytest.raises(PreconditionFailed, match="has changed since"):
                await order
        await house.intake.delete("hello", at(house.intake.version("hello")))


async def test_a_name_that_was_deleted_and_made_again_is_another_version(house):
    async with house.controller():
        await house.intake.create(parcel(), ME)
        before = house.intake.version("hello")
        await house.intake.delete("hello", ME)
        await house.intake.create(parcel(), ME)
        assert house.intake.version("hello") != before


async def test_an_order_with_the_same_mark_is_carried_out_once(house):
    marked = replace(ME, mark="m1")
    async with house.controller():
        assert (await house.intake.create(parcel(), marked)).changed
        again = await house.intake.create(parcel(), marked)
        assert (again.created, again.changed) == (True, False)
        with pytest.raises(Conflict, match="exists already"):
            await house.intake.create(parcel(), replace(ME, mark="m2"))
        await house.intake.replace("hello", parcel(version="2.0.0"), ME)
        back = replace(ME, mark="m3")
        assert (await house.intake.rollback("hello", 1, back)).changed
        assert not (await house.intake.rollback("hello", 1, back)).changed
        assert len(await house.intake.revisions("hello")) == 3


async def test_no_room_changes_nothing(house, monkeypatch):
    async with house.controller():
        await house.intake.create(parcel(), ME)

        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(StorageFull):
            await house.intake.replace("hello", parcel(code="x = 2"), ME)
        monkeypatch.undo()
        assert len(await house.intake.revisions("hello")) == 1


async def test_code_that_is_gone_from_the_state_directory_is_told(house):
    async with house.controller():
        await house.intake.create(parcel(), ME)
        code = house.ledger.snapshots.path(await sha(house))
    code.rename(house.state / "aside")
    async with house.controller():
        await house.sources.refresh()
        accepted = house.manager.get("hello")["status"]["conditions"][0]
        assert (accepted["reason"], accepted["message"]) == (
            "InvalidBundle",
            "its code is gone from the state directory; send it again",
        )
        await house.intake.replace("hello", parcel(version="2.0.0"), ME)
        assert house.manager.get("hello")["status"]["conditions"][0]["reason"] == "Accepted"


async def test_a_manifest_another_version_wrote_is_told_and_kept(house):
    async with house.controller():
        await house.intake.create(parcel(), ME)
    house.rewrite("hello", lambda manifest: manifest["spec"].update(tomorrow=1))
    async with house.controller():
        await house.sources.refresh()
        assert "InvalidSpec" in json.dumps(house.manager.get("hello")["status"])
        assert (await house.wanted()).newest.manifest["spec"]["tomorrow"] == 1


async def test_a_trusted_plugin_is_refused_even_where_somebody_wrote_it_into_the_database(house):
    house.trusted = frozenset({"hello"})
    async with house.controller():
        await house.intake.create(parcel(), ME)
    house.rewrite("hello", lambda manifest: manifest["spec"].update(isolation="Trusted"))
    async with house.controller():
        await house.sources.refresh()
        assert "NotAllowedTrusted" in json.dumps(house.manager.get("hello")["status"])
