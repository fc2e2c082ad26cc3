"""Images of other people, as tests need them: built on the sandbox image, which is there, and kept by the engine."""

from __future__ import annotations

import os
import subprocess
import tempfile
import textwrap
from pathlib import Path

from sandbox_image.tag import image_tag

# A web server that knows nothing of xcore. It tells what it was asked and what it finds, and does as it is told.
SERVER = """
    import http.server, json, os, socket, socketserver, sys, time

    VERSION = "one"

    def attempt(host, port):
        try:
            with socket.create_connection((host, port), 2) as connection:
                connection.sendall(b"escaped")
            return "reached"
        except OSError as error:
            return type(error).__name__ if error.errno is None else os.strerror(error.errno)

    class Answer(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            if self.path == "/reach":
                self.say({f"{h} {p}": attempt(h, p) for h, p in json.loads(body)})
            elif self.path == "/write":
                self.say({path: self.write(path) for path in json.loads(body)})
            elif self.path == "/exit":
                os._exit(int(body))
            else:
                self.say({"path": self.path, "body": body.decode()})

        def do_GET(self):
            if self.path == "/slow":
                time.sleep(3600)
            if self.path.startswith("/status/"):
                return self.say({}, int(self.path.rpartition("/")[2]))
            if self.path == "/move":
                return self.say({}, 302, ("location", "/elsewhere"))
            status = dict(line.split(":", 1) for line in open("/proc/self/status"))
            self.say({
                "version": VERSION, "path": self.path, "headers": dict(self.headers.items()), "cwd": os.getcwd(),
                "uid": os.getuid(), "environment": dict(os.environ), "argv": sys.argv,
                "status": {name: value.strip() for name, value in status.items()},
                "interfaces": os.listdir("/sys/class/net"), "resolver": open("/etc/resolv.conf").read(),
                "raw": attempt_socket(socket.AF_INET, socket.SOCK_RAW), "packet": attempt_socket(17, socket.SOCK_RAW),
            })

        def write(self, path):
            try:
                open(path, "w").close()
                return "written"
            except OSError as error:
                return os.strerror(error.errno)

        def say(self, what, status=200, *fields):
            body = json.dumps(what).encode()
            self.send_response(status)
            for name, value in (("content-length", str(len(body))), *fields):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    def attempt_socket(family, kind):
        try:
            socket.socket(family, kind, 1 if family == 2 else 0).close()
            return "made"
        except OSError as error:
            return os.strerror(error.errno)

    class Unix(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
        def get_request(self):
            connection, _ = super().get_request()
            return connection, ("unix", 0)

    time.sleep(float(os.environ.get("LATE", "0")))
    print("listening", flush=True)
    if path := os.environ.get("PLUGIN_SOCKET"):
        Unix(path, Answer).serve_forever()
    address = (os.environ.get("ADDRESS", "127.0.0.1"), int(os.environ["PORT"]))
    http.server.ThreadingHTTPServer(address, Answer).serve_forever()
"""
RUN = (
    "WORKDIR /srv",
    "COPY server.py /srv/",
    'ENTRYPOINT ["python3", "server.py"]',
    'CMD ["an", "argument"]',
)


def build(name: str, *lines: str, server: str = SERVER, tag: str = "1") -> str:
    """Build an image of these lines; gives its name, one that no registry has."""
    # Of this process: another one that runs the same tests removes its own when it ends.
    process = os.environ.get("PYTEST_XDIST_WORKER", "alone")
    reference = f"xcore-test.invalid/{process}/{name}:{tag}"
    with tempfile.TemporaryDirectory() as folder:
        context = Path(folder)
        (context / "server.py").write_text(textwrap.dedent(server))
        (context / "server.py").chmod(0o644)
        (context / "Dockerfile").write_text("\n".join((f"FROM {image_tag()}", "USER root", *lines)) + "\n")
        command = ["docker", "build", "--quiet", "--tag", reference, folder]
        subprocess.run(
            command,
            check=True,
            capture_output=True,
            timeout=300,
            env={"DOCKER_BUILDKIT": "0", "PATH": "/usr/bin:/bin"},
        )
    return reference


def remove(*references: str) -> None:
    subprocess.run(["docker", "rmi", "--force", *references], check=False, capture_output=True, timeout=60)
