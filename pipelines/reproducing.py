"""A build made again from its recorded lineage alone, in a home of its own, and held against the record.

What it needs is worked out and said before anything starts (`plan`): which code and packages, which sources, whether
this machine is of the recorded kind. Then `visor run` rebuilds the ancestry stage by stage (`rebuild`), and what comes
out is compared as it comes.
"""

from __future__ import annotations

import copy
import fcntl
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from pipelines.recorded_code import RecordedCode, Runner, choose_code, forget_worktree, prepare
from pipelines.recorded_sources import Sources, find_sources, place_sources
from visor_core.config import Home
from visor_core.errors import ConfigError, DataError
from visor_core.files import write_json
from visor_core.lineage.comparison import MEASURED, Reproduction, StageOutcome, compare_rebuilt
from visor_core.lineage.graph import EVALUATION, Build, Lineage, Made, ancestry, read_builds
from visor_core.lineage.machine import kind_differences, machine

LISTED = 10
"""Missing sources that are named."""
POLL = 1.0
"""Seconds between looks at what the new home holds."""
FOLDER = "reproduction"
"""In the new home: the recorded profile, code and packages, and which build is made again."""


@dataclass(frozen=True)
class Plan:
    """What is rebuilt, from what, with what, and what is to be expected."""

    home: Home
    new: Home
    asked: Build
    lineage: Lineage
    code: RecordedCode
    evaluation: RecordedCode | None
    """Code and packages of a `visor eval`, which may be others than those that trained."""
    sources: Sources
    machines: tuple[str, ...]
    unsure: tuple[str, ...] = ()

    @property
    def exact(self) -> bool:
        """Whether nothing may come out otherwise."""
        return not self.machines and not self.unsure

    @property
    def text(self) -> list[str]:
        """What is said before it starts, a line each."""
        lines = [f"{self.lineage.target.made} is rebuilt in {self.new.root}, {len(self.lineage.builds)} builds in all"]
        if self.asked.made != self.lineage.target.made:
            lines.append(f"it measured {self.asked.made}, whose weights will differ here")
        lines += [note for code in (self.code, self.evaluation) if code for note in code.notes]
        count = self.sources.count
        lines.append(f"sources from outside: {f'{count}, all found by their hashes' if count else 'none'}")
        if self.machines:
            lines += [f"another kind of machine: {line}" for line in self.machines]
            lines.append("so trained weights will differ by rounding; what they score is compared by 95 % intervals")
        else:
            lines.append("the same kind of machine: data versions and weights have to be identical")
        lines += self.unsure
        return lines


def plan(home: Home, build: Build, known: Mapping[Made, Build], new: Home) -> Plan:
    """Work out how a build is made again; nothing is written yet.

    Raises:
        DataError: if its lineage is not whole, a source is missing, its code cannot be had, or on another kind of
            machine nothing is recorded to compare by.
        ConfigError: if the new home is in use for something else, or the Python it needs is not here.
    """
    target = _ending(build, known)
    lineage = ancestry(home, target, known)
    machines = _other_kind(lineage)
    if machines and not any(above.stage in MEASURED for above in lineage.builds):
        lineage = ancestry(home, _measuring(target, known), known)
    if lineage.missing:
        lost = ", ".join(f"{made} (data {made.data_version})" for made in lineage.missing)
        raise DataError(f"the lineage of {target.made} is not whole, {lost} is not kept: it cannot be rebuilt")
    if server := lineage.target.stored.get("from_outside", {}).get("server"):
        raise DataError(f"{target.made} was answered by the server of {server}: `visor eval` asks it again")
    sources = find_sources(home, lineage)
    if sources.missing:
        more = len(sources.missing) - LISTED
        named = "; ".join(sources.missing[:LISTED]) + (f"; and {more} more" if more > 0 else "")
        raise DataError(f"{target.made} cannot be rebuilt, missing: {named}")
    code = choose_code(_configured(lineage))
    evaluation = choose_code(lineage.target) if lineage.target.stage == EVALUATION else None
    _require_free(new, lineage.target)
    return Plan(home, new, target, lineage, code, evaluation, sources, tuple(machines), tuple(_unsure(lineage)))


def _ending(build: Build, known: Mapping[Made, Build]) -> Build:
    """The build itself; for a champion that reigns from before, the checkpoint it names, which has other parents."""
    if build.stage != "champion_model":
        return build
    makers = [
        other
        for other in known.values()
        if other.stored["path"] == build.stored["path"] and other.stage != "champion_model"
    ]
    return build if not makers or makers[0].made in build.upstream else makers[0]


