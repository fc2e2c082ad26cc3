"""nginx, twice: the static upstream both sides are measured against, and the proxy that is the peer."""

from __future__ import annotations

from pathlib import Path

ANSWER = "x" * 100
KEPT = 64  # idle connections to the upstream: as many as the data plane's own pool keeps

_COMMON = """
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 2048; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  {rest}
}}
"""

_UPSTREAM = """
  server {{
    listen unix:{socket} backlog=512;
    default_type text/plain;
    location / {{ return 200 "{answer}"; }}
  }}
"""

_PROXY = """
  upstream plugin {{
    server unix:{socket};
    keepalive {kept};
    keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=2048;
    location / {{
      proxy_pass http://plugin;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
    }}
  }}
"""


def upstream(directory: Path, socket: Path) -> list[str]:
    """The command that answers 100 bytes to everything on a unix socket."""
    return _command(directory, _UPSTREAM.format(socket=socket, answer=ANSWER))


def proxy(directory: Path, socket: Path, port: int) -> list[str]:
    """The command that passes everything on to that socket, over connections it keeps."""
    return _command(directory, _PROXY.format(socket=socket, port=port, kept=KEPT))


def _command(directory: Path, rest: str) -> list[str]:
    directory.mkdir(mode=0o711)
    config = directory / "nginx.conf"
    config.write_text(_COMMON.format(directory=directory, rest=rest), "utf-8")
    return ["nginx", "-e", "stderr", "-p", str(directory), "-c", str(config)]
