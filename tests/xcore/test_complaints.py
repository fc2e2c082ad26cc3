"""An author is told what is wrong, where, and what is allowed there."""

import pytest

from xcore.errors import InvalidManifest
from xcore.manifest import API_VERSION, from_dict, parse

HELLO = b"""\
apiVersion: xcore.dev/v1alpha1
kind: Plugin
metadata: {name: hello}
spec:
  version: 1.0.0
  entrypoint: main:Hello
"""


def document(name="hello", **spec):
    return {
        "apiVersion": API_VERSION,
        "kind": "Plugin",
        "metadata": {"name": name},
        "spec": {"entrypoint": "main:Hello", **spec},
    }


def told(data):
    """What the author of `data` is told: the message for each field."""
    with pytest.raises(InvalidManifest) as caught:
        from_dict(data)
    return {problem.field: problem.message for problem in caught.value.problems}


def refused(**spec):
    return told(document(**spec))


def test_an_error_names_the_file_the_line_the_field_and_what_is_allowed():
    text = (
        HELLO
        + b"  resources:\n    cpu: 1\n    memory: 5\n  restart:\n    policy: Sometimes\n  replicas: '1'\n"
    )
    with pytest.raises(InvalidManifest) as caught:
        parse(text, name="plugin.yaml")
    assert str(caught.value).split("; ") == [
        "plugin.yaml is not a valid Plugin",
        "spec.resources.memory: line 9: must be a Kubernetes quantity of whole bytes from 16Mi to 64Gi, got 5",
        "spec.restart.policy: line 11: must be 'Always', 'OnFailure' or 'Never', got \"Sometimes\"",
        'spec.replicas: line 12: must be a whole number, got "1"',
    ]


def test_a_missing_field_is_told_with_the_line_of_what_it_is_missing_from():
    with pytest.raises(InvalidManifest) as caught:
        parse(HELLO + b"  actions:\n    - {access: Key}\n", name="plugin.yaml")
    assert list(map(str, caught.value.problems)) == ["spec.actions[0].name: line 8: is required"]


@pytest.mark.parametrize(
    ("spec", "field", "says"),
    [
        ({"runtimeclass": "gvisor"}, "spec.runtimeclass", "did you mean runtimeClass?"),
        ({"restart": {"max_restarts": 1}}, "spec.restart.max_restarts", "did you mean maxRestarts?"),
        ({"actions": [{"name": "a", "timeout": {}}]}, "spec.actions[0].timeout", "did you mean timeouts?"),
        ({"privileged": True}, "spec.privileged", "there are actions, calls, config"),
        ({"resources": {"gpu": 1}}, "spec.resources.gpu", "did you mean cpu?"),
    ],
)
def test_an_unknown_field_is_refused_with_the_name_that_was_meant(spec, field, says):
    assert says in refused(**spec)[field]


def test_twenty_problems_are_told_and_the_others_counted():
    problems = refused(**{f"field{n}": n for n in range(30)})
    assert len(problems) == 21
    assert problems[""] == "and 10 more"


def test_long_or_private_text_is_not_repeated():
    long = refused(**{"x" * 100_000: 1, "version": "y " * 30, "env": [{"name": "A", "value": "hunter2\0"}]})
    assert max(len(field) + len(message) for field, message in long.items()) < 500
    assert "hunter2" not in str(long)
    assert "…" in refused(version="y " * 31)["spec.version"]
