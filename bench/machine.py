"""What the figures were taken on: enough to judge them, nothing that names the machine."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

import docker
import requests
from docker.errors import DockerException

from xcore.runtimes.docker import DEFAULT_HOST


def describe() -> dict[str, str]:
    """Cores, memory, kernel, Python and engine; what cannot be found out is left out."""
    total = re.search(r"MemTotal:\s+(\d+) kB", Path("/proc/meminfo").read_text("ascii"))
    model = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text("utf-8"))
    found = {
        "cores": f"{len(os.sched_getaffinity(0))}" + (f" ({model[1]})" if model else ""),
        "memory": f"{int(total[1]) / 2**20:.0f} GiB" if total else "",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "engine": _engine(),
    }
    return {name: value for name, value in found.items() if value}


def _engine() -> str:
    try:
        version = docker.APIClient(DEFAULT_HOST, timeout=10, version="auto").version()
    except (DockerException, requests.RequestException):
        return ""
    runc = next((c["Version"] for c in version.get("Components", ()) if c["Name"] == "runc"), "")
    return f"Docker {version['Version']}, cgroup {_cgroup()}" + (f", runc {runc}" if runc else "")


def _cgroup() -> str:
    return "v2" if Path("/sys/fs/cgroup/cgroup.controllers").exists() else "v1"
