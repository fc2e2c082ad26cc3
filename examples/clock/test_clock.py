from datetime import datetime, timedelta

import pytest

from examples.clock.main import Clock
from xcore.plugin.testing import serve


@pytest.mark.parametrize(("zone", "hours"), [("UTC", 0), ("Etc/GMT-5", 5)])
async def test_now_is_the_time_in_the_zone_asked_for(zone: str, hours: int) -> None:
    async with serve(Clock) as client:
        status, body = await client.get("now", zone=zone)

    assert status == 200
    assert body["time_zone"] == zone
    assert datetime.fromisoformat(body["time"]).utcoffset() == timedelta(hours=hours)


async def test_without_a_zone_it_is_the_configured_one() -> None:
    async with serve(Clock, config={"timeZone": "Asia/Tokyo"}) as client:
        _, body = await client.call("now")

    assert body["time_zone"] == "Asia/Tokyo"


@pytest.mark.parametrize("zone", ["Nowhere/Land", "../../etc/passwd", "a\0b", "Europe"])
async def test_an_unknown_zone_is_the_callers_mistake(zone: str) -> None:
    async with serve(Clock) as client:
        status, body = await client.get("now", zone=zone)

    assert (status, list(body)) == (422, ["error"])
