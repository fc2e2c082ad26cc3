"""A controller of one plugin folder, for an author's command or test: `python -m controller.alone`.

Told by one line of JSON on standard input: `folder`, `listener` (a bound socket's descriptor), `settings`. It ends
when that input ends, so in whatever way its owner ends nothing is left: no process, container or file. The folder is
looked at through a link, and never written. Whatever isolation the manifest asks for, the plugin runs in a sandbox.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path

from controller import app, logs
from controller.settings import InvalidSettings, Settings, load
from xcore.status import told as in_one_line

# How long requests under way may take once it is to end, seconds.
PATIENCE_SECONDS = 2.0
_log = logging.getLogger("xcore.controller")


def main() -> int:
    """Serve until standard input ends; 0, or 1 when it could not start: the last line of stderr says why."""
    told = json.loads(sys.stdin.readline())
    listener = socket.socket(fileno=told["listener"])
    # Whoever started us in the background may have had it ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="xcore-", ignore_cleanup_errors=True) as directory:
        root = Path(directory)
        root.chmod(0o711)  # sandboxes pass through it to their code
        plugins = root / "plugins"
        plugins.mkdir()
        (plugins / "plugin").symlink_to(told["folder"])
        places = {"plugins_dir": plugins, "state_dir": root / "state", "on_exit": "stop", "integrations": {}}
        threading.Thread(target=_end_with_input, daemon=True).start()
        try:
            # Its owner's environment says which engine and image; where it listens and lives is not up to it.
            settings = Settings(**{**load(None).model_dump(), **told["settings"], **places})
            return app.serve(settings, listener=listener, sandbox_all=True)
        except InvalidSettings as error:
            logs.configure("json", "warning")
            _log.error("cannot start: %s", in_one_line(error))
            return 1
        except KeyboardInterrupt:  # before there was anything to drain
            return 0


def _end_with_input() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(PATIENCE_SECONDS)
    os.kill(os.getpid(), signal.SIGINT)


if __name__ == "__main__":
    sys.exit(main())
