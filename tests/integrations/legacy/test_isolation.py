"""An old plugin is never less isolated than a new one: the same envelope, the same pod, but for what the runner is told."""

import json
from copy import deepcopy
from pathlib import Path

import pytest

from integrations.legacy.folders import LegacyFolders
from tests.xcore.test_envelope import GOLDEN, IDENTITY
from xcore.manifest import from_dict
from xcore.runtimes.envelope import create_body
from xcore.runtimes.kubernetes.pod import Given, pod_spec
from xcore.workload import Workload

EXAMPLES = Path(__file__).parents[3] / "examples" / "legacy"
CODE = Path("/var/lib/xcore/snapshots") / ("c" * 64)


def workloads(name):
    """The old plugin, and one of today that says the same without `spec.legacy`; both by the name of the golden one."""
    old = LegacyFolders().manifest(EXAMPLES / name).to_dict() | {"metadata": {"name": "hello"}}
    new = old | {"spec": {key: value for key, value in old["spec"].items() if key != "legacy"}}
    return [Workload(from_dict(one), "r" * 64, 7, CODE) for one in (old, new)]


def untold(body):
    """The body without what the runner is told of the plugin."""
    body = deepcopy(body)
    environments = [body.get("Env", [])] + [container["env"] for container in body.get("containers", ())]
    for environment in environments:
        environment[:] = [one for one in environment if "PLUGIN_SPEC" not in json.dumps(one)]
    return body


@pytest.mark.parametrize("name", ["temperature", "guestbook"])
def test_a_container_of_an_old_plugin_is_that_of_a_new_one(name):
    """Every option of it; and the options are those of the envelope that is written down."""
    old, new = (create_body(workload, IDENTITY) for workload in workloads(name))
    assert old != new
    assert untold(old) == untold(new)
    assert old.keys() == GOLDEN.keys()
    fixed = GOLDEN["HostConfig"].keys() - {"Memory", "MemorySwap", "MemoryReservation"}
    assert {key: old["HostConfig"][key] for key in fixed} == {key: GOLDEN["HostConfig"][key] for key in fixed}


@pytest.mark.parametrize("name", ["temperature", "guestbook"])
def test_a_pod_of_an_old_plugin_is_that_of_a_new_one(name):
    """Every field of it."""
    old, new = (pod_spec(workload, Given("i", "c")) for workload in workloads(name))
    assert old != new
    assert untold(old) == untold(new)
