"""Models and migrations say the same; versions are judged; an upgrade is whole or not at all."""

import re

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from integrations.database import schema, tables_audit, tables_keys, tables_tasks
from integrations.database.address import InvalidAddress, address
from integrations.database.database import Database
from integrations.database.schema import SchemaMismatch
from integrations.database.tables import Base

_ = tables_audit, tables_keys, tables_tasks  # their tables are among those of Base


async def set_version(database, version):
    async with database.writing() as session:
        await session.execute(text("UPDATE alembic_version SET version_num = :to"), {"to": version})


async def test_the_migrations_make_the_tables_of_the_models(database):
    """A database made by all steps has every table, column, index and constraint of the models, and no other."""

    def compared(connection):
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return compare_metadata(context, Base.metadata)

    async with database.reading() as session:
        assert await (await session.connection()).run_sync(compared) == []


def test_steps_are_one_line_of_numbers():
    """Each step follows the one with the number before it, is named by its number, and goes no way back."""
    scripts = ScriptDirectory(str(schema.SCRIPTS))
    steps = list(reversed(list(scripts.walk_revisions())))
    assert [step.revision for step in steps] == [f"{number:04}" for number in range(1, len(steps) + 1)]
    assert all(step.path.rpartition("/")[2].startswith(f"{step.revision}_") for step in steps)
    assert scripts.get_current_head() == schema.newest()


def test_steps_only_add():
    """The release before runs on the schema after: nothing that it reads or writes is renamed, dropped or made stricter."""
    adds = {"create_table", "create_index", "add_column", "bulk_insert"}
    for step in (schema.SCRIPTS / "versions").glob("0*.py"):
        assert set(re.findall(r"\bop\.(\w+)", step.read_text("utf-8"))) <= adds, step.name


async def test_a_newer_schema_is_refused(database_url, tmp_path):
    """A controller does not start on tables that a newer xcore made; it says which xcore to run."""
    async with Database(address(database_url, tmp_path)) as database:
        await set_version(database, "9999")
    with pytest.raises(
        SchemaMismatch, match=r"schema 9999, which is newer than .* run the newer xcore again"
    ):
        await Database(address(database_url, tmp_path)).__aenter__()


async def test_a_server_without_tables_is_left_alone(postgresql, tmp_path):
    """On PostgreSQL a start makes no tables: it names the command that does."""
    postgresql.sql("CREATE DATABASE empty")
    with pytest.raises(SchemaMismatch, match=r"no tables.* run `xcore db upgrade`"):
        await Database(address(postgresql.url("empty"), tmp_path)).__aenter__()
    assert postgresql.sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", name="empty") == "0"
    postgresql.sql("DROP DATABASE empty")


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:secret@h/d",
        "postgresql+asyncpg://u:secret@h/d",
        "postgresql://u:secret@h",
        "sqlite://",
        "sqlite:///here.db",
        "secret",
        "postgresql://u:secret@h:port/d",
    ],
)
def test_an_address_of_no_database_is_refused(url, tmp_path):
    """What is neither a file nor a server is refused, with what is allowed, and is not repeated: it may hold a password."""
    with pytest.raises(InvalidAddress, match="XCORE_DATABASE_URL: must be postgresql://") as caught:
        address(url, tmp_path)
    assert "secret" not in str(caught.value)
