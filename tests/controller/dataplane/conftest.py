"""The data plane is tested on the loop it runs on."""

import pytest
import uvloop

from tests.controller.dataplane.support import Front


def pytest_asyncio_loop_factories(config, item):
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def front():
    async with Front() as front:
        yield front


@pytest.fixture
async def locked():
    """A front that asks for a key."""
    async with Front(auth=True) as front:
        yield front
