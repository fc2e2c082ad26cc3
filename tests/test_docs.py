"""The documentation says what the code says: nothing left out, nothing that is gone."""

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from controller.api import health, metrics, openapi, page as docs_page
from controller.api.problems import REASONS
from controller.cli.exits import Exit
from controller.dataplane.plane import DataPlane
from controller.settings import CONFIG_VARIABLE, variables
from docs.reference import GENERATED, with_block
from integrations.admin import audit, calls as calls_api, doctor, events, keys, orders, plugins, tasks
from xcore import errors, manifest, restart
from xcore.routes import RouteTable
from xcore.runtimes.docker import DockerEngine
from xcore.runtimes.envelope import Identity, create_body
from xcore.runtimes.inprocess import InProcessEngine
from xcore.runtimes.process import ProcessEngine
from xcore.workload import ExitReason, Workload
from xcore.xhooks import HookBus

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
DECISIONS = sorted((DOCS / "decisions").glob("[0-9]*.md"))
UNITS = {"": 1, "s": 1, "ms": 1, "KiB": 2**10, "MiB": 2**20}
# What a manifest or folder can be refused for; the reason stands in Accepted.
REFUSALS = (
    *(errors.DependenciesUnresolved, errors.IndexUnavailable),
    *(errors.InvalidManifest, errors.InvalidSpec, errors.InvalidBundle, errors.NotSupported),
    *(errors.NotAllowedTrusted, errors.RouteConflict, errors.StorageFull),
    *(errors.SecretNotFound, errors.ConfigMapNotFound, errors.BundleNotFound, errors.ClassForbids),
    *(errors.NetworkPolicyFailed, errors.RuntimeUnavailable, errors.Unschedulable),
)


def read(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def rows(name: str, heading: str) -> dict[str, list[str]]:
    """The table below a heading: its first column (without backticks) → the other cells."""
    section = re.split(rf"^#+ {re.escape(heading)}$", read(name), maxsplit=1, flags=re.MULTILINE)[1]
    table = re.search(r"(?:^\|.*\n)+", section, re.MULTILINE)
    assert table, f"no table below {heading} in {name}"
    cells = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table[0].splitlines()[2:]
    ]
    return {first.strip("`"): rest for first, *rest in cells}


@pytest.mark.parametrize("name", GENERATED)
def test_generated_tables_are_what_the_code_gives(name):
    """A table that stands for the code is the one the code gives today (`python docs/reference.py` writes it)."""
    file, render = GENERATED[name]
    assert read(file) == with_block(read(file), name, render())


# -- names ---------------------------------------------------------------------------------------------------------


def test_every_setting_is_in_the_table_and_no_other():
    """The table of settings holds exactly the variables the controller and its command line read."""
    assert {*variables(), "XCORE_URL", "XCORE_KEY", CONFIG_VARIABLE} == set(
        rows("docs/settings.md", "All of them")
    )


def test_no_page_names_a_setting_that_is_not_one():
    """Wherever a page says XCORE_SOMETHING, that is a setting."""
    known = {*variables(), "XCORE_URL", "XCORE_KEY", CONFIG_VARIABLE, "XCORE_TEST"}
    named = {
        name for page in PAGES for name in re.findall(r"XCORE_[A-Z]+(?:_[A-Z]+)*", page.read_text("utf-8"))
    }
    assert not named - known


def test_every_problem_is_documented_with_its_status_and_component():
    """Each reason an HTTP problem can carry stands in the table as it travels, and nothing else does."""
    documented = {
        name: (cells[0], cells[1]) for name, cells in rows("docs/reasons.md", "HTTP problems").items()
    }
    assert {name: (str(kind.status), kind.component) for name, kind in REASONS.items()} == documented


