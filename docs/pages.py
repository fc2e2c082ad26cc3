"""Pages of the site that lie elsewhere in the repository, and links that are right in both places.

MkDocs runs this as a hook. A link is written as a repository page wants it; on the site, where README.md is the home
page and examples/ one page, it is turned to where its target is there. A target that is on no page of the site fails
the strict build.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import yaml
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
# Where it lies in the repository → its page.
ELSEWHERE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changes.md",
    "bench/README.md": "measurements.md",
    "examples": "examples.md",
}
SOURCES = {page: source for source, page in ELSEWHERE.items()}
# Code is passed over: what looks like a link in it is none.
LINK = re.compile(r"(?P<code>^```.*?^```|`[^`\n]+`)|\]\((?P<target>[^)\s]+)\)", re.MULTILINE | re.DOTALL)
LANGUAGES = {
    ".py": "python",
    ".yaml": "yaml",
    ".conf": "nginx",
    ".js": "javascript",
    ".html": "html",
    "Dockerfile": "docker",
}


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    for source, page in ELSEWHERE.items():
        text = examples_page() if source == "examples" else (ROOT / source).read_text("utf-8")
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    del config, files
    here = page.file.src_uri
    return LINK.sub(lambda found: _turned(found, here), markdown)


def _turned(found: re.Match[str], here: str) -> str:
    target = found["target"]
    if found["code"] or target.startswith("#") or re.match(r"[a-z]+:", target):
        return found[0]
    path, hash_, anchor = target.partition("#")
    source = SOURCES.get(here, f"docs/{here}")
    repository_path = os.path.normpath(Path(source).parent / path)
    there = ELSEWHERE.get(repository_path, repository_path.removeprefix("docs/"))
    if there.startswith("examples/"):
        example = Path(there).parent if Path(there).suffix else Path(there)
        there, hash_, anchor = "examples.md", "#", example.name
    return f"]({os.path.relpath(there, Path(here).parent)}{hash_}{anchor})"


def examples_page() -> str:
    """Every example with its manifest and code, as they are run."""
    lines = [
        "# Examples",
        "",
        "Whole plugins, each with a test. `make run` serves them all but those in `containers/`, whose image has to be built first, those of the old system, and the program that needs no controller.",
        "",
    ]
    examples = ROOT / "examples"
    for manifest in (
        *sorted(examples.glob("*/plugin.yaml")),
        *sorted(examples.glob("containers/*/plugin.yaml")),
    ):
        resource = yaml.safe_load(manifest.read_text("utf-8"))
        lines += [f"## {resource['metadata']['name']}", "", resource["spec"].get("description", ""), ""]
        lines += _code(manifest.parent)
    for folder in sorted((examples / "legacy").iterdir()):
        lines += [f"## {folder.name}", "", "As it was written for the system before this one.", ""]
        lines += _code(folder)
    lines += [
        "## embedding",
        "",
        "A program that runs plugins by itself.",
        "",
        *_code(examples / "embedding"),
    ]
    return "\n".join(lines)


def _code(folder: Path) -> Iterator[str]:
    """Everything that can be shown of a folder, but its tests; its manifest first."""
    for file in sorted(folder.rglob("*"), key=lambda file: (file.name != "plugin.yaml", file)):
        if _language(file) is not None and not file.name.startswith("test_"):
            yield from _shown(file)


def _language(file: Path) -> str | None:
    return LANGUAGES.get(file.suffix or file.name)


def _shown(file: Path) -> list[str]:
    title = file.relative_to(ROOT / "examples")
    return [f'```{_language(file)} title="{title}"', file.read_text("utf-8").rstrip(), "```", ""]
