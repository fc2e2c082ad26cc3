"""From `spec.dependencies` to a lock: once, for every Python and platform a sandbox may have."""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Mapping
from pathlib import Path

from xcore.manifest import Manifest
from xcore.packing import uv
from xcore.packing.lock import Lock, make

OLDEST_PYTHON = "3.11"
# Where uv reads which systems count: Linux, and wheels must exist for this machine's architecture.
_PROJECT = """\
[tool.uv]
environments = ["sys_platform == 'linux'"]
required-environments = ["sys_platform == 'linux' and platform_machine == '{machine}'"]
"""


def resolve(manifest: Manifest, before: Lock | None, provided: Mapping[str, str], job: uv.Job) -> Lock:
    """Choose the packages. Those of `before` are kept where they still fit.

    `provided`: what every sandbox has itself, by name and version; a plugin that needs another version is refused.
    Raises DependenciesUnresolved, IndexUnavailable.
    """
    dependencies = manifest.spec.dependencies
    job.say(f"resolving {len(dependencies)} dependencies")
    with tempfile.TemporaryDirectory(prefix="xcore-pack-") as folder:
        place = Path(folder)
        (place / "pyproject.toml").write_text(_PROJECT.format(machine=platform.machine()))
        (place / "constraints.txt").write_text("".join(f"{n}=={v}\n" for n, v in provided.items()))
        (place / "lock.txt").write_text(before.requirements if before is not None else "")
        uv.run(
            job,
            *("pip", "compile", "--universal", "--python-version", OLDEST_PYTHON, "--generate-hashes"),
            *("--no-header", "--no-annotate", "--no-emit-index-url"),
            *("--constraints", "constraints.txt", "--output-file", "lock.txt", "-"),
            cwd=place,
            stdin="".join(f"{requirement}\n" for requirement in dependencies),
            provided=provided,
        )
        return make(manifest, (place / "lock.txt").read_text(), provided)
