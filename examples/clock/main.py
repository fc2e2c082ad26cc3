from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from xcore.plugin import Plugin, Response, action


@dataclass
class Now:
    time: datetime
    time_zone: str


class Clock(Plugin):
    """The trade of a trusted plugin: no hop and no sandbox. Not a line of it would change in one."""

    @action(safe=True)
    async def now(self, zone: str | None = None) -> Now | Response:
        """The time in a zone of the IANA database: `GET /app/clock/now?zone=Europe/Paris`."""
        name = zone or self.context.config.get("timeZone", "UTC")
        try:
            return Now(datetime.now(ZoneInfo(name)), name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            refused = msgspec.json.encode({"error": f"there is no time zone {name!r}"})
            return Response(refused, "application/json", status=422)
