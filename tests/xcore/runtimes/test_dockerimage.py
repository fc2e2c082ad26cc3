"""What an image declares of itself that cannot be honoured is named; everything else is run."""

import pytest

from xcore.errors import ImagePull, NotSupported
from xcore.runtimes.dockerimage import check_image, pull, volumes_of


def image(**config):
    return {"Id": "sha256:1", "Config": {"Cmd": ["serve"], **config}}


@pytest.mark.parametrize(
    "config",
    [
        {},
        {
            "Cmd": None,
            "Entrypoint": ["serve"],
            "WorkingDir": "/srv/app",
            "User": "root",
            "ExposedPorts": {"1/tcp": {}},
        },
        {"WorkingDir": "", "Volumes": None, "Env": ["LD_PRELOAD=/own.so"]},
        {"Volumes": {"/data": {}, "/processed": {}, "/var/lib/app": {}}},
    ],
)
def test_an_ordinary_image_is_accepted_by_its_id(config):
    assert check_image(image(**config)) == "sha256:1"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"WorkingDir": "/proc/self/fd/8"}, "its WORKDIR must lie outside /proc, /sys and /dev"),
        ({"WorkingDir": "/srv/../proc"}, "its WORKDIR must lie outside"),
        ({"WorkingDir": "srv"}, "its WORKDIR must lie outside"),
        ({"Cmd": None}, "must have an ENTRYPOINT or CMD"),
        ({"Volumes": {f"/data{n}": {} for n in range(9)}}, "may declare at most 8 volumes, and has 9"),
        ({"Volumes": {"/": {}}}, "its VOLUME must be a directory of its own"),
        ({"Volumes": {"/proc/sys": {}}}, "its VOLUME must be a directory of its own"),
        ({"Volumes": {"data": {}}}, "its VOLUME must be a directory of its own"),
    ],
)
def test_what_cannot_be_run_is_named_with_its_field(config, message):
    with pytest.raises(NotSupported) as caught:
        check_image(image(**config))
    (problem,) = caught.value.problems
    assert problem.field == "spec.source.image"
    assert message in problem.message


def test_its_volumes_are_those_it_declares():
    assert volumes_of(image(Volumes={"/b": {}, "/a": {}})) == ("/a", "/b")
    assert volumes_of({"Id": "sha256:1", "Config": None}) == ()


class Registry:
    """Stands for the engine's client: its events of a pull."""

    def __init__(self, *events):
        self.events = events

    def __call__(self):
        return self

    def pull(self, reference, *, stream, decode):
        assert (reference, stream, decode) == ("team/web:1", True, True)
        return iter(self.events)


async def test_a_pull_tells_how_many_layers_are_here():
    said = []
    layers = [{"id": layer, "status": "Pulling fs layer"} for layer in "ab"]
    done = [
        {"id": "a", "status": "Pull complete"},
        {"id": "b", "status": "Already exists"},
        {"status": "Digest: x"},
    ]
    noise = {"id": "a", "status": "Downloading", "progressDetail": {"current": 1, "total": 2}}
    await pull(Registry(*layers, noise, *done), "team/web:1", said.append)
    assert said[0] == "pulling team/web:1"
    assert said[-1] == "pulling team/web:1: 2 of 2 layers"
    assert len(said) == 5


async def test_a_pull_that_fails_gives_the_registrys_last_word():
    with pytest.raises(ImagePull, match="team/web:1 cannot be pulled: manifest unknown"):
        await pull(
            Registry({"status": "Pulling"}, {"error": "manifest unknown"}), "team/web:1", lambda _: None
        )
