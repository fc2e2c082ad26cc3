"""Settings: the environment over the file over the defaults, and every mistake named in one line."""

from pathlib import Path

import pytest

from controller.settings import InvalidSettings, Settings, connection, load, variables
from controller.values import is_loopback
from sandbox_image.tag import image_tag
from xcore.errors import Problem

KEY = "k" * 32


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    for name in [*variables(), "XCORE_URL", "XCORE_KEY", "XCORE_CONFIG", "XDG_STATE_HOME"]:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "xcore.yaml"
        path.write_text(text)
        return path

    return write


def problems(config=None):
    with pytest.raises(InvalidSettings) as caught:
        load(config)
    return [str(problem) for problem in caught.value.problems]


def test_defaults():
    """Without any setting a controller listens on loopback, wants a key and keeps its sandboxes."""
    settings = load()
    assert (settings.host, settings.port, settings.runtime) == ("127.0.0.1", 8000, "auto")
    assert (
        settings.auth,
        settings.on_exit,
        settings.log_format,
        settings.log_level,
    ) == ("key", "keep", "text", "info")
    assert image_tag() == settings.sandbox_image
    assert (settings.admin_key, settings.trusted) == (None, ())


def test_environment_wins_over_the_file(file, monkeypatch):
    """A variable wins over the file, and the file over the default."""
    monkeypatch.setenv("XCORE_PORT", "9001")
    settings = load(file("port: 9000\nlog_format: json\n"))
    assert (settings.port, settings.log_format) == (9001, "json")


def test_config_variable_names_the_file(file, monkeypatch):
    """XCORE_CONFIG names the file where no argument does."""
    monkeypatch.setenv("XCORE_CONFIG", str(file("port: 9000")))
    assert load().port == 9000


def test_made_alone_settings_read_nothing(monkeypatch):
    """`Settings(...)` is what its arguments say, whatever the environment holds."""
    monkeypatch.setenv("XCORE_PORT", "9001")
    assert Settings(host="::1").port == 8000


def test_empty_variable_is_no_setting(monkeypatch):
    """An empty variable counts as absent, as compose files write it."""
    monkeypatch.setenv("XCORE_ADMIN_KEY", "")
    assert load().admin_key is None


@pytest.mark.parametrize("text", ['["a", "b-2"]', "a,b-2", " a , b-2, "])
def test_lists_are_json_or_commas(text, monkeypatch):
    """A list in a variable is JSON, or names with commas between them."""
    monkeypatch.setenv("XCORE_TRUSTED", text)
    assert load().trusted == ("a", "b-2")


def test_lists_in_the_file(file):
    """In the file a list is a list, and an address is the network of one."""
    settings = load(file("trusted: [a, b]\ntrusted_proxies: [10.0.0.0/8, 192.0.2.7, 'fd00::1']\n"))
    assert settings.trusted == ("a", "b")
    assert settings.trusted_proxies == ("10.0.0.0/8", "192.0.2.7/32", "fd00::1/128")


@pytest.mark.parametrize(
    "text", ["10.0.0.0/8, fd00::/8", '["10.0.0.0/8", "fd00::/8"]', "::ffff:10.0.0.0/104,fd00::/8"]
)
def test_proxies_are_addresses_and_networks(text, monkeypatch):
    """An IPv4 network is one, also as a socket for both writes it; read twice, it stays the same."""
    monkeypatch.setenv("XCORE_TRUSTED_PROXIES", text)
    settings = load()
    assert settings.trusted_proxies == ("10.0.0.0/8", "fd00::/8")
    assert Settings(**settings.model_dump()).trusted_proxies == settings.trusted_proxies


