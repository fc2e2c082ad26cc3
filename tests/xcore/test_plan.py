"""What to do next, for whatever is found: the plan never takes away what serves, and it always arrives."""

from dataclasses import replace

import pytest
from hypothesis import given, settings, strategies as st

from tests.xcore.kernel import make_workload
from xcore.plan import Remove, Start, Stop, Wait, Wanted, plan
from xcore.restart import Restarts
from xcore.workload import Exit, ExitReason, Instance, Phase

NOW = 1000.0
SPECS = {"Rolling": {}, "Recreate": {"update": {"strategy": "Recreate"}}}
WORKLOADS = {
    (code, generation, strategy): make_workload(code=code, generation=generation, **SPECS[strategy])
    for code in "abc"
    for generation in (1, 2, 3)
    for strategy in SPECS
}
workloads = st.sampled_from(list(WORKLOADS.values()))
wishes = st.builds(
    Wanted,
    target=workloads,
    fallback=st.none() | workloads,
    suspended=st.booleans(),
    since=st.integers(0, 3),
    broken=st.sampled_from(["", "it does not start"]),
)
histories = st.builds(
    Restarts,
    held=st.sampled_from(["", "Exited", "RestartBudgetExhausted"]),
    next_time=st.none() | st.floats(NOW - 100, NOW + 100),
)


@st.composite
def instances(draw):
    workload = draw(workloads)
    return Instance(
        id=str(draw(st.uuids())),
        plugin="hello",
        revision=workload.revision,
        generation=workload.generation,
        started_at=draw(st.floats(0, NOW)),
        endpoint=None,
        exit=draw(st.none() | st.just(Exit(ExitReason.Error, 1, NOW))),
        oom=draw(st.sampled_from([False, False, False, True])),
        phase=draw(st.sampled_from(list(Phase))),
    )


found_now = st.lists(instances(), max_size=6)


def instance(code="a", phase=Phase.Ready, *, generation=1, at=0.0, **more):
    revision = make_workload(code=code).revision
    return Instance(f"{code}{generation}-{at}", "hello", revision, generation, at, None, phase=phase, **more)


def ended(at=0.0):
    return instance(at=at, exit=Exit(ExitReason.Error, 1, NOW))


def failing(found):
    return found.oom or found.phase is Phase.Failed


def alive(found):
    return [i for i in found if i.exit is None and i.phase is not Phase.Ending]


def of(steps, kind):
    return [step for step in steps if isinstance(step, kind)]


@given(wishes, found_now, histories)
def test_the_only_ready_instance_that_is_wanted_is_never_stopped(wanted, found, history):
    stopped = {step.instance.id for step in of(plan(wanted, found, history, NOW), Stop)}
    good = [i for i in alive(found) if i.phase is Phase.Ready and not failing(i) and wanted.accepts(i)]
    assert wanted.suspended or not good or any(i.id not in stopped for i in good)


@given(wishes, found_now, histories)
def test_a_ready_instance_of_whatever_revision_is_kept_until_a_wanted_one_is_ready(wanted, found, history):
    stopped = {step.instance.id for step in of(plan(wanted, found, history, NOW), Stop)}
    ready = [i for i in alive(found) if i.phase is Phase.Ready and not failing(i)]
    recreate = wanted.desired.manifest.spec.update.strategy == "Recreate"
    if ready and not wanted.suspended and not recreate:
        assert any(i.id not in stopped for i in ready)


@given(wishes, found_now, histories)
def test_never_two_are_started_nor_one_beside_another_that_is_wanted(wanted, found, history):
    starts = of(plan(wanted, found, history, NOW), Start)
    assert len(starts) <= 1
    if any(wanted.accepts(i) for i in alive(found)):
        assert not starts


