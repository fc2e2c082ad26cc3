"""A PostgreSQL of the tests' own: Debian's server in a directory that goes with it, on a unix socket, for one run."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from psycopg import AsyncConnection

BINARIES = Path("/usr/lib/postgresql")
USER = "postgres"
# As a server has it, but for the room it takes; SIGKILL of a process loses nothing the kernel has.
SETTINGS = {
    "fsync": "off",
    "max_connections": "200",
    "shared_buffers": "16MB",
    "log_destination": "stderr",
}


class Server:
    """Begun by `start`, which may be called again after `stop`; `remove` at the end."""

    def __init__(self, listen=""):
        """`listen`: an address of this machine that others reach it on, at port 5432, with a password."""
        self._listen = listen
        self.directory = Path(tempfile.mkdtemp(prefix="xcore-pg-"))
        self._data = self.directory / "data"
        self._process = None
        if os.geteuid() == 0:  # it refuses to run as root
            shutil.chown(self.directory, USER, USER)
        self._run(
            "initdb",
            "--auth=trust",
            "--no-sync",
            "--locale=C.UTF-8",
            f"--username={USER}",
            f"--pgdata={self._data}",
        )
        with (self._data / "pg_hba.conf").open("a") as rules:
            rules.write("host all all all scram-sha-256\n")

    @contextlib.contextmanager
    def away(self):
        """Stop it for the block, or until `start`."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    @contextlib.contextmanager
    def hanging(self):
        """Have it accept connections and answer none, for the block."""
        self.signal_all(signal.SIGSTOP)
        try:
            yield
        finally:
            self.signal_all(signal.SIGCONT)

    def start(self):
        """Return when it answers; one that runs is left alone."""
        if self._process is not None and self._process.poll() is None:
            return
        settings = {"listen_addresses": self._listen, **SETTINGS}
        options = [text for name, value in settings.items() for text in ("-c", f"{name}={value}")]
        command = self._as_its_user("postgres", "-D", self._data, "-k", self.directory, *options)
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/"
            )
        deadline = time.monotonic() + 30
        while subprocess.run(
            [*self._as_its_user("pg_isready", "-q", "-h", self.directory)], check=False, cwd="/"
        ).returncode:
            assert self._process.poll() is None, (self.directory / "log").read_text()
            assert time.monotonic() < deadline, "PostgreSQL does not start"
            time.sleep(0.05)

    def stop(self):
        """End it at once, its connections as well."""
        self.signal(signal.SIGINT)
        assert self._process.wait(30) == 0

    def signal(self, number):
        """Send one to the server itself, not to those who speak for it."""
        os.kill(self._pid(), number)

    def signal_all(self, number):
        """Send one to the server and to all its processes: SIGSTOP makes it hang."""
        children = Path(f"/proc/{self._pid()}/task/{self._pid()}/children").read_text().split()
        for pid in [self._pid(), *map(int, children)]:
            os.kill(pid, number)

    def url(self, name=USER):
        return f"postgresql://{USER}@/{name}?host={self.directory}"

    def sql(self, statement, *, name=USER):
        """Say it as the administrator; returns what psql prints."""
        told = self._run(
            "psql",
            "-h",
            self.directory,
            "-U",
            USER,
            "-d",
            name,
            "-qAtX",
            "-v",
            "ON_ERROR_STOP=1",
            "-c",
            statement,
        )
        return told.stdout.strip()

    async def administrator(self):
        """Give a connection of the administrator's, to be closed by who asks."""
        return await AsyncConnection.connect(f"host={self.directory} user={USER}", autocommit=True)

    def remove(self):
        if self._process is not None and self._process.poll() is None:
            self.signal_all(signal.SIGCONT)
            self.stop()
        shutil.rmtree(self.directory)

    def _pid(self):
        return int((self._data / "postmaster.pid").read_text().splitlines()[0])

    def _run(self, program, *arguments):
        command = self._as_its_user(program, *arguments)
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd="/", timeout=60)
        assert done.returncode == 0, done.stderr
        return done

    def _as_its_user(self, program, *arguments):
        path = _binaries() / program
        change = (
            ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups"] if os.geteuid() == 0 else []
        )
        return [*change, path, *arguments]


def _binaries():
    """The newest of Debian's; elsewhere what the path has."""
    found = sorted(BINARIES.glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    path = str(found[-1]) if found else shutil.which("postgres")
    assert path, "missing: PostgreSQL's server (Debian: apt-get install postgresql)"
    return Path(path).parent
