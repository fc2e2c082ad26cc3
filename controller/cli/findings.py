"""What the doctor makes of the facts. Pure: nothing here looks at the world.

A check is a function of the facts that gives a finding, or None where it does not apply. What breaks Docker is a
failure where the settings name Docker outright, and a warning where they would take the process runtime instead.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from controller.cli.facts import Facts, SpaceFacts
from controller.finding import Finding, Level

OLDEST_API = (1, 41)
LITTLE_SPACE, TOO_LITTLE_SPACE = 2**30, 100 * 2**20
TOO_FEW_INODES = 1_000
_STORAGE = frozenset({"overlay2", "overlayfs", "btrfs", "zfs", "stargz", "fuse-overlayfs"})


def host_findings(facts: Facts) -> Iterator[Finding]:
    """Judge the host, with or without a controller on it; in a pod little of it counts."""
    for check in _CHECKS if facts.cluster is None else (_settings,):
        finding = check(facts)
        if finding is not None:
            yield finding
    for space in facts.host.spaces:
        yield _space(space)


def _settings(facts: Facts) -> Finding:
    if facts.settings_error:
        advice = "mend it; the other checks are made with the defaults"
        return Finding("settings", "fail", facts.settings_error, advice)
    return Finding("settings", "ok", f"the settings are valid; sandboxes run by: {facts.runtime}")


def _docker_level(facts: Facts) -> Level:
    return "fail" if facts.runtime == "docker" else "warn"


def _info(facts: Facts) -> Mapping[str, Any] | None:
    """What the engine says, where it is used and says something."""
    return None if facts.runtime == "process" or facts.engine.error else facts.engine.info


def _engine(facts: Facts) -> Finding | None:
    if facts.runtime == "process":
        return None
    if facts.engine.error:
        advice = "install and start Docker Engine; as a user other than root, be a member of its group"
        message = f"no Docker engine answers: {facts.engine.error}"
        return Finding("engine", _docker_level(facts), message, advice)
    version = facts.engine.version
    message = f"Docker Engine {version.get('Version')}, API {version.get('ApiVersion')}"
    if _numbers(str(version.get("ApiVersion", ""))) < OLDEST_API:
        advice = "update to Docker Engine 20.10 or newer"
        return Finding("engine", _docker_level(facts), f"{message} is too old", advice)
    return Finding("engine", "ok", f"{message} answers")


def _seccomp(facts: Facts) -> Finding | None:
    info = _info(facts)
    if info is None:
        return None
    if any("seccomp" in option for option in info.get("SecurityOptions") or ()):
        return Finding("seccomp", "ok", "the engine filters system calls")
    advice = "use a kernel and an engine with seccomp; nothing can be isolated without"
    return Finding("seccomp", _docker_level(facts), "the engine has no seccomp", advice)


def _userns(facts: Facts) -> Finding | None:
    info = _info(facts)
    if info is None:
        return None
    if any("userns" in option or "rootless" in option for option in info.get("SecurityOptions") or ()):
        return Finding("userns", "ok", "containers have a user namespace of their own")
    message = (
        "containers share the host's user namespace; sandboxes have a uid of their own and no capabilities"
    )
    return Finding("userns", "ok", message, "userns-remap in /etc/docker/daemon.json is one more wall")


def _cgroup_version(facts: Facts) -> Finding | None:
    info = _info(facts)
    if info is None:
        return None
    if str(info.get("CgroupVersion", "1")) == "2":
        return Finding("cgroup-version", "ok", "control groups are version 2")
    advice = "boot with systemd.unified_cgroup_hierarchy=1"
    return Finding("cgroup-version", "warn", "control groups are version 1, which few still maintain", advice)


def _limits(facts: Facts) -> Finding | None:
    info = _info(facts)
    if info is None:
        return None
    wanted = {"MemoryLimit": "memory", "PidsLimit": "pids", "CpuCfsQuota": "cpu"}
    missing = [name for key, name in wanted.items() if not info.get(key)]
    if missing:
        message = f"the engine cannot limit {', '.join(missing)}"
        advice = "enable these control groups in the kernel"
        return Finding("limits", _docker_level(facts), message, advice)
    if not info.get("SwapLimit") and str(info.get("CgroupVersion")) != "2":
        advice = "boot with swapaccount=1, or without swap"
        return Finding("limits", "warn", "the engine cannot limit swap", advice)
    return Finding("limits", "ok", "the engine limits memory, pids and cpu")


def _live_restore(facts: Facts) -> Finding | None:
    info = _info(facts)
    if info is None:
        return None
    if info.get("LiveRestoreEnabled"):
        return Finding("live-restore", "ok", "sandboxes outlive a restart of the engine")
    advice = 'put "live-restore": true into /etc/docker/daemon.json'
    return Finding("live-restore", "warn", "a restart of the engine ends every sandbox", advice)


def _storage(facts: Facts) -> Finding | None:
    info = _info(facts)
    if info is None:
        return None
    driver = str(info.get("Driver", "unknown"))
    if driver in _STORAGE:
        return Finding("storage-driver", "ok", f"the storage driver is {driver}")
    message = f"the storage driver is {driver}, which is slow or copies every layer"
    return Finding("storage-driver", "warn", message, "use overlay2")


def _runc(facts: Facts) -> Finding | None:
    components = facts.engine.version.get("Components") or ()
    runc = next((c for c in components if c.get("Name") == "runc"), None)
    if _info(facts) is None or runc is None:
        return None
    full = (runc.get("Details") or {}).get("GitCommit") or runc.get("Version")
    holes = runc_holes(str(runc.get("Version", "")))
    if not holes:
        return Finding("runc", "ok", f"runc {full}")
    message = f"runc {full} is of a version with {', '.join(holes)}, unless its distribution mended it"
    return Finding("runc", "warn", message, "update runc to 1.2.8, 1.3.3 or newer")


def runc_holes(version: str) -> list[str]:
    """The known ways out of a container that this upstream version of runc has."""
    number = _numbers(version)
    if not number:
        return []
    holes = ["CVE-2024-21626"] if number < (1, 1, 12) else []
    early = number[:3] == (1, 4, 0) and re.search(r"rc[.-]?[12](\D|$)", version) is not None
    if number < (1, 2, 8) or (1, 3) <= number < (1, 3, 3) or early:
        holes += ["CVE-2025-31133", "CVE-2025-52565", "CVE-2025-52881"]
    return holes


def _image(facts: Facts) -> Finding | None:
    if _info(facts) is None or facts.engine.image is None:
        return None
    if facts.engine.image:
        return Finding("sandbox-image", "ok", f"the engine has {facts.sandbox_image}")
    message = f"the engine does not have {facts.sandbox_image}"
    return Finding("sandbox-image", _docker_level(facts), message, "`make image` builds it")


def _plugin_images(facts: Facts) -> Finding | None:
    if not facts.engine.images:
        return None
    missing = [name for name, there in facts.engine.images.items() if not there]
    if not missing:
        return Finding("plugin-images", "ok", "the engine has every image that a plugin folder names")
    message = f"plugin folders name images the engine does not have: {', '.join(missing)}"
    advice = "they are pulled when their plugins start; where no registry has them: `docker load`"
    return Finding("plugin-images", "warn", message, advice)


def _trial(facts: Facts) -> Finding | None:
    if _info(facts) is None or facts.engine.trial is None:
        return None
    if not facts.engine.trial:
        return Finding("trial", "ok", "a trial sandbox was started and answered on its socket")
    advice = "engine and controller must see the same directories; docs/troubleshooting.md goes on from here"
    return Finding("trial", _docker_level(facts), facts.engine.trial, advice)


def _python(facts: Facts) -> Finding | None:
    if not facts.host.root or facts.runtime == "docker":
        return None
    if not facts.host.closed:
        return Finding("python", "ok", "the users of the process runtime can read Python and xcore")
    message = f"the users of the process runtime cannot read: {', '.join(facts.host.closed)}"
    advice = "install outside private directories, or open them (chmod o+x)"
    return Finding("python", "fail" if facts.runtime == "process" else "warn", message, advice)


def _cgroups(facts: Facts) -> Finding | None:
    if facts.runtime == "docker":
        return None
    missing = sorted({"memory", "pids"} - facts.host.cgroups)
    if not missing:
        return Finding("cgroups", "ok", "the process runtime can limit memory and pids")
    message = f"the process runtime cannot write control groups for {' and '.join(missing)}: rlimits alone bound a plugin"
    return Finding("cgroups", "warn", message, "run as root, or use Docker")


def _plugins_dir(facts: Facts) -> Finding:
    host = facts.host
    if host.plugins_error:
        message = f"the plugins directory {host.plugins_dir} cannot be read: {host.plugins_error}"
        return Finding("plugins-dir", "fail", message, "make it, or set XCORE_PLUGINS_DIR")
    if not host.plugins:
        message = f"no folder in {host.plugins_dir} is a plugin"
        return Finding("plugins-dir", "warn", message, "put a plugin there, or set XCORE_PLUGINS_DIR")
    return Finding("plugins-dir", "ok", f"plugin folders in {host.plugins_dir}: {host.plugins}")


def _space(space: SpaceFacts) -> Finding:
    check = f"space-{space.what}"
    message = f"{space.path} has room for {space.free_bytes // 2**20} MiB"
    advice = "make room there"
    if space.free_inodes is not None and space.free_inodes < TOO_FEW_INODES:
        return Finding(check, "fail", f"{space.path} has room for {space.free_inodes} files", advice)
    if space.free_bytes < TOO_LITTLE_SPACE:
        return Finding(check, "fail", message, advice)
    if space.free_bytes < LITTLE_SPACE:
        return Finding(check, "warn", message, advice)
    return Finding(check, "ok", message)


def _numbers(version: str) -> tuple[int, ...]:
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


_CHECKS: tuple[Callable[[Facts], Finding | None], ...] = (
    *(_settings, _engine, _seccomp, _limits, _cgroup_version, _runc, _userns, _live_restore, _storage),
    *(_image, _plugin_images, _trial, _python, _cgroups, _plugins_dir),
)
