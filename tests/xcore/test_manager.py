"""The manager: what is declared in folders becomes what runs, and everything else is refused with a reason."""

import asyncio
import contextlib
import itertools
import os
from dataclasses import replace

import pytest

from tests.support import manifest, write_plugin
from xcore.bundle import COLLECT_AFTER, Snapshots
from xcore.errors import (
    Conflict,
    ImagePull,
    InvalidSpec,
    NotAllowedTrusted,
    PluginNotFound,
    Problem,
    RuntimeUnavailable,
    StorageFull,
    WorkloadRejected,
)
from xcore.loader import Declared, Loader
from xcore.manager import Manager
from xcore.records import Records
from xcore.runtimes.supervised import Supervised
from xcore.store import MemoryStore
from xcore.testing import FakeClock, FakeEngine
from xcore.workload import Origin
from xcore.xhooks import (
    LONGEST_QUEUE,
    ManagerStopping,
    PluginDeclared,
    PluginRefused,
    PluginRemoved,
    StatusChanged,
)


class Site:
    """One machine: plugin folders, a state directory, an engine; controllers come and go."""

    def __init__(self, path):
        self.clock = FakeClock()
        self.engine = FakeEngine(self.clock)
        self.store = MemoryStore()
        self.snapshots = Snapshots(path / "snapshots")
        self.plugins = path / "plugins"
        self.plugins.mkdir()
        self.loader = Loader(self.plugins, self.snapshots)
        self.trusted = frozenset()
        self.manager = None
        self.events = None

    @contextlib.asynccontextmanager
    async def controller(self, *, stop=False):
        runtime = Supervised(self.engine, clock=self.clock, dice=lambda: 0.5)
        records = Records(
            self.store, snapshots=self.snapshots.directory, sites=self.snapshots.directory.parent / "sites"
        )
        self.manager = Manager(
            runtime, records=records, collectors=[self.snapshots], trusted=self.trusted, clock=self.clock
        )
        with self.manager.bus.subscribe(name="test", size=LONGEST_QUEUE) as self.events:
            await self.manager.start()
            try:
                yield self
            finally:
                closing = asyncio.create_task(self.manager.aclose(stop_instances=stop))
                await self.clock.until(closing.done)
                await closing

    def write(self, folder="hello", /, code="x = 1", **spec):
        return write_plugin(self.plugins / folder, code, **spec)

    async def sync(self):
        await self.manager.sync(self.loader.scan())
        await self.clock.advance(0)

    async def ready(self, name="hello", *, seconds=120):
        await self.clock.until(lambda: self.condition("Ready", name) == "Ready", seconds=seconds)
        return self.alive(name)[0]

    def alive(self, name="hello"):
        return self.engine.alive(name)

    def status(self, name="hello"):
        return self.manager.get(name)["status"]

    def condition(self, kind, name="hello"):
        return next(c["reason"] for c in self.status(name)["conditions"] if c["type"] == kind)

    def behaves(self, name="hello"):
        """The behaviour of what the folder holds now."""
        revision = next(d.revision for d in self.loader.scan() if d.folder == name)
        return self.engine.behaves(revision)

    def heard(self, kind):
        return [event for event in self.events._queue if isinstance(event, kind)]


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


async def test_the_image_of_what_was_never_accepted_is_not_made_up(site):
    """An image plugin that could not be pinned does not show the image of all the others."""
    site.write("web", entrypoint=None, source={"image": "team/web:1", "port": 80})
    site.write()
    async with site.controller():
        declared = [
            replace(d, error=ImagePull("no such image")) if d.folder == "web" else d
            for d in site.loader.scan()
        ]
        await site.manager.sync(declared)
        assert (site.status("web")["image"], site.status()["image"]) == ("", "fake")


async def test_a_folder_becomes_a_plugin_that_serves(site):
    site.write(description="greets")
    async with site.controller():
        assert not site.manager.synced
        await site.sync()
        assert site.manager.synced
        instance = await site.ready()
        resource = site.manager.get("hello")
        assert resource["kind"] == "Plugin"
        assert resource["metadata"] == {"name": "hello", "generation": 1}
        assert resource["spec"]["description"] == "greets"
        assert resource["status"]["actions"] == ["greet"]
        route = site.manager.routes.get("hello")
        assert route.target.instance == instance.id
        assert site.manager.names() == ["hello"]