@given(wishes, found_now, histories)
def test_nothing_starts_while_held_before_its_time_suspended_or_beside_what_has_to_go_first(
    wanted, found, history
):
    steps = plan(wanted, found, history, NOW)
    early = history.next_time is not None and history.next_time > NOW
    recreate = wanted.desired.manifest.spec.update.strategy == "Recreate"
    blocked = recreate and any(i.exit is None for i in found)
    if history.held or early or wanted.suspended or blocked:
        assert not of(steps, Start)
    for step in of(steps, Wait):
        assert step.until == history.next_time
        assert step.until > NOW


@given(wishes, found_now, histories)
def test_what_starts_is_the_target_or_the_fallback_of_a_broken_target(wanted, found, history):
    for step in of(plan(wanted, found, history, NOW), Start):
        given_up = bool(wanted.broken) and wanted.fallback is not None
        assert step.workload is wanted.target or (given_up and step.workload is wanted.fallback)


@given(wishes, found_now, histories)
def test_every_step_names_what_was_found_once_and_logs_of_the_last_end_stay(wanted, found, history):
    steps = plan(wanted, found, history, NOW)
    named = [step.instance for step in steps if isinstance(step, Stop | Remove)]
    assert len({i.id for i in named}) == len(named)
    assert all(step.instance.exit is None for step in of(steps, Stop))
    assert all(step.instance.exit is not None for step in of(steps, Remove))
    ends = [i for i in found if i.exit is not None]
    kept = len(ends) - len(of(steps, Remove))
    assert kept == (0 if wanted.suspended else min(1, len(ends)))


@given(found_now, histories)
def test_where_nothing_is_wanted_everything_goes_and_nothing_starts(found, history):
    steps = plan(None, found, history, NOW)
    assert {step.instance.id for step in steps} == {
        i.id for i in found if i.exit is not None or i.phase is not Phase.Ending
    }
    assert not of(steps, Start)


class Model:
    """Carries steps out at once: what is stopped is gone, what starts is ready at the next look."""

    def __init__(self, found, history):
        self.found, self.history, self.now, self.count = list(found), history, NOW, 0

    def take(self, step):
        match step:
            case Start(workload):
                self.count += 1
                new = Instance(
                    f"new-{self.count}", "hello", workload.revision, workload.generation, self.now, None
                )
                self.found.append(new)
            case Stop(instance) | Remove(instance):
                self.found = [i for i in self.found if i.id != instance.id]
            case Wait(until):
                self.now = until

    def settle(self):
        """What was on its way out is gone, what was starting is ready."""
        self.now += 1
        self.found = [
            replace(i, phase=Phase.Ready) if i.phase in {Phase.Starting, Phase.Unready} and not i.exit else i
            for i in self.found
            if i.phase is not Phase.Ending or i.exit
        ]


@settings(max_examples=300)
@given(wishes, found_now, histories)
def test_whatever_is_found_the_steps_lead_to_one_ready_instance_or_a_stated_hold(wanted, found, history):
    if wanted.since > wanted.target.generation:
        wanted = replace(wanted, since=wanted.target.generation)
    model = Model(found, history)
    for _ in range(8):
        for step in plan(wanted, model.found, history, model.now):
            model.take(step)
        model.settle()
    left = alive(model.found)
    assert plan(wanted, model.found, history, model.now) == []
    if wanted.suspended:
        assert model.found == []
    elif any(wanted.accepts(i) for i in left):
        assert [i.phase for i in left] == [Phase.Ready]
        assert wanted.accepts(left[0])
    else:
        assert history.held


def test_an_old_revision_serves_until_the_new_one_is_ready():
    wanted = Wanted(make_workload(code="b", generation=2), fallback=make_workload(code="a"))
    old, new = instance("a"), instance("b", Phase.Starting, generation=2, at=1)
    assert plan(wanted, [old], Restarts(), NOW) == [Start(wanted.target)]
    assert plan(wanted, [old, new], Restarts(), NOW) == []
    assert plan(wanted, [old, replace(new, phase=Phase.Unready)], Restarts(), NOW) == []
    assert plan(wanted, [old, replace(new, phase=Phase.Ready)], Restarts(), NOW) == [Stop(old, 10)]