def _other_kind(lineage: Lineage) -> list[str]:
    """In what the machines that trained are of another kind than this one; what was not trained needs no kind."""
    here = machine()
    lines: dict[str, None] = {}
    for build in lineage.builds:
        if build.stored.get("in_effect"):
            lines |= dict.fromkeys(kind_differences(build.stored["machine"], here))
            if build.stored["machine"]["cores"] != here["cores"] and not build.stored["configuration"]["threads"]:
                lines[f"cores: {build.stored['machine']['cores']} there, {here['cores']} here"] = None
    return list(lines)


def _measuring(target: Build, known: Mapping[Made, Build]) -> Build:
    """The newest evaluation of a checkpoint.

    Raises:
        DataError: if there is none.
    """
    found = [build for build in known.values() if build.stage in MEASURED and target.made in build.upstream]
    if not found:
        raise DataError(
            f"this is another kind of machine than that of {target.made}: its weights will differ, and no evaluation of"
            " it is recorded to compare by; evaluate it there first, with `visor eval`"
        )
    return max(found, key=lambda build: (build.stage != EVALUATION, str(build.stored["created"])))


def _unsure(lineage: Lineage) -> Iterator[str]:
    """What comes out otherwise each time, whatever the machine."""
    for build in lineage.builds:
        configuration = build.stored["configuration"]
        if build.stage in ("grpo_checkpoint", "benchmark_results") and configuration["model"]["engine"] == "vllm":
            yield f"{build.node} ran on vLLM, which does not repeat itself: it is compared by 95 % intervals"
        if build.stage == EVALUATION and build.stored["call"]["engine"] == "vllm":
            yield f"{build.node} ran on vLLM, which does not repeat itself: it is compared by 95 % intervals"


def _require_free(new: Home, target: Build) -> None:
    """A new home is empty, or was begun for the same build.

    Raises:
        ConfigError: if it holds something else.
    """
    mark = new.root / FOLDER / "target.json"
    if mark.is_file() and json.loads(mark.read_text(encoding="utf-8")) == target.made._asdict():
        return
    if new.root.is_dir() and any(new.root.iterdir()):
        raise ConfigError(f"{new.root} is not empty: give --home a new folder")


def rebuild(plan: Plan, said: Callable[[str], None]) -> Reproduction:
    """Make the lineage again and compare.

    Args:
        plan: how.
        said: told each stage's outcome as soon as it is there.

    Raises:
        DataError: if the code, the packages or a corpus cannot be prepared.
        ConfigError: if another process rebuilds in that home.
    """
    place = plan.new.root / FOLDER
    with _held(plan.new):
        write_json(place / "target.json", plan.lineage.target.made._asdict())
        place_sources(plan.sources, plan.new)
        try:
            runner = prepare(plan.code, place)
            _ingest(plan, runner, place)
            profile = _write_profile(plan, place)
            complete = _run(plan, runner, profile, said)
            if complete and plan.lineage.target.stage == EVALUATION:
                assert plan.evaluation is not None
                _evaluate(plan, prepare(plan.evaluation, place / EVALUATION), place)
                said(StageOutcome(plan.lineage.target, _rebuilt(plan).get(EVALUATION)).text)
        finally:
            forget_worktree(place)
            forget_worktree(place / EVALUATION)
    return compare_rebuilt(plan.lineage, _rebuilt(plan), (plan.home, plan.new), exact=plan.exact)


@contextmanager
def _held(home: Home) -> Iterator[None]:
    """Hold the new home: two that rebuild in it would write over each other, and clearing up leaves it alone."""
    home.root.mkdir(parents=True, exist_ok=True)
    with (home.root / ".running").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(f"another process rebuilds in {home.root}: wait, or give another --home") from error
        yield


def _write_profile(plan: Plan, place: Path) -> Path:
    """The recorded configuration as a profile, with what names files of this machine."""
    settings = dict(plan.sources.overrides)
    launches = [build.stored["launch"] for build in plan.lineage.builds if build.stored.get("launch")]
    if launches:
        path = place / "launch.yaml"
        path.write_text(yaml.safe_dump(launches[-1]["content"], sort_keys=False), encoding="utf-8")
        settings["accelerate"] = str(path)
    return _as_recorded(_configured(plan.lineage), settings, place / "profile.yaml")


def _as_recorded(build: Build, settings: Mapping[str, object], path: Path) -> Path:
    """A build's configuration as a profile, word for word: the code that reads it may know other sections than this."""
    configuration = copy.deepcopy(dict(build.stored["configuration"]))
    for dotted, value in settings.items():
        *sections, key = dotted.split(".")
        section = configuration
        for name in sections:
            section = section[name]
        section[key] = value
    path.write_text(yaml.safe_dump(configuration, sort_keys=False), encoding="utf-8")
    return path