async def test_before_it_is_ready_requests_wait_and_once_it_is_given_up_they_do_not(site):
    site.write(restart={"maxRestarts": 0})
    site.behaves().exits_after = 0.5
    site.behaves().ready_after = 1.0
    async with site.controller():
        await site.sync()
        route = site.manager.routes.get("hello")
        assert (route.target, route.hold) == (None, True)
        await site.clock.advance(20)
        route = site.manager.routes.get("hello")
        assert (route.hold, route.retry_after) == (False, 30.0)
        assert site.condition("Ready") == "RestartBudgetExhausted"


async def test_while_what_it_needs_is_prepared_callers_are_told_to_come_back(site):
    site.write()
    async with site.controller():
        waiting = [replace(d, pending="2 of 7 wheels") for d in site.loader.scan()]
        await site.manager.sync(waiting)
        progress = next(c for c in site.status()["conditions"] if c["type"] == "Progressing")
        assert (progress["reason"], progress["message"]) == ("Preparing", "2 of 7 wheels")
        route = site.manager.routes.get("hello")
        assert (route.target, route.hold, route.reason) == (None, False, "Preparing")
        await site.sync()
        await site.ready()
        assert site.condition("Progressing") == "NewRevisionAvailable"


async def test_what_serves_goes_on_while_its_next_revision_is_prepared(site):
    site.write()
    async with site.controller():
        await site.sync()
        old = await site.ready()
        site.write(code="x = 2")
        await site.manager.sync([replace(d, pending="packing") for d in site.loader.scan()])
        await site.clock.advance(60)
        assert site.alive() == [old]
        assert site.condition("Progressing") == "Preparing"
        assert not await _during(site, site.manager.wait_ready("hello", 5))
        await site.sync()
        await site.clock.until(lambda: [i.id for i in site.alive()] not in ([], [old.id]))


async def test_syncing_the_same_again_changes_nothing(site):
    site.write()
    async with site.controller():
        await site.sync()
        before = await site.ready()
        count = len(site.events._queue)
        for _ in range(3):
            await site.sync()
            await site.clock.advance(1)
        assert site.alive() == [before]
        assert len(site.events._queue) == count
        assert site.status()["observedGeneration"] == 1


async def test_an_edit_replaces_the_instance_and_a_description_does_not(site):
    site.write()
    async with site.controller():
        await site.sync()
        before = await site.ready()
        site.write(description="better", traffic={"maxConcurrentRequests": 1})
        await site.sync()
        await site.clock.advance(20)
        assert site.alive() == [before]
        assert site.status()["observedGeneration"] == 2
        assert site.manager.routes.get("hello").manifest.spec.traffic.max_concurrent_requests == 1
        site.write(code="x = 2")
        await site.sync()
        await site.clock.advance(20)
        [after] = site.alive()
        assert after.id != before.id
        assert site.manager.routes.get("hello").target.instance == after.id


async def test_what_is_no_longer_declared_goes_and_is_forgotten(site):
    folder = site.write()
    site.write("other")
    async with site.controller():
        await site.sync()
        await site.ready()
        await site.ready("other")
        (folder / "plugin.yaml").unlink()
        await site.sync()
        with pytest.raises(PluginNotFound):
            site.manager.get("hello")
        assert site.manager.routes.get("hello") is None
        await site.clock.advance(5)
        assert site.engine.found("hello") == []
        assert [e.plugin for e in site.heard(PluginRemoved)] == ["hello"]
        assert site.store.read("plugins", "hello") is None
        assert len(site.alive("other")) == 1


async def test_a_removal_that_the_engine_holds_up_does_not_hold_up_the_others(site):
    folder = site.write()
    async with site.controller():
        await site.sync()
        await site.ready()
        site.engine.away = True
        (folder / "plugin.yaml").unlink()
        site.write("other")
        await asyncio.wait_for(site.sync(), 5)
        assert site.manager.names() == ["other"]
        await site.clock.advance(10)
        assert site.heard(PluginRemoved) == []
        site.engine.away = False
        await site.ready("other")
        await site.clock.advance(10)
        assert site.engine.found("hello") == []
        assert len(site.heard(PluginRemoved)) == 1


