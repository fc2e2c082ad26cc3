"""A plugin's code imported under names of its own, so that two `main.py` never meet in `sys.modules`.

Its modules are called `<prefix>.main`, `<prefix>.helper`, …, and really stand in `sys.modules` under these names: pickle,
dataclasses and type hints work. Its own `import helper` is resolved inside its folder by the `__import__` these modules
are given as a builtin; nobody else's imports are touched, and no global path is changed. As in a sandbox, the
folder comes before the standard library, `xcore` is always ours, and a module at the top has no parent package.

Not covered: `importlib.import_module("helper")` and other imports by a name in a string. Nothing is ever written
into the folder.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.machinery
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

OURS = "xcore"


class PrivatePackage:
    """Made: importable. Closed: as if it had never been, but for the objects that others still hold.

    `rooted`: the folder is a package itself, as plugins of the old system have it: its `__init__` runs first, and
    `from . import x` works at its top.
    """

    def __init__(self, prefix: str, folder: Path, *, rooted: bool = False) -> None:
        self.prefix, self.folder, self._rooted = prefix, folder, rooted
        self._builtins = {**vars(builtins), "__import__": self._import}
        spec = ModuleSpec(prefix, None, is_package=True)
        spec.submodule_search_locations = [str(folder)]
        sys.modules[prefix] = importlib.util.module_from_spec(spec)
        # First, or the usual finder would load its modules the usual way.
        sys.meta_path.insert(0, self)

    def load(self, name: str) -> ModuleType:
        """Import `name` as its own top-level module; raises whatever the code raises."""
        if self._find(name) is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        if self._rooted:
            self._begin()
        return importlib.import_module(f"{self.prefix}.{name}")

    def _begin(self) -> None:
        """Run the folder's own `__init__`, once."""
        package, init = sys.modules[self.prefix], self.folder / "__init__.py"
        if init.is_file() and "__file__" not in vars(package):
            package.__file__ = str(init)
            usual = importlib.machinery.SourceFileLoader(self.prefix, str(init))
            _Loader(usual, self._builtins).exec_module(package)

    def close(self) -> None:
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        for name in [name for name in sys.modules if self._is_mine(name)]:
            sys.modules.pop(name, None)

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,  # noqa: ARG002  the import system's signature
    ) -> ModuleSpec | None:
        """Be a meta path finder for our own names alone (importlib.abc.MetaPathFinder)."""
        if path is None or not fullname.startswith(f"{self.prefix}."):
            return None
        spec = PathFinder.find_spec(fullname, path)
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _Loader(spec.loader, self._builtins)
        return spec

    def _import(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,  # noqa: A002
        locals: Mapping[str, object] | None = None,  # noqa: A002
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        if level > 0:
            self._keep_inside(globals or {}, level)
        elif self._owns(name.partition(".")[0]):
            private = f"{self.prefix}.{name}"
            if fromlist:
                return builtins.__import__(private, globals, locals, fromlist, 0)
            importlib.import_module(private)
            # `import a.b` binds `a`.
            return sys.modules[f"{self.prefix}.{name.partition('.')[0]}"]
        return builtins.__import__(name, globals, locals, fromlist or (), level)

    def _keep_inside(self, importer: Mapping[str, object], level: int) -> None:
        """Refuse `from . import x` where a sandbox would: our own package is no parent a plugin may know."""
        package = str(importer.get("__package__") or "").split(".")
        if len(package) - (level - 1) <= len(self.prefix.split(".")) - self._rooted:
            at_top = package == self.prefix.split(".")
            raise ImportError(
                "attempted relative import with no known parent package"
                if at_top
                else "attempted relative import beyond top-level package"
            )

    def _owns(self, top: str) -> bool:
        if top == OURS:
            return False
        if f"{self.prefix}.{top}" in sys.modules:
            return True
        spec = self._find(top)
        if spec is None or spec.origin is not None:
            return spec is not None
        # A folder without __init__.py, of assets maybe: Python's rule is that any real module goes before it.
        return top not in sys.modules and importlib.util.find_spec(top) is None

    def _find(self, name: str) -> ModuleSpec | None:
        return PathFinder.find_spec(f"{self.prefix}.{name.partition('.')[0]}", [str(self.folder)])

    def _is_mine(self, name: str) -> bool:
        return name == self.prefix or name.startswith(f"{self.prefix}.")


class _Loader(importlib.machinery.SourceFileLoader):
    """Runs a module with the builtins of its package, and keeps no bytecode: a snapshot is never changed."""

    def __init__(
        self, usual: importlib.machinery.SourceFileLoader, own_builtins: Mapping[str, object]
    ) -> None:
        super().__init__(usual.name, usual.path)
        self._builtins = own_builtins

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__builtins__"] = self._builtins
        super().exec_module(module)

    def set_data(self, path: str, data: object, *, _mode: int = 0o666) -> None:
        """Write nothing."""
