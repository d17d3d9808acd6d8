"""What a user calls a result: its label, its file, the checkpoint it is of, or an id of MLflow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from visor_core.errors import DataError
from visor_core.evaluation.results import BenchmarkResult, read_result
from visor_core.lineage import Build, Made, find_build, read_builds
from visor_core.lineage.comparison import MEASURED, results_of
from visor_core.lineage.graph import EVALUATION, is_in_force
from visor_core.lineage.reference import home_holding

if TYPE_CHECKING:
    from visor_core.config import Home

LISTED = 8
"""Labels that are named where one is not known."""
FORMS = "a label, a result file, a checkpoint (sft_checkpoint, grpo_checkpoint, champion, a folder) or an id of MLflow"


@dataclass(frozen=True)
class NamedResult:
    """A result, what it is called, the home it lies in, and the profile it was made under ("" where not known)."""

    label: str
    result: BenchmarkResult
    home: Home
    profile: str = ""


class ResultNames:
    """The results of a home by the names a user may give them."""

    def __init__(self, home: Home, note: Callable[[str], None]) -> None:
        self._home, self._note = home, note
        self._known: dict[Path, Mapping[Made, Build]] = {}

    def arm(self, given: str) -> tuple[str, list[NamedResult]]:
        """What one argument of `visor compare` means: a label and its results, several where it names one a seed.

        Args:
            given: a result; or several with commas between, with `NAME=` before them if they are to be called so.

        Raises:
            DataError: if one is unknown or could be several.
        """
        try:
            found = self.result(given)
            return found.label, [found]
        except DataError:
            name, marked, rest = self._naming(given)
            parts = [part.strip() for part in rest.split(",") if part.strip()]
            if len(parts) < 2 and not (marked and self._is_known(parts)):
                raise
        results = [self.result(part) for part in parts]
        return (name if marked else ", ".join(found.label for found in results)), results

    def _is_known(self, parts: Sequence[str]) -> bool:
        """Whether these are results: a label that ends in `T=0` and is misspelt names nothing `0`."""
        try:
            return bool([self.result(part) for part in parts])
        except DataError:
            return False

    def _naming(self, given: str) -> tuple[str, str, str]:
        """`NAME`, `=` and the results named after it; no name where the first of them has `=` in its own, as `T=0`."""
        try:
            self.result(given.split(",")[0].strip())
        except DataError:
            name, marked, rest = given.partition("=")
            return (name, marked, rest) if marked else ("", "", given)
        return "", "", given

    def result(self, given: str) -> NamedResult:
        """The result that a name means.

        Raises:
            DataError: if there is none, or it could be several.
        """
        path = Path(given).expanduser()
        home = home_holding(given, self._home)
        if path.suffix == ".json" and path.is_file() and path.name not in ("lineage.json",):
            return NamedResult(path.stem, read_result(path), home, self._profile_of(home, path))
        labelled = self._labelled(given)
        if labelled:
            return self._only(given, labelled)
        kept = self._home.evaluations / f"{given}.json"
        if "/" not in given and kept.is_file() and kept.stat().st_size:  # its lineage is that of a later label
            return NamedResult(given, read_result(kept), self._home)
        return self._of_build(given, home)

    def _labelled(self, given: str) -> list[NamedResult]:
        """The results of that label: of `visor eval` by the label it was given or its file, of the benchmark in force
        by the policy's name; of one label the newest."""
        found: dict[str, tuple[str, NamedResult]] = {}
        for build in self._builds(self._home).values():
            if build.stage not in MEASURED or not build.folder(self._home).exists():
                continue
            profile, created = str(build.stored["profile"]), str(build.stored["created"])
            if build.stage == EVALUATION:
                file, label = build.folder(self._home), str(build.stored["call"]["label"])
                if given in (label, file.stem):
                    named = NamedResult(label, read_result(file), self._home, profile)
                    found[file.stem if given == file.stem else label] = max(
                        found.get(label, ("", named)), (created, named), key=lambda entry: entry[0]
                    )
            elif is_in_force(self._home, build):
                for name, result in results_of(build, self._home).items():
                    if name == given:
                        found[f"{build.made}/{name}"] = (created, NamedResult(name, result, self._home, profile))
        return [named for _, named in found.values()]

    def _of_build(self, given: str, home: Home) -> NamedResult:
        from visor_core.lineage.transfer import checkpoint_build, measured

        known = self._builds(home)
        try:
            build = find_build(home, given, known)
        except DataError as error:
            raise DataError(f"no result {given!r} in {home.root}: {self._known_labels(given)} ({error})") from error
        profile = str(build.stored["profile"])
        if build.stage in MEASURED:
            found = results_of(build, home)
            name = str(build.stored.get("call", {}).get("label", ""))
            results = [NamedResult(name or key, result, home, profile) for key, result in found.items()]
        else:
            build = checkpoint_build(home, build, known)
            results = [NamedResult(k, r, home, profile) for k, r in measured(home, build, known).items()]
        if not results:
            raise DataError(f"{given} was not evaluated: run `visor eval --checkpoint {build.fingerprint}` first")
        return self._only(given, self._greedy(given, build.stage, results))

    def _known_labels(self, given: str) -> str:
        """What there is, the nearest to a name first."""
        labels = self._labels()
        if not labels:
            return "nothing was evaluated there; `visor eval` first"
        near = get_close_matches(given, labels, n=LISTED, cutoff=0.5)
        shown = list(dict.fromkeys([*near, *labels]))[:LISTED]
        more = f" and {len(labels) - len(shown)} more" if len(labels) > len(shown) else ""
        return f"there are {', '.join(map(repr, shown))}{more}; give {FORMS}"

    def _labels(self) -> list[str]:
        """The labels of the evaluations and of the benchmark in force, and the files without a label."""
        found = {}
        for build in self._builds(self._home).values():
            if build.stage == EVALUATION and build.folder(self._home).exists():
                found[str(build.stored["call"]["label"])] = None
            elif build.stage in MEASURED and is_in_force(self._home, build):
                found |= dict.fromkeys(results_of(build, self._home))
        labelled = {build.folder(self._home) for build in self._builds(self._home).values()}
        there = sorted(self._home.evaluations.glob("*.json"))
        return [*found, *(path.stem for path in there if path.stat().st_size and path not in labelled)]

    def _greedy(self, given: str, stage: str, results: list[NamedResult]) -> list[NamedResult]:
        """Of several results of a checkpoint, the benchmark's own greedy one, which is said."""
        from visor_core.config.policies import POLICIES

        usual = {policy.run() for policy in POLICIES if policy.stage == stage}
        own = [named for named in results if named.label in usual]
        if len(results) > 1 and len(own) == 1:
            others = ", ".join(named.label for named in results if named is not own[0])
            self._note(f"{given} means its result {own[0].label}; there are also {others}")
            return own
        return results

    @staticmethod
    def _only(given: str, found: list[NamedResult]) -> NamedResult:
        if len(found) > 1:
            raise DataError(f"{given} has several results: name one of {', '.join(n.label for n in found)}")
        return found[0]

    def _builds(self, home: Home) -> Mapping[Made, Build]:
        if home.root not in self._known:
            self._known[home.root] = read_builds(home)
        return self._known[home.root]

    def _profile_of(self, home: Home, path: Path) -> str:
        """The profile that a result file was made under; "" where its lineage is not kept."""
        path = path.resolve()
        for build in self._builds(home).values():
            place = build.folder(home).resolve()
            if build.stage in MEASURED and path in (place, place / path.name):
                return str(build.stored["profile"])
        return ""
