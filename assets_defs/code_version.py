"""The code version of a stage: a hash of what its Python does, taken from the syntax tree.

Comments, docstrings and layout do not count, so that explaining a trainer better never retrains a model.
"""

from __future__ import annotations

import ast
import hashlib
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
    files: set[Path] = set()
    for name in names:
        place = _ROOT.joinpath(*name.split("."))
        found = [place.with_suffix(".py")] if place.with_suffix(".py").is_file() else list(place.rglob("*.py"))
        if not found:
            raise ConfigError(f"a stage names the code {name!r}, which is no module or package of this project")
        files.update(found)
    lines = sorted(f"{path.relative_to(_ROOT).as_posix()} {_digest(path)}" for path in files)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]
