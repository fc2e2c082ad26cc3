"""Serving a folder for as long as a session of tests lasts; what is wrong with it is a text, told by each test."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from xcore.bundle import MANIFEST
from xcore.errors import XcoreError
from xcore.manifest import parse
from xcore.status import told
from xcore.testing.alone import Alone, NotServed, Runtime
from xcore.testing.frames import last_traceback
from xcore.testing.served import ServedPlugin


def serve(folder: Path, runtime: Runtime, stack: ExitStack) -> ServedPlugin | str:
    """Give the plugin once it serves, or why it does not; `stack` ends it."""
    try:
        name = parse((folder / MANIFEST).read_bytes(), name=MANIFEST).metadata.name
        alone = stack.enter_context(Alone(folder, name=name, runtime=runtime))
        served = ServedPlugin(alone, alone.ready())
    except NotServed as error:
        return "\n".join(
            [f"{name} does not start: {error.reason}: {error.detail}", *last_traceback(error.output, folder)]
        )
    except (XcoreError, OSError) as error:
        return f"{folder.name} cannot be served: {told(error) if isinstance(error, XcoreError) else error}"
    stack.callback(served.close)
    return served