ANY_PROXY = (
    "must be at most 100 addresses and networks such as 192.0.2.7 and 10.0.0.0/8: "
    "a JSON list, or with commas between them"
)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("XCORE_PORT", "abc", 'must be a whole number from 0 to 65535, got "abc"'),
        ("XCORE_PORT", "65536", 'must be a whole number from 0 to 65535, got "65536"'),
        ("XCORE_RUNTIME", "podman", 'must be auto, process, docker or kubernetes, got "podman"'),
        ("XCORE_ADMIN_KEY", "short-secret", "must be a secret of 32 to 512 characters"),
        (
            "XCORE_TRUSTED",
            "Not_A_Name",
            'must be names of plugins: a JSON list, or with commas between them, got "Not_A_Name"',
        ),
        ("XCORE_TRUSTED", "[1", "must be a JSON list, or names with commas between them"),
        *[
            (
                "XCORE_ALLOWED_ORIGINS",
                value,
                "must be an origin as browsers write it, such as https://shop.example or http://localhost:3000",
            )
            for value in ("*", "shop.example", "https://Shop.example", "https://shop.example/", "null")
        ],
        *[
            (
                "XCORE_CALLS_ADDRESS",
                value,
                "must be HOST:PORT, such as xcore-calls.xcore-system:8001",
            )
            for value in (
                "8001",
                ":8001",
                "host:",
                "host:0",
                "host:65536",
                "host:٣",
                "http://host:1",
                "fd00::1:80",
            )
        ],
        *[
            ("XCORE_TRUSTED_PROXIES", value, f'{ANY_PROXY}, got "{value}"')
            for value in (
                "proxy.example",
                "10.0.0",
                "10.0.0.0/33",
                "010.0.0.1",
                "*",
                "fe80::1%eth0",
                "10.0.0.1:80",
            )
        ],
        ("XCORE_TRUSTED_PROXIES", ",".join(["10.0.0.1"] * 101), ANY_PROXY),
        ("XCORE_TRUSTED_PROXIES", "[10]", f'{ANY_PROXY}, got "10"'),
        *[
            (
                "XCORE_TRUSTED_PROXIES",
                value,
                f"must be a network without host bits: {alternatives} for that address alone",
            )
            for value, alternatives in (
                ("192.0.2.1,10.0.0.1/8", "10.0.0.0/8, or 10.0.0.1"),
                ("fd00::1/8", "fd00::/8, or fd00::1"),
            )
        ],
        *[
            (
                "XCORE_TRUSTED_PROXIES",
                value,
                f"must not be everybody ({told}): then each client could say who it is",
            )
            for value, told in (
                ("0.0.0.0/0", "0.0.0.0/0"),
                ("10.0.0.1,::/0", "::/0"),
                ("::ffff:0:0/96", "0.0.0.0/0"),
            )
        ],
        ("XCORE_LOG_LEVEL", "loud", 'must be debug, info, warning or error, got "loud"'),
        ("XCORE_ON_EXIT", "panic", 'must be keep or stop, got "panic"'),
        (
            "XCORE_SANDBOX_IMAGE",
            "Not An Image",
            'must be an image such as xcore/sandbox:1.0, got "Not An Image"',
        ),
    ],
)
def test_wrong_value(name, value, sentence, monkeypatch):
    """A wrong value is one line: the variable, what is allowed, what was found."""
    monkeypatch.setenv(name, value)
    assert problems() == [f"{name}: {sentence}"]


@pytest.mark.parametrize(
    ("text", "integrations"),
    [
        ("webhook, other", {"webhook": {}, "other": {}}),
        ('["webhook"]', {"webhook": {}}),
        (
            '{"webhook": {"url": "https://a.example"}, "other": null}',
            {"webhook": {"url": "https://a.example"}, "other": {}},
        ),
    ],
)
def test_integrations_are_names_or_what_each_is_told(text, integrations, monkeypatch):
    monkeypatch.setenv("XCORE_INTEGRATIONS", text)
    assert load().integrations == integrations


def test_integrations_in_the_file(file):
    assert load(file("integrations: {webhook: {url: x}, other: }")).integrations == {
        "webhook": {"url": "x"},
        "other": {},
    }
    assert load(file("integrations: [webhook]")).integrations == {"webhook": {}}


@pytest.mark.parametrize("text", ["{", "Not A Name", '{"a": "secret"}', '{"A_b": {}}', '{"a": ["secret"]}'])
def test_integrations_that_are_none_are_refused_and_not_repeated(text, monkeypatch):
    """They may hold secrets."""
    monkeypatch.setenv("XCORE_INTEGRATIONS", text)
    [problem] = problems()
    assert problem.startswith("XCORE_INTEGRATIONS: must be ")
    assert "secret" not in problem


def test_secrets_are_not_repeated(monkeypatch):
    """Neither a complaint nor the settings' own text holds the key."""
    monkeypatch.setenv("XCORE_ADMIN_KEY", "short-secret")
    with pytest.raises(InvalidSettings) as caught:
        load()
    assert "short-secret" not in str(caught.value)
    assert KEY not in repr(Settings(admin_key=KEY))


def test_wrong_value_in_the_file(file):
    """A wrong value in the file is told with file and line."""
    config = file("host: 127.0.0.1\nport: 99999\n")
    assert problems(config) == [
        'port: xcore.yaml line 2: must be a whole number from 0 to 65535, got "99999"'
    ]


def test_unknown_variable(monkeypatch):
    """A variable nobody knows is refused with the nearest one that is known."""
    monkeypatch.setenv("XCORE_PROT", "1")
    assert problems() == ["XCORE_PROT: is not a setting; did you mean XCORE_PORT?"]


def test_variables_of_others(monkeypatch):
    """The command line's variables and those of tests are nobody's mistake."""
    for name in ("XCORE_URL", "XCORE_KEY", "XCORE_TEST_DATABASE", "XCOREX"):
        monkeypatch.setenv(name, "x")
    assert load().port == 8000


def test_unknown_name_in_the_file(file):
    """A name nobody knows in the file is refused with its line."""
    assert problems(file("port: 1\nhots: x\n")) == [
        "hots: xcore.yaml line 2: is not a setting; did you mean host?"
    ]


@pytest.mark.parametrize("text", ["", "~", "- a\n", "port: [\n", "port: 1\nport: 2\n"])
def test_file_that_is_no_mapping(text, file):
    """A file that is not one mapping, or says nothing, is refused by name."""
    with pytest.raises(InvalidSettings, match=r"xcore\.yaml"):
        load(file(text))


def test_missing_file(tmp_path):
    """A file that is not there is told, never passed over."""
    with pytest.raises(InvalidSettings, match="No such file"):
        load(tmp_path / "none.yaml")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])
def test_no_key_beyond_loopback(host, monkeypatch):
    """Without keys nothing but loopback is listened on."""
    monkeypatch.setenv("XCORE_AUTH", "none")
    monkeypatch.setenv("XCORE_HOST", host)
    assert problems() == ["XCORE_AUTH: must be key unless XCORE_HOST is a loopback address such as 127.0.0.1"]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_no_key_on_loopback(host):
    """On loopback, keys may be switched off."""
    assert is_loopback(host)
    assert Settings(auth="none", host=host).auth == "none"


def test_state_dir_follows_the_user(monkeypatch, tmp_path):
    """Root's state is the system's; everybody else has theirs at home, or where XDG says."""
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert Settings().state_dir == Path("/var/lib/xcore")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Settings().state_dir == tmp_path / ".local/state/xcore"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert Settings().state_dir == tmp_path / "state/xcore"


def test_paths_may_begin_at_home(monkeypatch, tmp_path):
    """`~` in a path is the user's home."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Settings(plugins_dir="~/plugins").plugins_dir == tmp_path / "plugins"


def test_settings_are_frozen():
    """Nobody changes a setting while the controller runs."""
    with pytest.raises(ValueError, match="frozen"):
        Settings().port = 1


def test_every_setting_is_described():
    """Every setting has a description for the documentation."""
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_connection(monkeypatch):
    """The command line's address and key come from XCORE_URL and XCORE_KEY."""
    assert connection().url == "http://127.0.0.1:8000"
    monkeypatch.setenv("XCORE_URL", "https://xcore.example.com/")
    monkeypatch.setenv("XCORE_KEY", KEY)
    assert connection().url == "https://xcore.example.com"
    assert connection().key.get_secret_value() == KEY


def test_connection_that_is_no_address(monkeypatch):
    """An address that is none is told by the variable's name."""
    monkeypatch.setenv("XCORE_URL", "example.com:80")
    with pytest.raises(InvalidSettings) as caught:
        connection()
    assert caught.value.problems == (
        Problem("XCORE_URL", "must be a URL that begins with http:// or https://"),
    )


def test_a_directory_given_from_here_is_the_same_directory_from_anywhere(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XCORE_STATE_DIR", ".state")
    assert load().state_dir == tmp_path / ".state"