def test_every_reason_of_a_condition_is_documented():
    """Each reason a condition can carry stands in the table of its condition, and no table names another."""
    types = {
        "Accepted",
        "ResolvedRefs",
        "Programmed",
        "ImageVerified",
        "NetworkIsolated",
        "Progressing",
        "Active",
        "Ready",
    }
    constants = {
        node.value for node in ast.walk(ast.parse(read("xcore/status.py"))) if isinstance(node, ast.Constant)
    }
    named = {
        value for value in constants if isinstance(value, str) and re.fullmatch(r"([A-Z][a-z]+)+", value)
    }
    isolated = {engine.isolates(None, None)[1] for engine in (DockerEngine, ProcessEngine, InProcessEngine)}
    reasons = named - types - {"True", "False", "Unknown"} | {
        "Accepted",
        "ResolvedRefs",
        "Programmed",
        "Ready",
        "NotProbed",
    }
    reasons |= {restart.EXITED, restart.EXHAUSTED} | isolated | {error.reason for error in REFUSALS}
    tables = {kind: rows("docs/reasons.md", kind) for kind in types}
    assert reasons == {reason for table in tables.values() for reason in table}


def test_every_end_of_an_instance_is_documented():
    """Each reason of a last exit stands in the table, and no other."""
    assert set(ExitReason) == set(rows("docs/reasons.md", "Last-exit reasons"))


def test_every_error_of_ours_has_a_documented_reason():
    """Whatever the kernel raises on purpose is explained on the page of reasons or that of the command line."""
    waiting, reasons = [errors.XcoreError], set()
    while waiting:
        error = waiting.pop()
        reasons.add(error.reason)
        waiting += error.__subclasses__()
    pages = read("docs/reasons.md") + read("docs/cli.md")
    assert not {reason for reason in reasons if f"`{reason}`" not in pages}


def test_every_exit_code_is_documented():
    """The exit codes of the command line are those of the table."""
    assert {str(int(code)) for code in Exit} == set(rows("docs/cli.md", "Exit codes"))


def test_every_make_target_is_documented_and_every_documented_one_exists():
    """CONTRIBUTING lists what `make help` lists; no page tells people to make anything else."""
    targets = set(re.findall(r"^([a-z-]+):.*##", read("Makefile"), re.MULTILINE))
    assert {f"make {name}" for name in targets} == set(rows("CONTRIBUTING.md", "Make targets"))
    named = {name for page in PAGES for name in re.findall(r"`make ([a-z-]+)", page.read_text("utf-8"))}
    assert not named - targets


def test_every_metric_is_documented():
    """The table of metrics names what `/metrics` gives, and nothing else."""

    class Nobody:
        bus = HookBus()

        def names(self) -> list[str]:
            return []

    agenda = SimpleNamespace(counts={}, successes={}, scheduler=SimpleNamespace(running=0))
    kept = SimpleNamespace(counts=None)
    calls = SimpleNamespace(made={}, kept=kept, scheduler=SimpleNamespace(running=0))
    work = metrics.Work(agenda, calls).collect()
    collected = [*metrics.registry(DataPlane(RouteTable(), None), Nobody(), lambda: 0.0).collect(), *work]
    names = {family.name + ("_total" if family.type == "counter" else "") for family in collected}
    assert names == set(rows("docs/operations.md", "Metrics"))


def test_every_route_is_documented():
    """The table of the control plane names every method and path it serves, and no other; files of the page are parts of it."""
    admin = (plugins, orders, events, tasks, keys, audit, doctor, calls_api)
    routes = [
        route for module in (*admin, health, metrics, openapi, docs_page) for route in module.router.routes
    ]
    served = {f"{method} {route.path}" for route in routes for method in route.methods}
    assert {path for path in served if not path.startswith("GET /docs/")} == set(
        rows("docs/http.md", "Control plane")
    )


def test_every_create_option_of_a_sandbox_has_its_reason():
    """The page on isolation explains each option a container is created with, and no other."""
    document = {"apiVersion": manifest.API_VERSION, "kind": manifest.KIND, "metadata": {"name": "a"}}
    parsed = manifest.from_dict({**document, "spec": {"entrypoint": "main:A", "runtimeClass": "gvisor"}})
    body = create_body(Workload(parsed, "r", 1, ROOT), Identity("id", 1, 1, "owner", "image", "{}"))
    options = {*body, *body["HostConfig"]} - {"HostConfig"}
    assert options == set(rows("docs/isolation.md", "Create options"))


