"""Integrations of third parties begin in order, each on a thread of its own, end together, and what one does is done to no other."""

import asyncio
import threading
from contextlib import asynccontextmanager
from importlib.metadata import EntryPoint

import pytest
from fastapi import APIRouter, FastAPI

from integrations import installed
from integrations.background import Background
from integrations.installed import Chosen, joined
from xcore.errors import XcoreError
from xcore.xhooks import HookBus, ManagerStarting

said = []
let_go = threading.Event()  # whoever blocks does so until a test is over


@asynccontextmanager
async def first(host):
    said.append("first begins")
    yield
    said.append("first ends")


@asynccontextmanager
async def second(host):
    said.append(f"second begins, told {host.settings}")
    yield
    said.append("second ends")


@asynccontextmanager
async def never(host):
    try:
        await asyncio.Event().wait()
        yield
    finally:
        said.append("never is left")


@asynccontextmanager
async def stuck(host):
    let_go.wait()
    yield


@asynccontextmanager
async def staying(host):
    yield
    let_go.wait()


@asynccontextmanager
async def mounting(host):
    host.router.include_router(APIRouter(prefix="/inner"))
    yield
    said.append("mounting ends")


@asynccontextmanager
async def failing(host):
    async with asyncio.TaskGroup() as group:
        with host.subscribe(ManagerStarting) as events:
            group.create_task(fail(events))
            yield


async def fail(events):
    await events.batch(1)
    raise RuntimeError("out of order")


class Engine:
    def __init__(self):
        self.bus = HookBus()


@pytest.fixture
def engine():
    said.clear()
    let_go.clear()
    yield Engine()
    let_go.set()


def chosen(*names, **settings):
    return [Chosen(EntryPoint(name, f"{__name__}:{name}", installed.GROUP), settings) for name in names]


def all_of(names, engine, background):
    return joined(names, FastAPI(), engine, background=background)


async def test_they_begin_in_the_order_of_the_setting_and_end_together(engine):
    async with all_of([*chosen("first"), *chosen("second", url="x")], engine, Background()):
        said.append("the controller runs")
    assert said[:3] == ["first begins", "second begins, told {'url': 'x'}", "the controller runs"]
    assert sorted(said[3:]) == ["first ends", "second ends"]


async def test_one_that_does_not_begin_in_time_refuses_the_start_and_those_before_it_are_ended(
    engine, monkeypatch
):
    monkeypatch.setattr(installed, "START_SECONDS", 0.01)
    with pytest.raises(XcoreError, match=r"integration never does not begin: it has not after 0\.01 s"):
        async with all_of(chosen("first", "never"), engine, Background()):
            said.append("the controller runs")
    assert said == ["first begins", "never is left", "first ends"]


async def test_one_that_blocks_before_it_begins_is_refused_in_time_and_one_that_blocks_at_the_end_is_left(
    engine, monkeypatch, caplog
):
    monkeypatch.setattr(installed, "START_SECONDS", 0.05)
    monkeypatch.setattr(installed, "END_SECONDS", 0.05)
    monkeypatch.setattr(installed, "LAST_SECONDS", 0.05)
    with pytest.raises(XcoreError, match=r"integration stuck does not begin: it has not after 0\.05 s"):
        async with all_of(chosen("first", "stuck"), engine, Background()):
            said.append("the controller runs")
    async with all_of(chosen("first", "staying"), engine, Background()):
        said.append("the controller runs")
    let_go.set()
    assert said == ["first begins", "first ends", "first begins", "the controller runs", "first ends"]
    assert "integration staying does not end within 0.05 s, and is left" in caplog.text


async def test_one_that_gives_its_router_what_would_be_answered_elsewhere_is_refused(engine):
    with pytest.raises(
        XcoreError, match="integration mounting has routes that its router did not make itself"
    ):
        async with all_of(chosen("first", "mounting"), engine, Background()):
            said.append("the controller runs")
    assert sorted(said) == ["first begins", "first ends", "mounting ends"]


async def test_one_that_fails_later_is_named_and_the_others_and_the_controller_go_on(engine, caplog):
    background = Background()
    async with all_of(chosen("failing", "first"), engine, background):
        await asyncio.sleep(0)  # it listens
        engine.bus.emit(ManagerStarting())
        async with asyncio.timeout(5):
            while not background.failed:
                await asyncio.sleep(0)
        said.append("the controller runs")
    assert background.failed == {"integration failing"}
    assert said == ["first begins", "the controller runs", "first ends"]
    assert "out of order" in caplog.text
    assert engine.bus._subscriptions == ()
