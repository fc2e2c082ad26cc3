"""Packed dependencies are found, and never stand in for what the runner or Python has."""

import json

LOOK = """
import json, mine, packed, msgspec, sys

class P(Plugin):
    @action
    def look(self) -> dict:
        import click, colorsys
        files = [m.__file__ for m in (mine, packed, msgspec, click, colorsys)]
        return {"files": files, "touched": hasattr(sys, "touched")}
"""


def test_code_comes_first_then_the_runner_and_python_then_packed_dependencies(start, tmp_path):
    """Also for what is imported late; `.pth` files and `sitecustomize` of a package mean nothing."""
    site = tmp_path / "site"
    site.mkdir()
    for name in ("mine", "packed", "colorsys", "sitecustomize"):
        (site / f"{name}.py").write_text("import sys\n")
    (site / "sitecustomize.py").write_text("import sys; sys.touched = True\n")
    (site / "evil.pth").write_text("import sys; sys.touched = True\n")
    (tmp_path / "mine.py").write_text("")
    answer = json.loads(start(LOOK, site=site).ready().post("look")[1])
    mine, packed, msgspec, click, colorsys = answer["files"]
    assert (mine, packed) == (str(tmp_path / "mine.py"), str(site / "packed.py"))
    assert str(site) not in (msgspec, click, colorsys)
    assert not [path for path in (msgspec, click, colorsys) if path.startswith(str(site))]
    assert answer["touched"] is False


def test_a_packed_library_goes_before_the_one_the_controller_has(start, tmp_path):
    """In a child of the controller: its own libraries lie on the path too, in other versions."""
    site = tmp_path / "site"
    (site / "rich").mkdir(parents=True)
    (site / "rich" / "__init__.py").write_text("VERSION = 'locked'\n")
    code = "import rich\nclass P(Plugin):\n    @action\n    def look(self) -> str:\n        return rich.VERSION\n"
    assert start(code, site=site).ready().post("look") == (200, b'"locked"')
