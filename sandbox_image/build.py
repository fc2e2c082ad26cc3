"""Builds the sandbox image: `python -m sandbox_image.build [--tag NAME] [--base IMAGE] [--if-missing]`."""

from __future__ import annotations

import sys

from sandbox_image.building import Recipe, main
from sandbox_image.tag import RECIPE, image_tag, sources

if __name__ == "__main__":
    sys.exit(main("sandbox_image.build", image_tag, Recipe(*RECIPE, tuple(sources()))))
