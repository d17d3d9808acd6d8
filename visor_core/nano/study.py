"""The study behind the table: base model, SFT and GRPO over several seeds, on documents that no stage has seen.

One seed is one world, one base model, one retriever, one teacher, one SFT and one GRPO run. Temperatures are chosen on
development questions; figures are reported on development, or, with `final`, on the test split, whose every reading
is logged. `run_long` does the same with larger budgets, then on the rich tier; `run_rivals` compares strategies. Every
stage and figure is kept, so a killed study continues; this module alone opens the test split.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from visor_core.config import Profile, derived
from visor_core.errors import ConfigError
from visor_core.files import write_json, write_text
from visor_core.nano.held_out import FinalStudy, write_test_world
from visor_core.nano.rivals import (
    RivalFigures,
    as_settings,
    budgets_of,
    calibrate,
    neutral_profile,
    rival_profile,
    rivals_of,
)
from visor_core.nano.rivals_table import rivals_markdown
from visor_core.nano.study_figures import SeedFigures, Split
from visor_core.nano.study_stages import Progress, Seed, stage_folder, stage_record, tag_of
from visor_core.nano.study_table import STAGES, long_markdown, study_markdown
from visor_core.tracking import Tracker


@dataclass(frozen=True, slots=True)
class StudyRun:
    """What all kinds of study share.

    `folder` holds everything, and a later run continues there; `final` reports on the test split; `commit` names the
    code and is printed with every table; with a `tracker`, every stage that trains is a run with its curves.
    """

    profile: Profile
    folder: Path
    seeds: Sequence[int]
    final: bool
    commit: str
    progress: Progress = lambda line: None
    tracker: Tracker | None = None

    @property
    def split(self) -> str:
        """The split that is reported."""
        return "test" if self.final else "development"

    def seed(self, profile: Profile, folder: str, number: int) -> Seed:
        """One seed's stages in a subfolder."""
        return Seed(profile, self.folder / folder, number, self.commit, self.progress, self.tracker)

    def reported(self, seed: Seed, purpose: str) -> Split:
        """The split to report on; reading test is logged."""
        if self.final:
            what = f"{purpose}, settings {tag_of(seed.profile)}"
            study = FinalStudy(self.folder, self.commit)
            world = write_test_world(study, seed.pdf_folder(self.split), seed.nano, seed.seed, what)
        else:
            world = seed.world(self.split)
        return Split(seed, world, seed.questions(world))

    def write(self, name: str, table: str, data: object) -> str:
        """Keep a table as `<name>-<split>.md` and its figures as `<name>-<split>.json`."""
        write_text(self.folder / f"{name}-{self.split}.md", table)
        write_json(self.folder / f"{name}-{self.split}.json", data)
        return table


def run_study(run: StudyRun) -> str:
    """Run all seeds and write `study-<split>.md` and its figures; returns the table as Markdown.

    Raises:
        ConfigError: if the profile has no section `nano`.
    """
    results = [measure_seed(run, run.profile, f"seed-{seed}", seed, "study") for seed in run.seeds]
    return run.write("study", study_markdown(results, run.split, run.commit), [asdict(r) for r in results])


def run_long(run: StudyRun) -> str:
    """One seed with larger budgets, then the rich tier; writes `long-<split>.md` and its figures.

    Raises:
        ConfigError: if the profile has no section `nano`, or a setting of `study.long` or `study.rich` is wrong.
    """
    tiers = {
        "core, longer": ("long-core", derived(run.profile, run.profile.study.long, "study.long")),
        "rich": ("long-rich", derived(run.profile, run.profile.study.rich, "study.rich")),
    }
    results = {
        name: [measure_seed(run, profile, f"{folder}-{seed}", seed, name) for seed in run.seeds]
        for name, (folder, profile) in tiers.items()
    }
    budgets = {name: budget_of(profile) for name, (_, profile) in tiers.items()}
    table = long_markdown(results, budgets, run.split, run.commit)
    return run.write("long", table, {name: [asdict(r) for r in found] for name, found in results.items()})