def _ingest(plan: Plan, runner: Runner, place: Path) -> None:
    """Corpora of the user's documents, under the settings they were made under."""
    for corpus in plan.sources.corpora:
        path = place / f"{corpus.name}.yaml"
        path.write_text(yaml.safe_dump({"name": "documents", **corpus.settings}, sort_keys=False), encoding="utf-8")
        inbox = str(plan.new.inbox(corpus.name))
        process = runner.start(plan.new.root, "ingest", inbox, "--corpus", corpus.name, "--profile", str(path))
        if _wait(process):
            raise DataError(f"the corpus {corpus.name} cannot be made again, see above")


def _run(plan: Plan, runner: Runner, profile: Path, said: Callable[[str], None]) -> bool:
    """`visor run` for the target, or for what an evaluation was made from; false if it was stopped at a difference."""
    target = plan.lineage.target
    ends = list(target.upstream) if target.stage == EVALUATION else [target.made]
    stages: dict[str, list[str]] = {}
    for made in ends:
        stage, _, rest = made.node.partition("[")
        stages.setdefault(rest.removesuffix("]"), []).append(stage)
    for corpus, names in stages.items():
        arguments = [argument for name in dict.fromkeys(names) for argument in ("--select", name)]
        arguments += ["--corpus", corpus] if corpus else []
        process = runner.start(plan.new.root, "run", "--profile", str(profile), *arguments)
        if not _follow(plan, process, said):
            return False
    return True


def _configured(lineage: Lineage) -> Build:
    """The build whose code and configuration the rest was made under: the target; of an evaluation, the checkpoint."""
    target = lineage.target
    if target.stage != EVALUATION:
        return target
    above = [build for build in lineage.builds if build.made in target.upstream]
    return next((build for build in above if build.stored.get("weights")), (above or [target])[-1])


def _follow(plan: Plan, process: subprocess.Popen[bytes], said: Callable[[str], None]) -> bool:
    """Say each stage's outcome while it runs; stop at the first that differs where nothing may."""
    seen: set[str] = set()
    try:
        while True:
            ended = process.poll() is not None
            rebuilt = _rebuilt(plan)
            for build in plan.lineage.builds:
                if build.node in seen or build.node not in rebuilt:
                    continue
                outcome = StageOutcome(build, rebuilt[build.node])
                said(outcome.text)
                seen.add(build.node)
                if plan.exact and not outcome.identical:
                    return False
            if ended:
                return True
            time.sleep(POLL)
    finally:
        _stop(process)


def _rebuilt(plan: Plan) -> dict[str, Build]:
    """The builds of the new home by node, the newest of each."""
    builds = sorted(read_builds(plan.new).values(), key=lambda build: str(build.stored["created"]))
    return {build.node: build for build in builds}


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a command and what it has started, as Ctrl-C would."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait(process: subprocess.Popen[bytes]) -> int:
    try:
        return process.wait()
    finally:
        _stop(process)


def _evaluate(plan: Plan, runner: Runner, place: Path) -> None:
    """`visor eval` as it was called, on what was rebuilt."""
    stored = plan.lineage.target.stored
    call, rebuilt = stored["call"], _rebuilt(plan)
    profile = _as_recorded(plan.lineage.target, {}, place / "evaluation.yaml")
    above = [rebuilt[made.node] for made in plan.lineage.target.upstream]
    trained = [build for build in above if build.stored.get("weights")]
    index = rebuilt.get(f"page_index[{call['corpus']}]")
    arguments = ["--profile", str(profile), "--benchmark", call["benchmark"], "--split", call["split"]]
    arguments += ["--corpus", call["corpus"], "--tag", str(index.stored["index_tag"]) if index else "latest"]
    weights = str(trained[0].folder(plan.new)) if trained else call["checkpoint"]
    arguments += ["--policy", call["policy"]] if call.get("policy") else ["--checkpoint", weights]
    arguments += ["--temperature", str(call["temperature"]), "--seed", str(stored["seed"]), "--engine", call["engine"]]
    arguments += ["--limit", str(call["limit"])] if call["limit"] else []
    arguments += ["--questions", call["questions"]] if call["questions"] else []
    arguments += ["--label", call["label"]]
    # It ends with 1 where episodes failed, as they may have the first time: what counts is the result.
    threads = int(stored["in_effect"].get("threads", 0))
    _wait(runner.start(plan.new.root, "eval", *arguments, threads=threads))