def test_every_bound_is_the_one_in_the_code():
    """Each row of the table of bounds gives the value of the constant it names."""
    for what, (shown, constant) in rows("docs/operations.md", "Bounds").items():
        module, _, name = constant.strip("`").rpartition(".")
        number, _, unit = shown.partition(" ")
        value = getattr(importlib.import_module(module), name)
        assert value == float(number.replace(",", "")) * UNITS[unit], what


# -- examples and links --------------------------------------------------------------------------------------------


def blocks(language: str) -> Iterator[tuple[str, str]]:
    for page in PAGES:
        yield from (
            (page.name, text)
            for text in re.findall(
                rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL
            )
        )


def test_examples_parse():
    """Every plugin shown can be run: its manifest is accepted by this version, its Python compiles."""
    manifests = [(page, text) for page, text in blocks("yaml") if "kind: Plugin" in text]
    programs = list(blocks("python"))
    assert {"README.md"} <= {page for page, _ in manifests} & {page for page, _ in programs}
    for page, text in manifests:
        assert manifest.not_yet(manifest.parse(text.encode(), name=page)) == [], page
    for page, text in programs:
        compile(text, page, "exec")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_resolve(page):
    """A link to a file or heading of ours leads there."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file), target


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_pages_that_the_code_names_are_there():
    """Wherever a message or docstring sends people to a page, there is one."""
    sources = [
        *ROOT.glob("xcore/**/*.py"),
        *ROOT.glob("controller/**/*.py"),
        *ROOT.glob("sandbox_image/*.py"),
    ]
    named = {
        name for source in sources for name in re.findall(r"docs/[\w/.-]+\.md", source.read_text("utf-8"))
    }
    assert not {name for name in named if not (ROOT / name).exists()}


def test_every_page_can_be_found():
    """README links to each page of docs/, and the list of decisions to each decision."""
    pages = {str(page.relative_to(ROOT)) for page in DOCS.rglob("*.md") if page not in DECISIONS}
    assert not {page for page in pages if f"({page})" not in read("README.md")}
    index = read("docs/decisions/README.md")
    assert not [page.name for page in DECISIONS if f"({page.name})" not in index]


# -- the site ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    built = tmp_path_factory.mktemp("site")
    command = [Path(sys.executable).with_name("mkdocs"), "build", "--strict", "--site-dir", built]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return built


def test_the_site_loads_nothing_from_other_hosts(site):
    """Fonts, scripts, styles and pictures of the site are files of the site."""
    loaded = re.compile(r"<(?:script|img|iframe|link)\b[^>]*?(?:src|href)=\"?((?:https?:)?//[^\">]+)")
    elsewhere = {url for page in site.rglob("*.html") for url in loaded.findall(page.read_text("utf-8"))}
    assert elsewhere == set()


def test_links_of_the_readme_lead_somewhere_on_the_site_too(site):
    """What README links to is there on the home page, each under the name it has on the site."""
    home = (site / "index.html").read_text("utf-8")
    targets = set(re.findall(r"\]\(([^)\s#]+)\)", read("README.md")))
    linked = {link for link in re.findall(r'href="([^"#]+)', home) if not link.startswith("http")}
    assert {"tutorial.html", "decisions/index.html", "changes.html", "examples.html"} <= linked
    assert len(targets) <= len({link for link in linked if link.endswith(".html")})
    assert not {link for link in linked if not (site / link).exists()}


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.stem)
def test_a_decision_is_one_page_example_first(page):
    """Example, decision, consequences, in this order, on one page."""
    text = page.read_text("utf-8")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Example", "Decision", "Consequences"]
    assert len(text.splitlines()) <= 60