def run_rivals(run: StudyRun) -> str:
    """Train and compare the strategies of `study.rivals`; writes `rivals-<split>.md` and its figures.

    Each strategy of each seed is kept by itself: run the seeds one at a time, then all together for the whole table.

    Raises:
        ConfigError: if the profile has no section `nano`, a rival is unknown, or no steps are recorded for one.
    """
    run = replace(run, profile=neutral_profile(run.profile))
    names = rivals_of(run.profile)
    budgets = budgets_of(run.profile, run.folder)
    results = [_rivals_of_seed(run, names, budgets, seed) for seed in run.seeds]
    table = rivals_markdown(results, budgets, run.profile.study.neutral, run.split, run.commit)
    return run.write("rivals", table, [asdict(r) for r in results])


def run_calibration(run: StudyRun) -> str:
    """Time every strategy on the first seed and keep its steps of equal time; returns them as lines of a profile.

    Raises:
        ConfigError: if the profile has no section `nano` or a rival is unknown.
    """
    run = replace(run, profile=neutral_profile(run.profile))
    number = run.seeds[0]
    seed = run.seed(run.profile, f"seed-{number}", number)
    budgets = calibrate(run.profile, run.folder, seed)
    seed.close()
    return as_settings(budgets)


def measure_seed(run: StudyRun, profile: Profile, folder: str, number: int, purpose: str) -> SeedFigures:
    """Train and measure one seed under a profile."""
    seed = run.seed(profile, folder, number)
    checkpoints = seed.checkpoints(profile)
    world = seed.world("development")
    chosen = Split(seed, world, seed.questions(world))
    reported = run.reported(seed, purpose) if run.final else chosen
    policies = {}
    for name in STAGES:
        run.progress(f"seed {number}: measuring {name} on {run.split}")
        # An untrained model fails at every temperature, and its episodes run to the turn limit.
        best = 0.0 if name == "base" else chosen.best_temperature(profile, checkpoints[name])
        policies[name] = reported.policy(profile, checkpoints[name], best)
    run.progress(f"seed {number}: probes on {run.split}")
    probes = reported.probes()
    folders = {name: stage_folder(path) for name, path in checkpoints.items()} | {"retriever": seed.retriever()}
    records = {name: stage_record(path) for name, path in folders.items()}
    seed.close()
    return SeedFigures(
        seed=number,
        strata=reported.strata,
        policies=policies,
        reading=probes["reading"],
        recall=probes["recall"],
        ceiling=probes["ceiling"]["supported"],
        seconds={name: record.seconds for name, record in records.items()},
        interrupted=tuple(name for name, record in records.items() if record.interrupted),
        commits=tuple(sorted({record.commit for record in records.values()})),
    )


def _rivals_of_seed(
    run: StudyRun, names: Sequence[str], budgets: dict[str, tuple[int, int]], number: int
) -> RivalFigures:
    seed = run.seed(run.profile, f"seed-{number}", number)
    checkpoints = {name: seed.grpo(rival_profile(run.profile, name, budgets[name])) for name in names}
    reported = run.reported(seed, "rivals")
    runs, records = {}, {}
    for name, checkpoint in checkpoints.items():
        profile = rival_profile(run.profile, name, budgets[name])
        run.progress(f"seed {number}: measuring {name} on {run.split}")
        runs[name] = reported.rival(profile, checkpoint)
        records[name] = (stage_record(seed.sft_folder(profile)), stage_record(stage_folder(checkpoint)))
    seed.close()
    return RivalFigures(
        seed=number,
        strata=reported.strata,
        greedy={name: found["greedy"] for name, found in runs.items()},
        sampled={name: found["sampled"] for name, found in runs.items()},
        seconds={name: (warm.seconds, reinforced.seconds) for name, (warm, reinforced) in records.items()},
        interrupted=tuple(name for name, pair in records.items() if any(record.interrupted for record in pair)),
        commits=tuple(sorted({record.commit for pair in records.values() for record in pair})),
    )


def budget_of(profile: Profile) -> str:
    """The training budget of a profile in words."""
    nano = profile.nano
    if nano is None:
        raise ConfigError(f"the profile {profile.name!r} has no section `nano`: the study needs the nano profile")
    base = f"{nano.vision_steps} + {nano.alignment_steps} base"
    return f"{base}, {profile.sft.steps} SFT and {profile.grpo.steps} GRPO steps"
