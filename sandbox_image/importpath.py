"""Where a plugin's imports are looked for: its code, the runner and Python's own modules, its packed dependencies.

The dependencies come after everything the runner needs, so that nothing in them can take its place, and before what
else may be installed. They are a plain entry of `sys.path`: `.pth` files and `sitecustomize` in them mean nothing.
"""

from __future__ import annotations

import os
import sys

_INSTALLED = ("site-packages", "dist-packages")


def extend(code: str, site: str | None) -> None:
    if site is not None:
        sys.path.insert(_after_pythons_own(), site)
    sys.path.insert(0, code)


def _after_pythons_own() -> int:
    own = sys.path.index(os.path.dirname(os.__file__)) + 1  # noqa: PTH120  as it stands in sys.path
    others = (place for place in range(own, len(sys.path)) if sys.path[place].endswith(_INSTALLED))
    return next(others, len(sys.path))
