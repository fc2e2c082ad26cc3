"""What tests of rows share: the same tests on SQLite and on PostgreSQL."""

import asyncio
import contextlib
import itertools

import pytest

from integrations.database.address import address
from integrations.database.database import Database
from integrations.database.upgrade import upgrade
from tests.integrations.postgresql import Server

_numbers = itertools.count()


@pytest.fixture(scope="session")
def postgresql():
    """A server that runs; a test that stops it starts it again."""
    server = Server()
    with contextlib.ExitStack() as stack:
        stack.callback(server.remove)
        server.start()
        yield server


@pytest.fixture(scope="session")
def _template(postgresql):
    """A database with our tables, to be copied: quicker than to make them for every test."""
    postgresql.sql("CREATE DATABASE template_of_ours")
    asyncio.run(upgrade(address(postgresql.url("template_of_ours"), None)))
    return "template_of_ours"


@pytest.fixture
def postgresql_url(postgresql, _template):
    """The URL of an empty database with our tables."""
    name = f"test_{next(_numbers)}"
    postgresql.sql(f"CREATE DATABASE {name} TEMPLATE {_template}")
    yield postgresql.url(name)
    postgresql.sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def sqlite_url(tmp_path):
    return f"sqlite:///{tmp_path}/xcore.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request):
    """Where an empty database is, of either kind."""
    return request.getfixturevalue(f"{request.param}_url")


@pytest.fixture
async def database(database_url, tmp_path):
    """An open database with our tables and nothing in them."""
    async with Database(address(database_url, tmp_path)) as opened:
        yield opened
