"""Integrations of third parties begin in order, end in the opposite one, and what they do to their task is done to no other."""

import asyncio
from contextlib import asynccontextmanager
from importlib.metadata import EntryPoint

import pytest
from fastapi import FastAPI

from integrations import installed
from integrations.background import Background
from integrations.installed import Chosen, joined
from xcore.errors import XcoreError
from xcore.xhooks import HookBus, ManagerStarting

said = []


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
    return Engine()


def chosen(*names, **settings):
    return [Chosen(EntryPoint(name, f"{__name__}:{name}", installed.GROUP), settings) for name in names]


def all_of(names, engine, background):
    return joined(names, FastAPI(), engine, database=None, background=background)


async def test_they_begin_in_the_order_of_the_setting_and_end_in_the_opposite_one(engine):
    async with all_of([*chosen("first"), *chosen("second", url="x")], engine, Background()):
        said.append("the controller runs")
    assert said == [
        "first begins",
        "second begins, told {'url': 'x'}",
        "the controller runs",
        "second ends",
        "first ends",
    ]


async def test_one_that_does_not_begin_in_time_refuses_the_start_and_those_before_it_are_ended(
    engine, monkeypatch
):
    monkeypatch.setattr(installed, "START_SECONDS", 0.01)
    with pytest.raises(XcoreError, match=r"integration never does not begin: it has not after 0\.01 s"):
        async with all_of(chosen("first", "never"), engine, Background()):
            said.append("the controller runs")
    assert said == ["first begins", "never is left", "first ends"]


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