async def test_a_plugin_declared_again_before_it_is_gone_runs_on_and_is_never_told_removed(site):
    folder = site.write()
    async with site.controller():
        await site.sync()
        await site.ready()
        site.engine.away = True
        (folder / "plugin.yaml").unlink()
        await site.sync()
        site.write()
        await site.sync()
        site.engine.away = False
        await site.ready()
        await site.clock.advance(60)
        assert len(site.alive()) == 1
        assert site.heard(PluginRemoved) == []
        assert site.store.read("plugins", "hello") is not None


# -- refusals -----------------------------------------------------------------------------------------------------


async def test_two_folders_with_one_name_are_a_conflict_the_first_wins_and_the_other_takes_over_when_it_goes(
    site,
):
    first = site.write("a", name="hello")
    site.write("b", name="hello", code="x = 2")
    async with site.controller():
        await site.sync()
        before = await site.ready()
        assert site.condition("Accepted", "b") == "RouteConflict"
        assert site.condition("Ready", "b") == "RouteConflict"
        assert site.manager.names() == ["b", "hello"]
        assert site.manager.get("b")["spec"] == {}
        assert [(e.plugin, e.reason) for e in site.heard(PluginRefused)] == [("b", "RouteConflict")]
        await site.sync()
        assert len(site.heard(PluginRefused)) == 1
        (first / "plugin.yaml").unlink()
        await site.sync()
        await site.clock.advance(20)
        [after] = site.alive()
        assert after.revision != before.revision
        assert site.manager.names() == ["hello"]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda s: (s.plugins / "hello" / "plugin.yaml").write_text("kind: ["), "InvalidSpec"),
        (lambda s: (s.plugins / "hello" / "link").symlink_to("/etc"), "InvalidBundle"),
        (lambda s: s.write(scaling={"warmReplicas": 1}), "NotSupported"),
        (lambda s: s.write(isolation="Trusted"), "NotAllowedTrusted"),
        (lambda s: s.write(name="other"), "RouteConflict"),
    ],
)
async def test_what_is_refused_keeps_what_runs(site, spoil, reason):
    site.write()
    site.write("other")
    async with site.controller():
        await site.sync()
        before = await site.ready()
        spoil(site)
        await site.sync()
        await site.clock.advance(60)
        assert site.condition("Accepted") == reason
        assert site.condition("Ready") == "Ready"
        assert site.manager.get("hello")["spec"]["entrypoint"] == "main:Hello"
        assert site.alive() == [before]
        await site.sync()
        assert [(e.plugin, e.reason) for e in site.heard(PluginRefused)] == [("hello", reason)]
        site.write()
        (site.plugins / "hello" / "link").unlink(missing_ok=True)
        await site.sync()
        assert site.condition("Accepted") == "Accepted"
        assert site.alive() == [before]


async def test_a_plugin_that_never_was_accepted_says_why_and_runs_nothing(site):
    site.write(isolation="Trusted")
    site.engine.unsupported = [Problem("spec.runtimeClass", "is not here")]
    site.write("other")
    async with site.controller():
        await site.sync()
        await site.clock.advance(60)
        assert site.condition("Ready") == NotAllowedTrusted.reason
        assert site.condition("Accepted", "other") == "NotSupported"
        assert site.engine.found() == []
        assert [line async for line in site.manager.logs("hello", lines=5, follow=False)] == []
        with pytest.raises(Conflict, match="no accepted revision"):
            site.manager.restart("hello")


async def test_a_trusted_plugin_runs_only_where_the_operator_named_it(site):
    site.write(isolation="Trusted")
    site.trusted = frozenset({"hello"})
    async with site.controller():
        await site.sync()
        await site.ready()
    site.trusted = frozenset()
    async with site.controller():
        await site.sync()
        await site.clock.advance(60)
        assert site.condition("Accepted") == "NotAllowedTrusted"
        assert site.alive() == [], "also not because an earlier controller was told otherwise"


