"""What the doctor makes of the facts, and one look at the real machine."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from controller.cli import app
from controller.cli.exits import Exit
from controller.cli.facts import ControllerFacts, EngineFacts, Facts, HostFacts, SpaceFacts
from controller.cli.findings import host_findings, runc_holes
from sandbox_image.tag import image_tag
from tests.support import write_plugin

INFO = {
    "SecurityOptions": ["name=seccomp,profile=default", "name=userns"],
    "CgroupVersion": "2",
    "MemoryLimit": True,
    "PidsLimit": True,
    "CpuCfsQuota": True,
    "SwapLimit": True,
    "LiveRestoreEnabled": True,
    "Driver": "overlay2",
}
VERSION = {
    "Version": "29.0.1",
    "ApiVersion": "1.52",
    "Components": [{"Name": "runc", "Version": "1.3.4", "Details": {"GitCommit": "v1.3.4-0-gd6d73eb8"}}],
}
HOST = HostFacts(
    root=True,
    cgroups=frozenset({"memory", "pids"}),
    spaces=(SpaceFacts("state-dir", "/var/lib/xcore", 2**40, 10**6),),
    plugins_dir="plugins",
    plugins=2,
)
URL = "http://127.0.0.1:8000"
WELL = Facts(
    runtime="docker",
    sandbox_image="xcore/sandbox:1",
    engine=EngineFacts(info=INFO, version=VERSION, image=True, trial=""),
    host=HOST,
    controller=ControllerFacts(URL, ready=(200, '{"status": "ok", "degraded": []}')),
)


def judged(facts, check):
    return next((finding for finding in host_findings(facts) if finding.check == check), None)


def with_info(runtime="docker", **info):
    return replace(WELL, runtime=runtime, engine=replace(WELL.engine, info={**INFO, **info}))


def test_a_good_host():
    """Where all is well every check says so, for each runtime."""
    for runtime in ("docker", "auto", "process"):
        assert {"ok"} == {finding.level for finding in host_findings(replace(WELL, runtime=runtime))}


def test_every_complaint_says_what_to_do():
    """No check fails without advice."""
    bad = Facts(
        runtime="auto",
        sandbox_image="x",
        engine=EngineFacts(info={"Driver": "vfs"}, version={"ApiVersion": "1.24"}, image=False, trial="no"),
        host=HostFacts(root=True, closed=("/root",), spaces=(SpaceFacts("s", "/s", 0, 0),)),
        controller=ControllerFacts(URL),
        settings_error="XCORE_PORT: must be a number",
    )
    findings = [finding for finding in host_findings(bad) if finding.level != "ok"]
    assert len(findings) >= 12
    assert [finding for finding in findings if not finding.advice] == []


@pytest.mark.parametrize(("runtime", "level"), [("docker", "fail"), ("auto", "warn")])
def test_engine_that_is_away(runtime, level):
    """An engine that is away is a failure where it is demanded, else a warning, and nothing else is said of it."""
    away = replace(WELL, runtime=runtime, engine=EngineFacts(error="No such file"))
    assert judged(away, "engine").level == level
    assert judged(away, "seccomp") is None


def test_process_runtime_needs_no_engine():
    """Where the settings say process, nothing is said about Docker."""
    facts = replace(WELL, runtime="process", engine=EngineFacts(error="No such file"))
    assert judged(facts, "engine") is None


@pytest.mark.parametrize(
    ("check", "info", "level"),
    [
        ("seccomp", {"SecurityOptions": None}, "fail"),
        ("limits", {"PidsLimit": False}, "fail"),
        ("limits", {"SwapLimit": False, "CgroupVersion": "1"}, "warn"),
        ("cgroup-version", {"CgroupVersion": "1"}, "warn"),
        ("live-restore", {"LiveRestoreEnabled": False}, "warn"),
        ("storage-driver", {"Driver": "vfs"}, "warn"),
        ("userns", {"SecurityOptions": ["name=seccomp"]}, "ok"),
    ],
)
def test_what_the_engine_lacks(check, info, level):
    """What isolation rests on is a failure when it is missing; what makes it better is a warning."""
    assert judged(with_info(**info), check).level == level


def test_old_engine():
    """An engine too old for the fields a sandbox needs is refused."""
    old = replace(WELL, engine=replace(WELL.engine, version={"Version": "19.03", "ApiVersion": "1.40"}))
    assert judged(old, "engine").level == "fail"


@pytest.mark.parametrize(
    ("version", "holes"),
    [
        ("1.1.5+ds1", 4),
        ("1.1.11", 4),
        ("1.1.12", 3),
        ("1.2.7", 3),
        ("1.2.8", 0),
        ("1.3.0", 3),
        ("1.3.2", 3),
        ("1.3.3", 0),
        ("1.4.0-rc.2", 3),
        ("1.4.0-rc.3", 0),
        ("1.4.0", 0),
        ("1.5.1", 0),
        ("unknown", 0),
    ],
)
def test_holes_of_runc(version, holes):
    """Versions of runc with known ways out of a container are named, line by line of its releases."""
    assert len(runc_holes(version)) == holes


def test_old_runc_is_a_warning():
    """An old runc is a warning that names its whole version: a distribution may have mended it."""
    component = {"Name": "runc", "Version": "1.1.5+ds1", "Details": {"GitCommit": "1.1.5+ds1-1+deb12u1"}}
    found = judged(
        replace(WELL, engine=replace(WELL.engine, version={**VERSION, "Components": [component]})), "runc"
    )
    assert found.level == "warn"
    assert "1.1.5+ds1-1+deb12u1" in found.message
    assert "CVE-2024-21626" in found.message


def test_image_and_trial():
    """A missing image, and a sandbox that cannot be reached, are failures with the reason."""
    assert judged(replace(WELL, engine=replace(WELL.engine, image=False)), "sandbox-image").level == "fail"
    found = judged(replace(WELL, engine=replace(WELL.engine, trial="no answer within 20 s")), "trial")
    assert (found.level, found.message) == ("fail", "no answer within 20 s")


@pytest.mark.parametrize(
    ("room", "files", "level"),
    [(2**31, None, "ok"), (2**29, None, "warn"), (2**20, None, "fail"), (2**31, 10, "fail")],
)
def test_space(room, files, level):
    """Little room is a warning, almost none a failure, and so are too few free files."""
    spaces = (SpaceFacts("state-dir", "/s", room, files),)
    assert judged(replace(WELL, host=replace(HOST, spaces=spaces)), "space-state-dir").level == level


@pytest.mark.parametrize(("runtime", "level"), [("process", "fail"), ("auto", "warn")])
def test_python_nobody_else_can_read(runtime, level):
    """Python in a private directory stops the process runtime of root, and the directory is named."""
    found = judged(replace(WELL, runtime=runtime, host=replace(HOST, closed=("/root",))), "python")
    assert found.level == level
    assert "/root" in found.message


def test_cgroups_that_cannot_be_written():
    """Without control groups the process runtime bounds less, and the doctor says what."""
    found = judged(
        replace(WELL, runtime="process", host=replace(HOST, cgroups=frozenset({"cpu"}))), "cgroups"
    )
    assert found.level == "warn"
    assert "memory and pids" in found.message


def test_plugins_directory():
    """A plugins directory that cannot be read is a failure, an empty one a warning."""
    assert judged(replace(WELL, host=replace(HOST, plugins_error="gone")), "plugins-dir").level == "fail"
    assert judged(replace(WELL, host=replace(HOST, plugins=0)), "plugins-dir").level == "warn"


def test_images_of_plugins():
    """One that the engine lacks is named, and no failure: it is pulled. Where no plugin names any, nothing is said."""
    images = {"team/here:1": True, "team/away:2": False}
    found = judged(replace(WELL, engine=replace(WELL.engine, images=images)), "plugin-images")
    assert (found.level, found.message.rpartition(": ")[2]) == ("warn", "team/away:2")
    assert "docker load" in found.advice
    images["team/away:2"] = True
    assert judged(replace(WELL, engine=replace(WELL.engine, images=images)), "plugin-images").level == "ok"
    assert judged(WELL, "plugin-images") is None


@pytest.mark.docker
def test_a_missing_image_of_a_plugin_on_this_machine(monkeypatch, open_dir):
    """Asked of the engine itself; a manifest that cannot be read stands in nobody's way."""
    monkeypatch.setenv("XCORE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("XCORE_STATE_DIR", str(open_dir))
    monkeypatch.setenv("XCORE_PLUGINS_DIR", str(open_dir))
    away = "xcore-test.invalid:5000/team/away:1"
    write_plugin(open_dir / "away", entrypoint=None, source={"image": away})
    write_plugin(open_dir / "here", entrypoint=None, source={"image": image_tag()})
    write_plugin(open_dir / "broken", replica=2)
    told = json.loads(CliRunner().invoke(app, ["doctor", "-o", "json"]).stdout)["findings"]
    (found,) = [finding for finding in told if finding["check"] == "plugin-images"]
    assert (found["level"], found["message"].rpartition("have: ")[2]) == ("warn", away)


@pytest.mark.docker
def test_on_this_machine(monkeypatch, open_dir):
    """On a machine with Docker a trial sandbox answers, nothing of it stays, and programs get every finding."""
    monkeypatch.setenv("XCORE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("XCORE_STATE_DIR", str(open_dir))
    monkeypatch.setenv("XCORE_PLUGINS_DIR", str(open_dir))
    command = [sys.executable, "-c", "from controller.cli import main; main()", "doctor", "-o", "json"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    found = {finding["check"]: finding for finding in json.loads(result.stdout)["findings"]}
    assert {"engine", "trial", "runc", "python", "cgroups", "space-state-dir", "controller"} <= found.keys()
    assert found["trial"]["level"] == "ok", found["trial"]
    assert result.returncode == Exit.DONE, result.stdout
    assert list(open_dir.iterdir()) == []


def test_without_an_engine(monkeypatch, tmp_path):
    """Without an engine or controller the doctor still looks, and fails where Docker is demanded."""
    monkeypatch.setenv("XCORE_DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    monkeypatch.setenv("XCORE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("XCORE_RUNTIME", "docker")
    monkeypatch.setenv("XCORE_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("XCORE_PLUGINS_DIR", str(tmp_path))
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == Exit.FAILED
    assert "no Docker engine answers" in result.stdout
    assert "trial" not in result.stdout
