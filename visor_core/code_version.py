"""The code version of a stage: a hash of what its Python does, taken from the syntax tree.

Comments, docstrings and layout do not count, so that explaining a trainer better never retrains a model. A stage names
its modules, or the one it begins with: `code_behind` then follows the imports.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from visor_core.errors import ConfigError

_ROOT = Path(__file__).resolve().parents[1]


class _WithoutProse(ast.NodeTransformer):
    """Drops docstrings: expressions that are nothing but a string."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        bare = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if bare else node


def meaning_of(source: str) -> str:
    """The syntax tree of a module without prose, as text."""
    return ast.dump(_WithoutProse().visit(ast.parse(source)))


@cache
def _digest(path: Path) -> str:
    return hashlib.sha256(meaning_of(path.read_text(encoding="utf-8")).encode()).hexdigest()


def code_version(*names: str) -> str:
    """Hash (12 hex digits) over modules and whole packages given by dotted name (`visor_core.documents`).

    Raises:
        ConfigError: if a name is neither a module nor a package of this project.
    """
    files = {path for name in names for path in _files(name)}
    lines = sorted(f"{path.relative_to(_ROOT).as_posix()} {_digest(path)}" for path in files)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


def code_behind(*names: str, within: Sequence[str]) -> frozenset[str]:
    """Modules by dotted name, and what they import of `within` (modules or packages), directly or through each other.

    Imports inside functions count like any other.

    Raises:
        ConfigError: if a name is neither a module nor a package of this project.
    """
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            imported = {module for path in _files(name) for module in _imports(path)}
            waiting += [m for m in imported if any(f"{m}.".startswith(f"{package}.") for package in within)]
    return frozenset(found)


def _files(name: str) -> list[Path]:
    """The file of a module, or all of a package."""
    place = _ROOT.joinpath(*name.split("."))
    found = [place.with_suffix(".py")] if place.with_suffix(".py").is_file() else list(place.rglob("*.py"))
    if not found:
        raise ConfigError(f"a stage names the code {name!r}, which is no module or package of this project")
    return found


@cache
def _imports(path: Path) -> frozenset[str]:
    """The modules of this project that a file imports; of a package, its `__init__`."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    candidates = (module for name in found for module in (name, f"{name}.__init__"))
    return frozenset(name for name in candidates if _ROOT.joinpath(*name.split(".")).with_suffix(".py").is_file())