async def test_a_folder_that_is_no_plugin_at_all_is_shown_with_its_error(site):
    (site.plugins / "odd").mkdir()
    (site.plugins / "odd" / "plugin.yaml").write_text("- 1")
    async with site.controller():
        await site.sync()
        assert site.condition("Accepted", "odd") == "InvalidSpec"
        site.write("odd")
        await site.sync()
        await site.ready("odd")


# -- commands -----------------------------------------------------------------------------------------------------


async def test_a_restart_is_a_new_generation_of_the_same_revision(site):
    site.write()
    async with site.controller():
        await site.sync()
        before = await site.ready()
        site.manager.restart("hello")
        assert not site.manager._runtime.observed("hello").settled
        waiting = asyncio.create_task(site.manager.wait_ready("hello", 60))
        await site.clock.until(waiting.done)
        assert waiting.result() is True
        await site.clock.advance(5)
        [after] = site.alive()
        assert (after.generation, after.revision) == (2, before.revision)
        assert site.status()["observedGeneration"] == 2


async def test_waiting_ends_when_it_is_ready_given_up_gone_or_too_late(site):
    folder = site.write()
    site.behaves().ready_after = 5.0
    async with site.controller():
        await site.sync()
        assert not await _during(site, site.manager.wait_ready("hello", 1))
        assert await _during(site, site.manager.wait_ready("hello", 60))
        site.write(code="x = 2")
        site.behaves().exits_after = 1.0
        site.behaves().ready_after = 5.0
        await site.sync()
        began = site.clock.time()
        assert not await _during(site, site.manager.wait_ready("hello", 600))
        assert site.clock.time() - began < 20
        assert site.condition("Progressing") == "RolledBack"
        site.write(code="x = 3")
        site.behaves().ready_after = 30.0
        await site.sync()
        waiting = asyncio.create_task(site.manager.wait_ready("hello", 600))
        await site.clock.advance(1)
        (folder / "plugin.yaml").unlink()
        await site.sync()
        await site.clock.until(waiting.done)
        assert isinstance(waiting.exception(), PluginNotFound)


async def _during(site, work):
    task = asyncio.create_task(work)
    await site.clock.until(task.done, seconds=1000)
    return await task


async def test_suspended_is_remembered_across_controllers_until_it_is_resumed(site):
    site.write()
    async with site.controller():
        await site.sync()
        await site.ready()
        site.manager.suspend("hello")
        site.manager.suspend("hello")
        assert site.manager.routes.get("hello").target is None
        assert not site.manager.routes.get("hello").hold
        await site.clock.advance(5)
        assert site.engine.found() == []
        assert site.condition("Ready") == site.condition("Active") == "Suspended"
        with pytest.raises(Conflict, match="resume it instead"):
            site.manager.restart("hello")
    async with site.controller():
        await site.sync()
        await site.clock.advance(60)
        assert site.engine.found() == []
        assert site.condition("Ready") == "Suspended"
        site.manager.resume("hello")
        await site.ready()
    async with site.controller():
        await site.sync()
        await site.ready()


async def test_what_its_manifest_suspends_is_resumed_there_alone(site):
    site.write(operatingMode="Suspended")
    async with site.controller():
        await site.sync()
        await site.clock.advance(10)
        assert site.engine.found() == []
        with pytest.raises(Conflict, match="operatingMode"):
            site.manager.resume("hello")
        site.write()
        await site.sync()
        await site.ready()
        site.write(operatingMode="Suspended")
        await site.sync()
        await site.clock.advance(10)
        assert site.engine.found() == []
    (site.plugins / "hello" / "plugin.yaml").write_text("kind: [")
    async with site.controller():
        await site.sync()
        await site.clock.advance(60)
        assert site.engine.found() == [], "also when the folder is broken meanwhile"


@pytest.mark.parametrize("command", ["restart", "suspend", "resume"])
async def test_a_command_to_an_unknown_plugin_says_so(site, command):
    async with site.controller():
        with pytest.raises(PluginNotFound):
            getattr(site.manager, command)("nobody")
        with pytest.raises(PluginNotFound):
            await site.manager.wait_ready("nobody", 1)


async def test_logs_are_those_of_the_instances(site):
    site.write()
    async with site.controller():
        await site.sync()
        site.engine.say((await site.ready()).id, "hello log")
        assert [line.text async for line in site.manager.logs("hello", lines=5, follow=False)] == [
            "hello log"
        ]


