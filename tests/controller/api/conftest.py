"""The whole application in this process, over an engine in memory: for what takes no request to a plugin."""

import hashlib

import httpx
import pytest

from controller.app import compose, create_app, running
from controller.ground import machine_ground
from controller.settings import Settings
from integrations.database.address import address
from integrations.database.database import Database
from integrations.gate import Gate
from integrations.grants import Grant, Role
from xcore.clock import SystemClock
from xcore.runtimes.callsockets import CallSockets
from xcore.store import FileStore
from xcore.testing import FakeEngine
from xcore.vault import open_vault


def key_of(role):
    return f"the-key-of-the-{role}"


@pytest.fixture
def gate():
    """It knows a key of each role."""
    return Gate(*(Grant(role, role, hashlib.sha256(key_of(role).encode()).digest()) for role in Role))


@pytest.fixture
async def app(gate, tmp_path, database_url):
    """An application that runs, on each kind of database; no plugin is there."""
    (tmp_path / "plugins").mkdir()
    settings = Settings(plugins_dir=tmp_path / "plugins", state_dir=tmp_path / "state")
    settings.state_dir.mkdir()
    async with Database(address(database_url, settings.state_dir)) as database:
        vault = open_vault(settings.state_dir, FileStore(settings.state_dir / "store"))
        calls = CallSockets(settings.state_dir / "calls")
        ground = machine_ground(settings, FakeEngine(SystemClock()), vault, database, calls=calls)
        parts = compose(settings, ground, database, gate)
        app = create_app(parts)
        async with running(parts, app, []):
            yield app


@pytest.fixture
async def client(app):
    """Asks the application; `key`, where a request needs one, comes by `authorized`."""
    transport = httpx.ASGITransport(app, client=("192.0.2.7", 1234))
    async with httpx.AsyncClient(transport=transport, base_url="http://xcore.test") as client:
        yield client


def authorized(role):
    return {"Authorization": f"Bearer {key_of(role)}"}
