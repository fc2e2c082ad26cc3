"""What is said of a setting that is wrong: enough to mend it, and no more of a value than can be shown."""

import pytest
from pydantic import ValidationError

from controller.complaints import Places, complaint, no_setting
from controller.settings import Settings

NOWHERE = Places({}, {}, "")


def told(places=NOWHERE, **values):
    with pytest.raises(ValidationError) as caught:
        Settings(**values)
    [details] = caught.value.errors()
    return str(complaint(details, Settings.model_fields, places))


def test_a_complaint_names_the_place_the_value_came_from():
    """The variable where there is one that is not empty, else the line of the file."""
    file = Places({}, {("port",): 3}, "xcore.yaml")
    sentence = 'must be a whole number from 0 to 65535, got "x"'
    assert told(port="x") == f"XCORE_PORT: {sentence}"
    assert told(file, port="x") == f"port: xcore.yaml line 3: {sentence}"
    assert told(file._replace(environment={"XCORE_PORT": ""}), port="x") == told(file, port="x")
    assert told(file._replace(environment={"xcore_port": "x"}), port="x") == f"XCORE_PORT: {sentence}"


def test_a_long_value_is_cut():
    """A complaint is one line that can be read."""
    assert told(host="x" * 300).endswith(f', got "{"x" * 60}\\u2026"')


@pytest.mark.parametrize("name", ["admin_key", "database_url"])
def test_what_may_be_secret_is_not_repeated(name):
    """Not even the wrong one: it may be nearly right."""
    assert "hunter2" not in told(**{name: "hunter2" * 1000})


def test_a_name_nobody_knows_is_told_the_nearest_or_all():
    """With the prefix or without it, as the known ones are."""
    assert no_setting("XCORE_PROT", ["XCORE_HOST", "XCORE_PORT"]) == (
        "is not a setting; did you mean XCORE_PORT?"
    )
    assert no_setting("zzz", ["port", "host"]) == "is not a setting; there are host, port"