# -- the next controller ------------------------------------------------------------------------------------------


async def test_the_next_controller_adopts_what_runs_and_remembers_what_was_spent(site):
    site.write()
    async with site.controller():
        await site.sync()
        await site.ready()
        site.engine.crash(site.alive()[0].id)
        await site.clock.advance(5)
        before = await site.ready()
        restarts = site.status()["restarts"]
    async with site.controller():
        await site.sync()
        await site.clock.advance(60)
        assert site.alive() == [before]
        assert site.status()["restarts"] == restarts
        assert site.status()["observedGeneration"] == 1
        assert restarts["count"] == 1


@pytest.mark.parametrize("broken", ["the manifest", "the whole folder"])
async def test_a_folder_that_broke_meanwhile_does_not_end_what_an_earlier_controller_served(site, broken):
    folder = site.write()
    async with site.controller():
        await site.sync()
        before = await site.ready()
    (folder / "plugin.yaml").write_text("kind: [")
    if broken == "the whole folder":
        (folder / "link").symlink_to("/etc")
    async with site.controller():
        await site.sync()
        await site.clock.advance(60)
        assert site.alive() == [before]
        assert site.condition("Accepted") == "InvalidSpec"
        assert site.condition("Ready") == "Ready"
        site.engine.crash(before.id)
        await site.clock.advance(5)
        assert (await site.ready()).revision == before.revision


async def test_after_a_broken_edit_the_next_controller_keeps_the_old_revision_serving(site):
    site.write()
    async with site.controller():
        await site.sync()
        before = await site.ready()
        site.write(code="raise")
        site.behaves().exits_after = 0.0
        await site.sync()
        await site.clock.advance(30)
        assert site.condition("Progressing") == "RolledBack"
    async with site.controller():
        await site.sync()
        for _ in range(60):
            await site.clock.advance(1)
            assert before.id in [i.id for i in site.alive()]
        assert site.condition("Progressing") == "RolledBack"
        assert site.condition("Ready") == "Ready"
        assert site.status()["restarts"]["count"] == 0


async def test_what_nobody_declares_any_more_is_swept_after_the_first_sync(site):
    folder = site.write()
    site.write("other")
    async with site.controller():
        await site.sync()
        await site.ready()
        kept = await site.ready("other")
    (folder / "plugin.yaml").unlink()
    async with site.controller():
        await site.clock.advance(60)
        assert len(site.engine.alive()) == 2, "nothing is swept before the first whole sync"
        await site.sync()
        assert site.engine.found() == [kept]


async def test_a_sweep_that_the_engine_did_not_answer_is_made_up_for(site):
    folder = site.write()
    async with site.controller():
        await site.sync()
        await site.ready()
    (folder / "plugin.yaml").unlink()
    async with site.controller():
        site.engine.away = True
        await site.sync()
        assert site.manager.synced
        site.engine.away = False
        await site.sync()
        assert site.engine.found() == []


async def test_leaving_may_stop_what_runs(site):
    site.write()
    async with site.controller(stop=True):
        await site.sync()
        await site.ready()
    assert site.engine.found() == []
    assert site.engine.closed


async def test_leaving_while_the_engine_is_away_leaves_nothing_of_ours_behind(site):
    before = len(asyncio.all_tasks())
    site.write()
    async with site.controller(stop=True):
        await site.sync()
        await site.ready()
        site.engine.away = True
    assert len(site.engine.found()) == 1
    await site.clock.advance(0)
    assert len(asyncio.all_tasks()) == before


# -- what is kept -------------------------------------------------------------------------------------------------


async def test_snapshots_go_when_no_plugin_uses_them_and_never_under_a_running_instance(site):
    site.write()
    async with site.controller():
        await site.sync()
        await site.ready()
        old = {p.name for p in site.snapshots.directory.iterdir()}
        site.write(code="x = 2")
        site.behaves().ready_after = 5
        await site.sync()
        for path in site.snapshots.directory.iterdir():
            os.utime(path, (COLLECT_AFTER, COLLECT_AFTER))
        await site.sync()
        assert len(list(site.snapshots.directory.iterdir())) == 2
        await site.clock.advance(30)
        await site.sync()
        left = {p.name for p in site.snapshots.directory.iterdir()}
        assert len(left) == 1
        assert not left & old


