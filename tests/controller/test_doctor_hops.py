"""Which hop the doctor says a request is held up at."""

import pytest

from controller.cli.facts import ControllerFacts, EngineFacts, Facts, HostFacts
from controller.cli.hops import hop_findings


def resource(runtime="docker", **conditions):
    listed = [
        {"type": kind, "status": status, "reason": reason, "message": "because"}
        for kind, (status, reason) in conditions.items()
    ]
    return {"metadata": {"name": "hello"}, "status": {"runtime": runtime, "conditions": listed}}


def hops(name="hello", **controller):
    return [(finding.check, finding.level) for finding in found(name, **controller)]


def found(name="hello", **controller):
    ready = {"ready": (200, '{"status": "ok", "degraded": []}')}
    there = ControllerFacts("http://127.0.0.1:8000", **(ready | controller))
    facts = Facts("docker", "xcore/sandbox:1", EngineFacts(), HostFacts(root=True), there, name)
    return list(hop_findings(facts))


GOOD = {"Accepted": ("True", "Accepted"), "Programmed": ("True", "Programmed"), "Ready": ("True", "Ready")}


def test_no_controller():
    """No controller is a warning, unless a plugin was asked about."""
    assert hops(name="", error="cannot be reached") == [("controller", "warn")]
    assert hops(error="cannot be reached") == [("controller", "fail")]


def test_a_name_that_nobody_knows_is_told_as_that():
    """Not as a controller that is down: nobody was asked yet."""
    assert hops(name="", error="cannot be reached", unknown="xcore.nowhere.svc") == [("dns", "fail")]


def test_a_controller_that_would_tell_more_to_others():
    assert hops(name="", problem="Unauthenticated: a key is needed") == [
        ("controller", "ok"),
        ("api", "warn"),
    ]


@pytest.mark.parametrize(("runtime", "advice"), [("docker", "docker pull"), ("kubernetes", "onto the nodes")])
def test_what_to_do_is_what_can_be_done_there(runtime, advice):
    """Nobody pulls an image on a node by `docker pull`."""
    held = resource(runtime, **{**GOOD, "ImageVerified": ("False", "ImagePull")})
    assert advice in found(plugin=held)[-1].advice


@pytest.mark.parametrize(
    ("ready", "level"),
    [
        ((200, '{"status": "ok", "degraded": []}'), "ok"),
        ((200, '{"status": "degraded", "degraded": ["runtime: away"]}'), "warn"),
        ((503, '{"status": "draining"}'), "fail"),
        ((502, "<html>"), "fail"),
    ],
)
def test_controller_that_answers(ready, level):
    """A controller is ready, degraded or not ready, as /readyz says."""
    assert hops(name="", ready=ready) == [("controller", level)]


def test_plugin_that_nobody_knows():
    """What the API refuses ends the way."""
    assert hops(problem="PluginNotFound: there is no plugin") == [("controller", "ok"), ("api", "fail")]


@pytest.mark.parametrize(
    ("conditions", "hop", "level"),
    [
        ({"Accepted": ("False", "InvalidSpec"), "Ready": ("False", "InvalidSpec")}, "manifest", "fail"),
        ({**GOOD, "ImageVerified": ("False", "ImagePull"), "Ready": ("False", "ImagePull")}, "image", "fail"),
        (
            {
                **GOOD,
                "Programmed": ("Unknown", "RuntimeUnavailable"),
                "Ready": ("Unknown", "RuntimeUnavailable"),
            },
            "runtime",
            "fail",
        ),
        ({**GOOD, "Ready": ("False", "CrashLooping")}, "plugin", "fail"),
        ({**GOOD, "Ready": ("False", "Suspended")}, "plugin", "warn"),
        ({}, "plugin", "fail"),
    ],
)
def test_first_hop_that_fails(conditions, hop, level):
    """The doctor names the first hop that fails, and no other that only follows from it."""
    assert hops(plugin=resource(**conditions)) == [("controller", "ok"), (hop, level)]


@pytest.mark.parametrize(
    ("answer", "level"),
    [
        ((200, "{}"), "ok"),
        ((404, ""), "ok"),
        ((401, '{"reason": "Unauthenticated", "component": "client"}'), "fail"),
        ((502, '{"reason": "UpstreamUnreachable", "component": "plugin"}'), "fail"),
        ((503, "<html>"), "fail"),
    ],
)
def test_request_through_the_data_plane(answer, level):
    """A plugin that is Ready is also asked, the way a client does it."""
    found = hops(plugin=resource(**GOOD), request=answer)
    assert found == [("controller", "ok"), ("plugin", "ok"), ("request", level)]


def test_what_is_beside_the_way():
    """A network that is not cut off and an update that was rolled back are told, though requests are served."""
    conditions = {
        **GOOD,
        "NetworkIsolated": ("False", "NotEnforced"),
        "Progressing": ("False", "RolledBack"),
    }
    assert hops(plugin=resource(**conditions))[2:] == [("network", "warn"), ("revision", "warn")]


def test_rolling_out_is_no_failure():
    """An update that is still under way is not called an old revision."""
    conditions = {**GOOD, "Progressing": ("Unknown", "RollingOut")}
    assert hops(plugin=resource(**conditions)) == [("controller", "ok"), ("plugin", "ok")]
