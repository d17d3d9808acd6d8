"""The house rules that a machine can check: layers, light entry points, names and sizes of files."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CODE = ("visor_core", "assets_defs", "pipelines")
# Each layer may import itself and those before it; the two in one row are siblings and do not know each other.
LAYERS = (
    (
        *("errors", "addresses", "installation", "files", "inventory", "byte_cache", "network", "metadata"),
        *("config", "code_version", "geometry", "questions", "processes"),
    ),
    ("tracking",),
    ("scoring",),
    ("policies",),
    ("documents",),
    ("index",),
    ("agent",),
    ("trajectories",),
    ("training", "evaluation"),
    ("verification",),
    ("lineage", "stress"),
    ("nano",),
)
LEVEL = {name: level for level, row in enumerate(LAYERS) for name in row}
# The record types of an episode are what scores are computed on; they stand on questions and policies.base alone.
SHARED_TYPES = {"visor_core.agent.trajectory", "visor_core.policies.base"}
LONGEST = 400


def _modules(*packages: str) -> list[Path]:
    return sorted(path for package in packages for path in (ROOT / package).rglob("*.py"))


def _imports(path: Path) -> set[str]:
    """Every absolute module a file imports, at any depth, type-checking imports included."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return found


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_every_layer_imports_only_those_below() -> None:
    wrong = []
    for path in _modules("visor_core"):
        parts = path.relative_to(ROOT / "visor_core").with_suffix("").parts
        if parts == ("__init__",):
            continue
        assert parts[0] in LEVEL, f"visor_core/{parts[0]} has no layer: add it to LAYERS"
        for module in sorted(_imports(path)):
            if not module.startswith("visor_core."):
                continue
            if any(module == t or module.startswith(t + ".") for t in SHARED_TYPES) and parts[0] == "scoring":
                continue
            other = module.split(".")[1]
            same_row = LEVEL.get(other) == LEVEL[parts[0]] and LEVEL[other] > 0 and other != parts[0]
            if other in LEVEL and (LEVEL[other] > LEVEL[parts[0]] or same_row):
                wrong.append(f"{_name(path)} imports {module}")
    assert wrong == []


def test_the_library_knows_nothing_of_orchestration() -> None:
    wrong = [
        f"{_name(path)} imports {module}"
        for path in _modules("visor_core")
        for module in sorted(_imports(path))
        if module.split(".")[0] in ("dagster", "dagster_pipes", "assets_defs", "pipelines")
    ]
    assert wrong == []


def test_index_and_agent_know_nothing_of_nano() -> None:
    wrong = [
        _name(path)
        for path in _modules("visor_core/index", "visor_core/agent", "visor_core/documents", "visor_core/policies")
        if any(module.startswith("visor_core.nano") for module in _imports(path))
    ]
    assert wrong == []


@pytest.mark.parametrize("statement", ["import pipelines.cli", "import pipelines.definitions"])
def test_entry_points_load_without_heavy_packages(statement: str) -> None:
    if statement.endswith("definitions") and not (ROOT / "pipelines" / "definitions.py").is_file():
        pytest.skip("no definitions in this checkout")
    heavy = ("torch", "transformers", "vllm", "trl", "mlflow", "matplotlib")
    code = f"{statement}\nimport sys\nprint(*[m for m in {heavy!r} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert run.stdout.strip() == ""


def test_names_say_what_a_module_holds() -> None:
    vague = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}
    wrong = [_name(p) for p in _modules(*CODE, "tests") if set(p.relative_to(ROOT).with_suffix("").parts) & vague]
    assert wrong == []


def test_files_stay_readable() -> None:
    long = {_name(p): len(p.read_text(encoding="utf-8").splitlines()) for p in _modules(*CODE)}
    assert {name: lines for name, lines in long.items() if lines > LONGEST * 1.1} == {}


def test_every_module_opens_by_saying_what_it_is_for() -> None:
    wrong = []
    for path in _modules(*CODE, "tests"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if tree.body and not ast.get_docstring(tree):
            wrong.append(_name(path))
    assert wrong == []


def test_nothing_is_swallowed() -> None:
    """No bare or blanket except, and no handler that only passes."""
    wrong = []
    for path in _modules(*CODE):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ExceptHandler):
                continue
            caught = ast.unparse(node.type) if node.type else ""
            if caught in ("", "Exception", "BaseException") and not any(
                isinstance(n, ast.Raise) for n in ast.walk(node)
            ):
                wrong.append(f"{_name(path)}:{node.lineno} catches everything")
    assert wrong == []


def test_sources_hold_no_machine_path() -> None:
    marks = ("/work/", "/root/", "/home/")
    wrong = [
        f"{_name(path)}: {mark}"
        for path in _modules(*CODE, "tests")
        if path != Path(__file__)
        for mark in marks
        if mark in path.read_text(encoding="utf-8")
    ]
    assert wrong == []