def test_an_instance_of_the_good_revision_that_was_not_asked_yet_is_kept_beside_a_new_one():
    wanted = Wanted(make_workload(code="b", generation=2), fallback=make_workload(code="a"))
    adopted, stray = instance("a", Phase.Starting), instance("c", Phase.Starting)
    assert plan(wanted, [adopted, stray], Restarts(), NOW) == [Stop(stray, 10), Start(wanted.target)]
    new = instance("b", Phase.Starting, generation=2, at=1)
    assert plan(wanted, [adopted, stray, new], Restarts(), NOW) == [Stop(stray, 10)]


def test_of_several_old_instances_only_the_one_that_serves_waits_for_the_new_one():
    wanted = Wanted(make_workload(generation=5), since=5)
    old = [instance(generation=n, at=n) for n in (1, 3, 2)]
    assert plan(wanted, old, Restarts(), NOW) == [Stop(old[0], 10), Stop(old[2], 10), Start(wanted.target)]
    unready = [replace(i, phase=Phase.Unready) for i in old]
    assert plan(wanted, unready, Restarts(), NOW)[:-1] == [Stop(unready[0], 10), Stop(unready[2], 10)]


def test_of_two_that_are_wanted_none_goes_before_one_is_known_to_be_ready():
    wanted = Wanted(make_workload())
    first, second = instance(phase=Phase.Starting, at=1), instance(phase=Phase.Starting, at=2, generation=2)
    assert plan(wanted, [first, second], Restarts(), NOW) == []
    first = replace(first, phase=Phase.Ready)
    assert plan(wanted, [first, second], Restarts(), NOW) == [Stop(second, 10)]


def test_recreate_waits_until_the_old_one_is_gone():
    wanted = Wanted(make_workload(code="b", generation=2, update={"strategy": "Recreate"}))
    old = instance("a")
    assert plan(wanted, [old], Restarts(), NOW) == [Stop(old, 10)]
    assert plan(wanted, [replace(old, phase=Phase.Ending)], Restarts(), NOW) == []
    assert plan(wanted, [], Restarts(), NOW) == [Start(wanted.target)]


@pytest.mark.parametrize(
    ("hung", "reason"),
    [
        (instance(phase=Phase.Failed), ExitReason.ProbeFailed),
        (instance(oom=True), ExitReason.OutOfMemory),
    ],
)
def test_what_hangs_or_lost_a_child_to_memory_goes_before_another_starts(hung, reason):
    assert plan(Wanted(make_workload()), [hung], Restarts(), NOW) == [Stop(hung, 1.0, reason)]


def test_a_broken_target_is_not_tried_again_and_the_older_revision_is_kept_alive():
    old, new = make_workload(code="a"), make_workload(code="b", generation=2)
    wanted = Wanted(new, fallback=old, since=2, broken="it does not start")
    assert plan(wanted, [instance("a")], Restarts(), NOW) == []
    assert plan(wanted, [], Restarts(), NOW) == [Start(old)]
    assert plan(replace(wanted, fallback=None, since=0), [], Restarts(), NOW) == [Start(new)]


def test_a_restart_replaces_instances_of_an_earlier_generation():
    wanted = Wanted(make_workload(generation=2), fallback=make_workload(), since=2)
    old, new = instance(generation=1), instance(generation=2, at=1)
    assert plan(wanted, [old], Restarts(), NOW) == [Start(wanted.target)]
    assert plan(wanted, [old, new], Restarts(), NOW) == [Stop(old, 10)]


def test_of_several_ends_only_the_newest_is_kept_for_its_logs():
    first, second = ended(at=1), ended(at=2)
    held = Restarts(held="Exited")
    assert plan(Wanted(make_workload()), [second, first], held, NOW) == [Remove(first)]
