"""Builds the controller image: `python -m controller.image.build [--tag NAME] [--base IMAGE] [--if-missing]`."""

from __future__ import annotations

import sys

from controller.image.tag import RECIPE, image_tag, release_tag, sources
from sandbox_image.building import Recipe, main

if __name__ == "__main__":
    sys.exit(main("controller.image.build", image_tag, Recipe(*RECIPE, tuple(sources()), release_tag())))
