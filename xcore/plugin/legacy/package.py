"""Old code imported as the old system did: its folder is a package, and lies on the import path as well."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import NamedTuple


class Place(NamedTuple):
    """Where an entry point lies: the folder below the code, the module in it, and what it is called there."""

    folder: str
    module: str
    attribute: str


def place(entrypoint: str) -> Place:
    """`src.main:Plugin` is `Plugin` in `main.py` of the folder `src`."""
    path, _, attribute = entrypoint.partition(":")
    folder, _, module = path.rpartition(".")
    return Place(folder.replace(".", "/"), module, attribute)


class OldPackage:
    """A folder under a package's name, so that `from . import x` works in its files; its `__init__.py` runs first."""

    def __init__(self, name: str, folder: Path) -> None:
        self._name, self._folder = name, folder

    def load(self, module: str) -> ModuleType:
        """Import one of its modules; raises whatever the code raises."""
        if self._name not in sys.modules:
            spec = self._spec()
            package = sys.modules[self._name] = importlib.util.module_from_spec(spec)
            if spec.loader is not None:
                spec.loader.exec_module(package)
        return importlib.import_module(f"{self._name}.{module}")

    def _spec(self) -> ModuleSpec:
        places = [str(self._folder)]
        init = self._folder / "__init__.py"
        found = init.is_file() and importlib.util.spec_from_file_location(
            self._name, init, submodule_search_locations=places
        )
        if found:
            return found
        spec = ModuleSpec(self._name, None, is_package=True)
        spec.submodule_search_locations = places
        return spec
