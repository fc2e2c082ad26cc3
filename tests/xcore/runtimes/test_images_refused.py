"""Where images cannot be run, or not be reached, the field is named and so is the way that is left."""

import pytest

from tests.support import manifest
from xcore.errors import NotSupported
from xcore.runtimes.docker import DockerEngine
from xcore.runtimes.inprocess import InProcessEngine
from xcore.runtimes.process import ProcessEngine

IMAGE = {"source": {"image": "team/web:1"}, "entrypoint": None}
SOCKET = {"source": {"image": "team/web:1", "socket": "/run/plugin/a.sock"}, "entrypoint": None}


def refused(engine, **spec):
    return [(problem.field, problem.message) for problem in engine.check(manifest(**spec))]


def docker(tmp_path, *, may_visit=True):
    engine = DockerEngine(owner="o", image="i", seccomp="{}", state_dir=tmp_path)
    engine._may_visit, engine._runtimes = may_visit, frozenset({"runsc"})  # what `open` finds out
    return engine


async def test_a_child_process_has_no_image(tmp_path):
    engine = ProcessEngine(state_dir=tmp_path)
    assert refused(engine, **IMAGE) == [
        ("spec.source.image", "needs the docker runtime: a child process has no image")
    ]
    with pytest.raises(NotSupported):
        await engine.pin("team/web:1", lambda _: None)


async def test_a_trusted_plugin_has_no_image():
    engine = InProcessEngine()
    ((field, message),) = refused(engine, isolation="Trusted", **IMAGE)
    assert (field, "an image is Sandboxed" in message) == ("spec.source.image", True)
    with pytest.raises(NotSupported):
        await engine.pin("team/web:1", lambda _: None)


@pytest.mark.parametrize(
    ("may_visit", "spec", "why"),
    [
        (False, {}, "by a controller without CAP_SYS_ADMIN"),
        (True, {"runtimeClass": "runsc"}, "under a runtimeClass"),
    ],
)
async def test_a_port_that_cannot_be_dialled_is_refused_with_the_way_that_is_left(
    tmp_path, may_visit, spec, why
):
    engine = docker(tmp_path, may_visit=may_visit)
    ((field, message),) = refused(engine, **IMAGE, **spec)
    assert field == "spec.source.port"
    assert why in message
    assert "name it in spec.source.socket" in message
    assert refused(engine, **SOCKET, **spec) == []
    assert refused(engine, **spec) == [], "code of a folder is reached through its socket anyway"


async def test_a_port_is_fine_where_its_network_can_be_entered(tmp_path):
    assert refused(docker(tmp_path), **IMAGE) == []
