"""Pinning: a name becomes an id, which takes part in the revision; what is refused anyway is not fetched."""

import asyncio

import pytest

from tests.support import manifest
from xcore.errors import ImagePull, Problem
from xcore.images import Images
from xcore.loader import Declared
from xcore.sources import Prepared
from xcore.testing import FakeClock, FakeEngine


def declared(**spec):
    return Declared("web", manifest("web", **{"source": {"image": "team/web:1"}, "entrypoint": None, **spec}))


@pytest.fixture
def engine():
    engine = FakeEngine(FakeClock())
    engine.images["team/web:1"] = "sha256:1"
    return engine


async def test_a_name_becomes_the_id_of_what_it_names_now(engine):
    said = []
    images = Images(engine)
    assert await images.prepare(declared(), said.append) == Prepared(image="sha256:1")
    engine.images["team/web:1"] = "sha256:2"
    assert await images.prepare(declared(), said.append) == Prepared(image="sha256:2")
    assert said == ["looking for team/web:1"] * 2


async def test_an_image_that_is_nowhere_is_an_image_pull(engine):
    with pytest.raises(ImagePull, match="team/other"):
        await Images(engine).prepare(declared(source={"image": "team/other"}), lambda _: None)


def test_only_images_that_may_run_are_fetched(engine):
    """Not for a folder with code, not without a manifest, not for what the engine refuses."""
    images = Images(engine)
    assert images.key(declared()) == "team/web:1"
    assert images.key(Declared("web", manifest("web"))) is None
    assert images.key(Declared("web")) is None
    engine.unsupported = [Problem("spec.runtimeClass", "not here")]
    assert images.key(declared()) is None


async def test_an_engine_that_is_away_is_waited_for_and_not_held_against_the_image(engine):
    said, clock = [], FakeClock()
    engine.away = True
    pinning = asyncio.create_task(Images(engine, clock=clock).prepare(declared(), said.append))
    await clock.advance(60)
    assert not pinning.done()
    assert set(said) == {"the engine does not answer"}
    engine.away = False
    await clock.advance(2)
    assert await pinning == Prepared(image="sha256:1")
