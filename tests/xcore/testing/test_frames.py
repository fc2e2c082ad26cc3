"""A traceback begins where its author's own code does."""

from pathlib import Path

from xcore.testing.frames import last_traceback, own_frames

FOLDER = Path("/home/ada/demo")
SNAPSHOT = f"/tmp/xcore-1/state/snapshots/{'0af' * 21}9"
HEAD = "Traceback (most recent call last):"


def raised(path, *, error="ValueError: no", below=()):
    return [
        HEAD,
        '  File "/opt/xcore/app/sandbox_image/runner.py", line 1, in main',
        "    serve()",
        "    ~~~~~^^",
        f'  File "{path}/main.py", line 3, in greet',
        "    fail()",
        *below,
        error,
    ]


def test_frames_above_the_authors_own_are_left_out_and_paths_are_his():
    """Whether it ran in a container or as a child process, the first frame is of the author's folder."""
    shown = [HEAD, '  File "/home/ada/demo/main.py", line 3, in greet', "    fail()", "ValueError: no"]
    assert shown == own_frames(raised("/plugin"), FOLDER) == own_frames(raised(SNAPSHOT), FOLDER)


def test_what_a_library_did_below_is_shown():
    """Where a library raised, its frames stand below the author's call of it."""
    below = ['  File "/usr/lib/python3.13/json/decoder.py", line 2, in decode', "    boom()"]
    assert own_frames(raised("/plugin", below=below), FOLDER)[3:5] == below


def test_without_a_frame_of_his_own_the_error_alone_is_shown():
    """A class that is not there is nobody's frame: what was said of it remains."""
    lines = [
        HEAD,
        '  File "/opt/xcore/app/xcore/plugin/host.py", line 1, in resolve',
        "    raise",
        "TypeError: x",
    ]
    assert own_frames(lines, FOLDER) == [HEAD, "TypeError: x"]


def test_lines_that_are_no_traceback_pass():
    """What a plugin prints is shown as it is."""
    assert own_frames(["hi", "  indented", ""], FOLDER) == ["hi", "  indented", ""]


def test_the_last_traceback_comes_with_its_causes():
    """An older failure is not shown; the exception another one was raised from is."""
    cause, error = raised("/plugin", error="KeyError: 1"), raised("/plugin")
    chain = [*cause, "", "The above exception was the direct cause of the following exception:", "", *error]
    shown = last_traceback([*raised("/plugin", error="OSError: old"), "between", *chain], FOLDER)
    assert [line for line in shown if "Error: " in line] == ["KeyError: 1", "ValueError: no"]
    assert last_traceback(["nothing"], FOLDER) == []
