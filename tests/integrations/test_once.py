"""An order that comes twice with one Idempotency-Key is carried out once, and both are told the same, also by another process."""

import pytest
from fastapi import Response
from sqlalchemy import func, select

from integrations.database.tables import AnswerRow
from integrations.once import KEPT_ANSWERS, KEPT_SECONDS, Claim, Done, InvalidKey, Once
from xcore.errors import Conflict, DatabaseUnavailable
from xcore.testing import FakeClock

MINE = Claim("1" * 32, "a" * 64)


class Desk:
    """Counts orders; answers with how many there were."""

    def __init__(self):
        self.orders = 0

    async def order(self):
        self.orders += 1
        return Done("hello", 201)

    async def answer(self, done):
        return Response(f"{done.name} {self.orders}", done.status, {"location": "/here", "x-other": "1"})

    async def perform(self, once, claim=MINE):
        response = await once.perform(claim, self.order, self.answer)
        return response.status_code, response.body.decode(), response.headers.get("location")


@pytest.fixture
def desk():
    return Desk()


async def test_the_second_time_it_is_answered_as_the_first(database, desk):
    """Status, body and headers are those of the first answer; the order was carried out once, whichever process is asked."""
    assert await desk.perform(Once(database)) == (201, "hello 1", "/here")
    assert await desk.perform(Once(database)) == (201, "hello 1", "/here")
    assert desk.orders == 1


async def test_a_key_for_another_request_is_refused(database, desk):
    """The same key with another body is a mistake, and nothing is done."""
    once = Once(database)
    await desk.perform(once)
    with pytest.raises(InvalidKey):
        await desk.perform(once, Claim(MINE.id, "b" * 64))
    assert desk.orders == 1


async def test_an_order_whose_answer_was_never_given_is_answered_but_not_carried_out_again(
    database, desk, monkeypatch
):
    """A process that ended between the two: the next one answers."""
    once = Once(database)

    async def killed(done):
        raise Conflict("killed")

    with pytest.raises(Conflict):
        await once.perform(MINE, desk.order, killed)
    assert await desk.perform(Once(database)) == (201, "hello 1", "/here")
    assert desk.orders == 1


async def test_a_refused_order_may_be_sent_again(database, desk):
    """What was not carried out is not remembered."""

    async def refused():
        raise Conflict("no")

    with pytest.raises(Conflict):
        await Once(database).perform(MINE, refused, desk.answer)
    assert await desk.perform(Once(database)) == (201, "hello 1", "/here")


async def test_after_a_day_a_key_is_new(database, desk):
    """What is older than a day counts no more, and its row goes."""
    clock = FakeClock()
    once = Once(database, clock)
    await desk.perform(once)
    await clock.advance(KEPT_SECONDS + 1)
    await desk.perform(once, Claim("2" * 32, "a" * 64))
    assert desk.orders == 2
    async with database.reading() as session:
        assert list(await session.scalars(select(AnswerRow.id))) == ["2" * 32]


async def test_no_more_than_the_newest_thousand_are_kept(database, desk):
    """However many keys come, the rows do not grow without end."""
    clock = FakeClock()
    async with database.writing() as session:
        for number in range(KEPT_ANSWERS + 50):
            session.add(
                AnswerRow(
                    id=f"{number:032}",
                    at=clock.time() - 1000 + number * 0.1,
                    fingerprint="",
                    plugin="",
                    status=200,
                    headers={},
                )
            )
    await desk.perform(Once(database, clock))
    async with database.reading() as session:
        assert await session.scalar(select(func.count()).select_from(AnswerRow)) == KEPT_ANSWERS
        assert await session.get(AnswerRow, MINE.id) is not None


async def test_while_the_database_is_away_an_order_with_a_key_is_refused_and_one_without_is_not(
    database, desk
):
    """Nobody could tell whether the first was carried out already."""
    database._lost("away")
    with pytest.raises(DatabaseUnavailable):
        await desk.perform(Once(database))
    assert desk.orders == 0
    assert await desk.perform(Once(database), None) == (201, "hello 1", "/here")
