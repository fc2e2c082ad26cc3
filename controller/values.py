"""How the value of a setting is read. Each raises an error that says what is allowed."""

from __future__ import annotations

import ipaddress
import json
import os
import re
from pathlib import Path

from xcore.fields import LABEL, wrong

_HOST = re.compile(r"[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]")
_ORIGIN = re.compile(r"https?://(?:[a-z0-9.-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::[0-9]{1,5})?")

# Two names of plugins: who calls, and who is called.
GRANT = f"{LABEL[:-1]}:{LABEL[1:]}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there. A name other than localhost might be anything."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def default_state_dir() -> Path:
    if os.geteuid() == 0:
        return Path("/var/lib/xcore")
    home = os.environ.get("XDG_STATE_HOME")
    return (Path(home) if home and Path(home).is_absolute() else Path.home() / ".local/state") / "xcore"


def listed(value: object) -> object:
    """Split what the environment gives: a JSON list, or names with commas between them."""
    if not isinstance(value, str):
        return value
    if not value.lstrip().startswith("["):
        return [item.strip() for item in value.split(",") if item.strip()]
    try:
        return json.loads(value)
    except ValueError:
        raise wrong("must be a JSON list, or names with commas between them") from None


def by_name(value: object) -> object:
    """Give each name its own settings: none where there are names alone."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = json.loads(value)
        except ValueError:
            raise wrong("must be a JSON object, or names with commas between them") from None
    names = listed(value)
    if isinstance(names, list):
        return {str(name): {} for name in names}
    if isinstance(names, dict):
        return {name: {} if told is None else told for name, told in names.items()}
    return names


def url(value: str) -> str:
    scheme, separator, rest = value.partition("://")
    if scheme not in {"http", "https"} or not separator or not rest.strip("/") or not value.isprintable():
        raise wrong("must be a URL that begins with http:// or https://")
    return value.rstrip("/")


def place(value: str) -> str:
    """Check HOST:PORT."""
    host, separator, port = value.rpartition(":")
    if not (
        separator and _HOST.fullmatch(host) and port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16
    ):
        raise wrong("must be HOST:PORT, such as xcore-calls.xcore-system:8001")
    return value


def lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def from_here(path: Path) -> Path:
    """An engine is told this path, and it stands elsewhere."""
    return path.expanduser().absolute()


def network(value: str) -> str:
    """An address is a network of one. Never that of everybody, for then each client could say who it is."""
    if "%" in value:
        raise ValueError(value)  # zones are names of this machine's interfaces
    found, here = ipaddress.ip_network(value, strict=False), ipaddress.ip_interface(value).ip
    if here != found.network_address:
        raise wrong(f"must be a network without host bits: {found}, or {here} for that address alone")
    if isinstance(here, ipaddress.IPv6Address) and here.ipv4_mapped is not None:
        found = ipaddress.ip_network((here.ipv4_mapped, found.prefixlen - 96))
    if found.prefixlen == 0:
        raise wrong(f"must not be everybody ({found}): then each client could say who it is")
    return str(found)


def origin(value: str) -> str:
    if not _ORIGIN.fullmatch(value):
        raise wrong(
            "must be an origin as browsers write it, such as https://shop.example or http://localhost:3000"
        )
    return value
