"""The hardened envelope of a Docker sandbox: a workload in, the body of `POST /containers/create` out. Pure.

Nothing in a manifest can widen it. Field names are the Engine API's; every value has its reason in
docs/isolation.md. Linux capabilities(7), seccomp(2), CIS Docker Benchmark section 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xcore.runtimes.told import (
    CALLS_DIR,
    CODE_DIR,
    SECRETS_DIR,
    SITE_DIR,
    SOCKET,
    SOCKET_DIR,
    environment,
    is_image,
)
from xcore.workload import Workload

COMMAND = ["python3", "-m", "sandbox_image.runner"]
SCHEMA = "1"

_LISTEN = {"PLUGIN_SOCKET": SOCKET}

OWNER = "dev.xcore.owner"
PLUGIN = "dev.xcore.plugin"
REVISION = "dev.xcore.revision"
GENERATION = "dev.xcore.generation"
SCHEMA_LABEL = "dev.xcore.schema"
UID = "dev.xcore.uid"
LISTENS = "dev.xcore.listens"  # of an image: its port, or the path of its socket


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a sandbox is: its short id, the uid nobody else on the engine has, and its owner.

    `socket_dir`: a host directory in place of the tmpfs volume, for a controller that is not root; `gid` is then
    the controller's own group, else the uid's twin. `volumes`: directories the image wants to write to.
    """

    short_id: str
    uid: int
    gid: int
    owner: str
    image: str
    seccomp: str
    socket_dir: str | None = None
    secrets_dir: str | None = None
    calls_dir: str | None = None
    volumes: tuple[str, ...] = ()


def container_name(workload: Workload, identity: Identity) -> str:
    return f"xcore-{workload.name}-{identity.short_id}"


def create_body(workload: Workload, identity: Identity) -> dict[str, Any]:
    return {
        "Image": identity.image,
        "User": f"{identity.uid}:{identity.gid}",
        "Hostname": f"plugin-{identity.short_id}",
        **_command(workload),
        "Env": [f"{name}={value}" for name, value in environment(workload, listen=_LISTEN).items()],
        "Labels": _labels(workload, identity),
        "Healthcheck": {"Test": ["NONE"]},  # probed through the socket, never by exec
        "StopSignal": "SIGTERM",
        "StopTimeout": int(workload.manifest.spec.termination_grace_period_seconds),
        "OpenStdin": False,
        "Tty": False,
        "HostConfig": _host_config(workload, identity),
    }


def _command(workload: Workload) -> dict[str, Any]:
    """The runner; an image brings its own command and directory."""
    if is_image(workload):
        return {}
    return {"Entrypoint": COMMAND, "Cmd": [], "WorkingDir": "/"}


def _host_config(workload: Workload, identity: Identity) -> dict[str, Any]:
    spec = workload.manifest.spec
    memory = spec.resources.memory_bytes
    tmp = f"rw,noexec,nosuid,nodev,size={spec.resources.tmp_bytes},nr_inodes=4096,mode=1777"
    return {
        "Init": True,  # reaps, forwards SIGTERM, and turns a ptrace trick of PID 1 into a clean end
        "Privileged": False,
        "CapAdd": [],
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges", f"seccomp={identity.seccomp}"],
        "ReadonlyRootfs": True,
        "Binds": [],
        "Mounts": _mounts(workload, identity),
        # An image's volumes would be unbounded disk of the host.
        "Tmpfs": dict.fromkeys(("/tmp", *identity.volumes), tmp),  # noqa: S108
        "NetworkMode": "none",
        "PortBindings": {},
        "PublishAllPorts": False,
        "IpcMode": "none",
        "PidMode": "",
        "UTSMode": "",
        "CgroupnsMode": "private",
        "Memory": memory,
        "MemorySwap": memory,
        "MemoryReservation": memory // 2,
        "MemorySwappiness": 0,
        "OomKillDisable": False,
        "NanoCpus": round(spec.resources.cpu_cores * 1e9),
        "CpuShares": 512,
        "PidsLimit": spec.resources.pids_limit,
        "Ulimits": _ulimits(workload, identity),
        "LogConfig": {
            "Type": "json-file",
            "Config": {"max-size": "1m", "max-file": "2", "mode": "non-blocking", "max-buffer-size": "1m"},
        },
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        "AutoRemove": False,
        **({"Runtime": spec.runtime_class} if spec.runtime_class else {}),
    }


def _ulimits(workload: Workload, identity: Identity) -> list[dict[str, Any]]:
    limits = {"nofile": 1024, "core": 0, "memlock": 65536}
    if identity.socket_dir is not None:
        # A directory on the host's disk has no size of its own; at least no file in it grows without end.
        limits["fsize"] = workload.manifest.spec.resources.tmp_bytes
    return [{"Name": name, "Soft": limit, "Hard": limit} for name, limit in limits.items()]


def _mounts(workload: Workload, identity: Identity) -> list[dict[str, Any]]:
    dialled = workload.manifest.spec.source.tcp_port is not None
    sockets = [] if dialled else [_socket_mount(workload, identity)]
    return [*sockets, *_read_only_mounts(workload, identity)]


def _socket_mount(workload: Workload, identity: Identity) -> dict[str, Any]:
    if identity.socket_dir is not None:
        return {"Type": "bind", "Source": identity.socket_dir, "Target": SOCKET_DIR, "ReadOnly": False}
    owner = f"uid={identity.uid},gid={identity.gid}"
    options = f"size=64k,nr_inodes=16,{owner},mode=0700,nosuid,nodev,noexec"
    driver = {"Name": "local", "Options": {"type": "tmpfs", "device": "tmpfs", "o": options}}
    labels = {OWNER: identity.owner, PLUGIN: workload.name}
    volume = {"NoCopy": True, "DriverConfig": driver, "Labels": labels}
    return {"Type": "volume", "Target": SOCKET_DIR, "ReadOnly": False, "VolumeOptions": volume}


def _read_only_mounts(workload: Workload, identity: Identity) -> list[dict[str, Any]]:
    binds = {
        CODE_DIR: workload.code,
        SITE_DIR: workload.site,
        SECRETS_DIR: identity.secrets_dir,
        CALLS_DIR: identity.calls_dir,
    }
    return [_bind(source, target) for target, source in binds.items() if source is not None]


def _bind(source: Path | str, target: str) -> dict[str, Any]:
    options = {"Propagation": "rprivate", "NonRecursive": True}
    return {"Type": "bind", "Source": str(source), "Target": target, "ReadOnly": True, "BindOptions": options}


def _labels(workload: Workload, identity: Identity) -> dict[str, str]:
    return {
        OWNER: identity.owner,
        PLUGIN: workload.name,
        REVISION: workload.revision,
        GENERATION: str(workload.generation),
        SCHEMA_LABEL: SCHEMA,
        UID: str(identity.uid),
        **_listens(workload),
    }


def _listens(workload: Workload) -> dict[str, str]:
    source = workload.manifest.spec.source
    place = source.socket or source.tcp_port
    return {LISTENS: str(place)} if place else {}
