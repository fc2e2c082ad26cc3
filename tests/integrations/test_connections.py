"""Connections killed in the middle of transactions: what was acknowledged is there, and nothing is there twice."""

import asyncio
import contextlib

import pytest

from integrations.database.address import address
from integrations.database.database import Database
from integrations.ledger import RowLedger
from tests.support import document
from xcore.bundle import Snapshots
from xcore.errors import DatabaseUnavailable
from xcore.ledger import Kept, Overtaken

WRITERS = 8


class Writer:
    """Orders one change after the other, each until it is acknowledged, as a client with an Idempotency-Key does."""

    def __init__(self, ledger, name):
        self.ledger, self.name, self.acknowledged, self.unsure = ledger, name, [], 0

    async def run(self, ended):
        while not ended.is_set():
            mark = f"{self.name}-{len(self.acknowledged) + 1}"
            while not await self.carried_out(mark):
                await asyncio.sleep(0.005)
            self.acknowledged.append(mark)

    async def carried_out(self, mark):
        with contextlib.suppress(DatabaseUnavailable, Overtaken):
            known = await self.ledger.read(self.name)
            if known is not None and any(kept.request == mark for kept in known.revisions):
                self.unsure += 1
                return True
            number = known.newest.number + 1 if known else 1
            kept = Kept(number, document(self.name), "", "me", "2026-11-23T16:00:00Z", "update", request=mark)
            await self.ledger.put(self.name, kept, known)
            return True
        return False


async def kill(postgresql, kills, ended):
    """End whatever is in a transaction, over and over, by an administrator's connection; tells how many there were."""
    command = (
        "SELECT pid, pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity"
        " WHERE application_name = 'xcore' AND xact_start IS NOT NULL ORDER BY random() LIMIT 2) AS picked"
    )
    killed = set()
    async with await postgresql.administrator() as connection:
        while len(killed) < kills:
            killed |= {pid for pid, _ in await (await connection.execute(command)).fetchall()}
            await asyncio.sleep(0.01)
    ended.set()
    return len(killed)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kills", [100, pytest.param(1000, marks=pytest.mark.soak)])
async def test_connections_killed_lose_nothing_and_double_nothing(
    postgresql_url, postgresql, tmp_path, kills
):
    """Each order is carried out exactly once, whatever its writer was told on the way."""
    ended = asyncio.Event()
    async with Database(address(postgresql_url, tmp_path)) as database:
        ledger = RowLedger(database, Snapshots(tmp_path / "snapshots"))
        async with ledger.follow(lambda: None):
            writers = [Writer(ledger, f"plugin-{number}") for number in range(WRITERS)]
            running = [asyncio.create_task(writer.run(ended)) for writer in writers]
            killed = await kill(postgresql, kills, ended)
            await asyncio.gather(*running)
            await ledger._load()
            for writer in writers:
                shelved = await ledger.read(writer.name)
                assert shelved.newest.number == len(writer.acknowledged), (
                    "as many revisions as orders: none lost, none twice"
                )
                assert [kept.request for kept in shelved.revisions] == writer.acknowledged[-10:]
    orders = sum(len(writer.acknowledged) for writer in writers)
    print(
        f"{killed} connections killed, {orders} orders, {sum(w.unsure for w in writers)} found carried out already: 0 lost, 0 doubled"
    )
