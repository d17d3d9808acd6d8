"""The code version of a stage: a hash of what its Python does, taken from the syntax tree.

Comments, docstrings and layout do not count, so that explaining a trainer better never retrains a model. A stage names
the modules it begins with; `code_behind` follows their imports, so that no list can fall behind the code.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
from collections.abc import Sequence
from functools import cache
from importlib.util import cache_from_source
from pathlib import Path

from visor_core.errors import ConfigError
from visor_core.files import whole_file

_ROOT = Path(__file__).resolve().parents[1]
_PARSED = Path(cache_from_source(__file__)).with_suffix(".json")
"""Beside Python's own compiled files, and like them: what every process that loads the definitions would parse anew."""
_MOST_PARSED = 2000
"""Files remembered, the newest; each version of a file is one."""


class _WithoutProse(ast.NodeTransformer):
    """Drops docstrings: expressions that are nothing but a string."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        bare = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if bare else node


def meaning_of(source: str) -> str:
    """The syntax tree of a module without prose, as text; the same under every supported Python.

    `ast.dump` is not: 3.12 gave functions and classes `type_params`, 3.13 leaves empty fields out. Here nothing that
    is empty is written, and fields stand in the order of their names.
    """
    return _plain(_WithoutProse().visit(ast.parse(source)))


def _plain(node: object) -> str:
    if isinstance(node, ast.AST):
        fields = sorted((name, value) for name, value in ast.iter_fields(node) if value not in (None, []))
        return f"{type(node).__name__}({','.join(f'{name}={_plain(value)}' for name, value in fields)})"
    if isinstance(node, list):
        return f"[{','.join(map(_plain, node))}]"
    return repr(node)


class _Parsed:
    """Files as they were parsed, by this process or an earlier one: the hash of their meaning, and their imports."""

    def __init__(self) -> None:
        self._own = Path(__file__).read_bytes()
        self._found: dict[Path, tuple[str, frozenset[str]]] = {}
        try:
            self._known: dict[str, list[str]] = dict(json.loads(_PARSED.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            self._known = {}  # a cache: what cannot be read is parsed again
        self._kept = len(self._known)

    def of(self, path: Path) -> tuple[str, frozenset[str]]:
        """The hash of a file's meaning, and the dotted names it imports, of whatever project."""
        if path not in self._found:
            content = path.read_bytes()
            key = hashlib.sha256(self._own + content).hexdigest()
            if key not in self._known:
                source = content.decode()
                meaning = hashlib.sha256(meaning_of(source).encode()).hexdigest()
                self._known[key] = [meaning, *sorted(_imported_names(source))]
            digest, *names = self._known[key]
            self._found[path] = (digest, frozenset(names))
        return self._found[path]

    def keep(self) -> None:
        """Leave what was parsed to the next process, where files may be written."""
        nearest = next(folder for folder in _PARSED.parents if folder.exists())
        if len(self._known) > self._kept and os.access(nearest, os.W_OK):
            newest = dict(list(self._known.items())[-_MOST_PARSED:])
            with whole_file(_PARSED, several_writers=True) as partial:
                partial.write_text(json.dumps(newest), encoding="utf-8")
        self._kept = len(self._known)


@cache
def _parsed() -> _Parsed:
    return _Parsed()


def _digest(path: Path) -> str:
    return _parsed().of(path)[0]


def code_version(*names: str) -> str:
    """Hash (12 hex digits) over modules and whole packages given by dotted name (`visor_core.documents`).

    Raises:
        ConfigError: if a name is neither a module nor a package of this project.
    """
    files = {path for name in names for path in _files(name)}
    lines = sorted(f"{path.relative_to(_ROOT).as_posix()} {_digest(path)}" for path in files)
    _parsed().keep()
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


def code_behind(*names: str, within: Sequence[str], without: Sequence[str] = ()) -> frozenset[str]:
    """Modules by dotted name, and what they import of `within` (modules or packages), directly or through each other.

    Imports inside functions count like any other; those for the type checker alone do not.

    Args:
        without: modules or packages that are left out, unless they are among `names`.

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
            waiting += [m for m in imported if _is_in(m, within) and not _is_in(m, without)]
    return frozenset(found)


def _is_in(module: str, packages: Sequence[str]) -> bool:
    return any(f"{module}.".startswith(f"{package}.") for package in packages)


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
    candidates = (module for name in _parsed().of(path)[1] for module in (name, f"{name}.__init__"))
    return frozenset(name for name in candidates if _ROOT.joinpath(*name.split(".")).with_suffix(".py").is_file())


def _imported_names(source: str) -> set[str]:
    """The dotted names that a module imports, wherever it does, but not those for the type checker alone."""
    found: set[str] = set()
    waiting: list[ast.AST] = [ast.parse(source)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            waiting += node.orelse
        else:
            waiting += ast.iter_child_nodes(node)
    return found
