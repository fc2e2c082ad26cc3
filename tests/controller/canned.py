"""A small real HTTP server that gives canned answers."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

READY = {
    "type": "Ready",
    "status": "True",
    "reason": "Ready",
    "message": "",
    "lastTransitionTime": "2026-01-01T00:00:00Z",
}
LOOPING = {**READY, "status": "False", "reason": "CrashLooping", "message": "the last instance ended\x1b[2J"}


def plugin(name="hello", condition=READY):
    status = {"replicas": 1, "readyReplicas": 1, "restarts": {"count": 3}, "conditions": [condition]}
    status |= {
        "endpoint": f"/app/{name}",
        "runtime": "docker",
        "image": "xcore/sandbox:1",
        "currentRevision": "abc",
    }
    return {"kind": "Plugin", "metadata": {"name": name}, "spec": {"version": "1.0.0"}, "status": status}


def problem(status, reason, detail, **more):
    body = {"status": status, "reason": reason, "detail": detail, "requestId": "id-1", **more}
    return status, "application/problem+json", json.dumps(body)


class Server(ThreadingHTTPServer):
    """Answers what `canned` holds for (method, path): one answer, or a list that is used up to its last."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.canned, self.requests = {}, []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def answer(self, method, path, given):
        self.canned[method, path] = given if isinstance(given, list) else [given]


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.respond("GET")

    def do_POST(self):
        self.respond("POST")

    def respond(self, method):
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.requests.append((method, url.path, dict(parse_qsl(url.query)), body, self.headers))
        is_stream = "event-stream" in self.headers.get("Accept", "")
        waiting = self.server.canned.get(("STREAM" if is_stream else method, url.path))
        given = (
            waiting.pop(0)
            if waiting and len(waiting) > 1
            else waiting[0]
            if waiting
            else (404, "text/html", "?")
        )
        status, kind, text = (
            given if isinstance(given, tuple) else (200, "application/json", json.dumps(given))
        )
        content = text if isinstance(text, bytes) else text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass
