"""A moment as people write it (RFC 3339): a date, a time and its zone. A number of seconds is none."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, Field

from xcore.fields import wrong

_WRITTEN = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)")


def _moment(text: str) -> str:
    try:
        if _WRITTEN.fullmatch(text):
            datetime.fromisoformat(text)
            return text
    except ValueError:
        pass
    raise wrong("must be a time with its zone, such as 2027-01-31T12:00:00Z")


Moment = Annotated[
    str,
    Field(max_length=40, examples=["2027-01-31T12:00:00Z"], json_schema_extra={"format": "date-time"}),
    AfterValidator(_moment),
]


def seconds(moment: str) -> float:
    """Give a Moment in seconds since 1970."""
    return datetime.fromisoformat(moment).timestamp()
