"""`/docs`: a page to read `/openapi.json` and try it, with nothing on it from elsewhere: a key is typed there."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, HTMLResponse, Response

router = APIRouter(prefix="/docs", include_in_schema=False)

# Swagger UI's own files, and no other code: no script within the page, no frame around it, nothing sent to anybody else.
# It sets styles and pictures of its own.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_ASSETS = Path(str(files("fastapi_offline"))) / "static"
_KEPT = {"cache-control": "max-age=3600"}


@router.get("")
async def docs() -> HTMLResponse:
    """A page to read and try it; the key typed there stays in the page."""
    return HTMLResponse(_PAGE, headers={"cache-control": "no-store", "content-security-policy": _POLICY})


@router.get("/page.js")
async def script() -> Response:
    """What the page does."""
    return Response(_SCRIPT, media_type="text/javascript", headers=_KEPT)


@router.get("/swagger-ui-bundle.js")
@router.get("/swagger-ui.css")
async def asset(request: Request) -> FileResponse:
    """A file of Swagger UI."""
    return FileResponse(_ASSETS / request.url.path.rpartition("/")[2], headers=_KEPT)


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>xcore</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/swagger-ui.css">
<style>form { font: 14px sans-serif; max-width: 1420px; margin: 16px auto 0; padding: 0 20px }</style>
</head>
<body>
<form id="form"><label>Key, to see the plugins: <input id="key" type="password" autocomplete="off" size="50"></label>
<button>Show</button> <span id="told"></span></form>
<div id="swagger-ui">This page needs scripts; without them: <a href="/openapi.json">/openapi.json</a></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/page.js"></script>
</body>
</html>
"""
_SCRIPT = """\
const told = document.getElementById("told")
async function show(key) {
  const answer = await fetch("/openapi.json", key ? {headers: {Authorization: "Bearer " + key}} : {})
  const body = await answer.json()
  told.textContent = answer.ok ? "" : body.detail
  if (!answer.ok) return
  const ui = SwaggerUIBundle({spec: body, dom_id: "#swagger-ui", deepLinking: true, onComplete: () => {
    if (key) for (const scheme in body.components.securitySchemes) ui.preauthorizeApiKey(scheme, key)
  }})
}
document.getElementById("form").addEventListener("submit", event => {
  event.preventDefault()
  show(document.getElementById("key").value.trim())
})
show("")
"""