async def test_a_full_disk_refuses_new_revisions_and_commands_and_keeps_everything_running(site, caplog):
    site.write()
    async with site.controller():
        await site.sync()
        before = await site.ready()
        write = site.store.write

        def full(*_):
            raise StorageFull("no room")

        site.store.write = full
        site.write(code="x = 2")
        await site.sync()
        assert site.condition("Accepted") == "StorageFull"
        with pytest.raises(StorageFull):
            site.manager.suspend("hello")
        assert site.condition("Active") == "Serving"
        site.engine.crash(before.id)
        await site.clock.advance(5)
        await site.ready()
        assert site.status()["restarts"]["count"] == 1
        assert "could not be stored" in caplog.text
        site.store.write = write
        await site.sync()
        await site.clock.advance(20)
        assert site.condition("Accepted") == "Accepted"
        assert site.store.read("plugins", "hello")["generation"] == 2


async def test_a_record_that_cannot_be_deleted_does_not_keep_a_plugin_from_going(site):
    folder = site.write()
    async with site.controller():
        await site.sync()
        await site.ready()

        def full(*_):
            raise StorageFull("no room")

        site.store.delete = full
        (folder / "plugin.yaml").unlink()
        await site.sync()
        await site.clock.advance(5)
        assert site.engine.found() == []


async def test_a_plugin_moved_to_another_folder_is_the_same_plugin(site):
    site.write("one", name="hello")
    async with site.controller():
        await site.sync()
        before = await site.ready()
        (site.plugins / "one").rename(site.plugins / "two")
        await site.sync()
        await site.clock.advance(20)
        assert site.alive() == [before]
        assert site.status()["observedGeneration"] == 1
    (site.plugins / "two" / "plugin.yaml").write_text("kind: [")
    async with site.controller():
        await site.sync()
        await site.clock.advance(20)
        assert site.alive() == [before]


# -- events -------------------------------------------------------------------------------------------------------


async def test_what_happens_is_told_in_its_order(site):
    site.write()
    async with site.controller():
        await site.sync()
        before = await site.ready()
        site.engine.crash(before.id, code=3)
        await site.clock.advance(5)
        await site.ready()
    kinds = [event.kind for event in site.events._queue]
    assert kinds[:2] == ["ManagerStarting", "PluginDeclared"]
    assert kinds[-1] == "ManagerStopping"
    assert kinds.count("InstanceExited") == 1
    [declared] = site.heard(PluginDeclared)
    assert (declared.plugin, declared.generation) == ("hello", 1)
    changes = site.heard(StatusChanged)
    assert changes[0].before is None
    for earlier, later in itertools.pairwise(changes):
        assert later.before == earlier.after
        assert later.after != later.before


async def test_a_change_and_a_removal_show_what_was_before(site):
    folder = site.write(description="one")
    async with site.controller():
        await site.sync()
        await site.ready()
        site.write(code="x = 2", description="two")
        await site.sync()
        await site.ready()
        status = site.manager.get("hello")["status"]
        (folder / "plugin.yaml").unlink()
        await site.sync()
        await site.clock.advance(20)
    described = [
        (event.before and event.before.spec.description, event.after.spec.description)
        for event in site.heard(PluginDeclared)
    ]
    assert described == [(None, "one"), ("one", "two")]
    [removed] = site.heard(PluginRemoved)
    assert removed.before == status


async def test_the_end_is_told_once_with_the_time_there_is(site):
    """When it is asked for, and not again when the manager closes."""
    async with site.controller():
        site.manager.stopping(10)
    assert [event.grace for event in site.heard(ManagerStopping)] == [10]


async def test_each_reason_of_the_contract_is_seen_on_its_way(site):
    site.write(restart={"maxRestarts": 3})
    behaviour = site.behaves()
    async with site.controller():
        site.engine.refuse = WorkloadRejected("no")
        await site.sync()
        await site.clock.advance(1)
        assert site.condition("Programmed") == site.condition("Ready") == "WorkloadRejected"
        site.engine.refuse = None
        behaviour.ready_after = 2
        await site.clock.until(site.alive)
        assert site.condition("Ready") == "Starting"
        assert site.condition("Progressing") == "RollingOut"
        await site.ready()
        behaviour.ready = False
        await site.clock.advance(11)
        assert site.condition("Ready") == "ProbeFailing"
        behaviour.ready = True
        await site.ready()
        for reason in ("Starting", "CrashLooping", "CrashLooping", "RestartBudgetExhausted"):
            site.engine.crash(site.alive()[0].id)
            await site.clock.advance(0.1)
            assert site.condition("Ready") == reason
            if site.condition("Ready") != "RestartBudgetExhausted":
                await site.ready()
        site.manager.restart("hello")
        await site.ready()
        site.engine.away = True
        await site.clock.advance(20)
        assert site.condition("Ready") == "Ready"
        assert site.condition("Programmed") == RuntimeUnavailable.reason


async def test_a_plugin_that_does_not_describe_itself_serves_all_the_same(site, monkeypatch):
    site.write()
    site.behaves().actions = None
    async with site.controller():
        await site.sync()
        await site.ready()
        assert site.status()["actions"] == []


async def test_whoever_saw_a_plugin_fail_has_it_looked_at(site):
    site.write()
    async with site.controller():
        await site.sync()
        before = await site.ready()
        box = site.engine.host.boxes[before.id]
        watchers, site.engine.host.watchers = site.engine.host.watchers, []
        site.engine.crash(before.id)  # and the event is lost
        assert box.instance.exit
        await site.clock.advance(0.1)
        site.manager.routes.on_suspect("hello")
        await site.clock.advance(1)
        assert (await site.ready()).id != before.id
        site.engine.host.watchers = watchers


async def test_dependencies_unpacked_for_another_python_reach_what_starts_next_and_roll_nothing(site):
    """A newer sandbox image comes with another Python: the lock is the same, and so is the revision."""
    site.write()

    def declared(name):
        return [replace(found, site=site.snapshots.directory / name) for found in site.loader.scan()]

    async with site.controller():
        await site.manager.sync(declared("old"))
        before = await site.ready()
        await site.manager.sync(declared("new"))
        await site.clock.advance(60)
        assert [instance.id for instance in site.alive()] == [before.id]
        assert site.manager.get("hello")["metadata"]["generation"] == 1
        site.manager.restart("hello")
        await site.clock.until(lambda: site.alive() and site.alive()[0].id != before.id)
        assert site.manager._runtime.observed("hello").wanted.site.name == "new"


async def test_a_replica_is_not_ready_before_it_has_read_up_on_what_others_serve(site):
    """What is declared in a cluster and still prepared keeps it from saying so; on one machine nothing does."""
    declared = Declared("space/hello", manifest("hello"), pending="reading", origin=Origin("space", "u"))
    async with site.controller():
        await site.manager.sync([declared])
        assert not site.manager.synced
        await site.manager.sync([replace(declared, origin=None)])
        assert site.manager.synced
    async with site.controller():
        await site.manager.sync([replace(declared, pending="", error=InvalidSpec("no"))])
        assert site.manager.synced


async def test_the_status_of_a_resource_is_of_the_generation_that_was_judged_accepted_or_not(site):
    """Whoever waits for a change to be judged sees that it was, also when it is refused, or has no name of its own."""
    first = replace(
        Declared(
            "space/hello",
            manifest("hello", source={"image": "a:1"}, entrypoint=None),
            image="a:1",
            revision="a",
        ),
        origin=Origin("space", "u"),
        generation=1,
    )
    other = replace(first, folder="younger/hello", generation=7, since="2")
    async with site.controller():
        await site.manager.sync([first, other])
        assert site.status()["observedGeneration"] == 1
        assert site.manager.status_of("younger/hello")["observedGeneration"] == 7
        await site.manager.sync([replace(first, error=InvalidSpec("no"), generation=2)])
        assert site.condition("Accepted") == "InvalidSpec"
        assert {c["observedGeneration"] for c in site.status()["conditions"]} == {2}
        await site.manager.sync([replace(first, pending="reading", generation=3)])
        assert site.status()["observedGeneration"] == 2
