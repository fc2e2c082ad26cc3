from datetime import datetime, timedelta

import pytest

from xcore.testing.served import ServedPlugin


@pytest.mark.parametrize(("zone", "hours"), [("UTC", 0), ("Etc/GMT-5", 5)])
def test_now_is_the_time_in_the_zone_asked_for(plugin: ServedPlugin, zone: str, hours: int) -> None:
    now = plugin.get("/now", params={"zone": zone}).json()

    assert now["time_zone"] == zone
    assert datetime.fromisoformat(now["time"]).utcoffset() == timedelta(hours=hours)


def test_without_a_zone_it_is_the_configured_one(plugin: ServedPlugin) -> None:
    assert plugin.call("now")["time_zone"] == "UTC"


@pytest.mark.parametrize("zone", ["Nowhere/Land", "../../etc/passwd", "a\0b", "Europe"])
def test_an_unknown_zone_is_the_callers_mistake(plugin: ServedPlugin, zone: str) -> None:
    answer = plugin.get("/now", params={"zone": zone})

    assert (answer.status_code, list(answer.json())) == (422, ["error"])
