"""`visor counterfactual` and `visor stress KIND`: does an answer follow its document, and what does success stand.

Both play by the ordinary player on corpora made from the one named (`visor_core.stress`), which itself is never
written; both go on where they were stopped, and leave a JSON file and a page under VISOR_HOME/reports.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.markup import escape
from rich.table import Table

from pipelines.cli import asking, judging, scripted
from pipelines.cli.question_sets import (
    BENCHMARK,
    CORPUS,
    FRESH,
    LIMIT,
    QUESTIONS,
    SPLIT,
    TAG,
    TEMPERATURE,
    evaluation_of,
    open_benchmark,
    settled_benchmark,
    settled_split,
)
from pipelines.cli.session import console, errors, home_of, print_left_out, print_table, progress_bar
from visor_core.config.derived_corpora import RUNNING
from visor_core.errors import ConfigError
from visor_core.files import file_name, in_use, write_json

if TYPE_CHECKING:
    from PIL import Image

    from visor_core.agent.environment import SearchIndex
    from visor_core.config import Home, Profile
    from visor_core.index import PageIndex
    from visor_core.policies.base import ImageRef, Policy
    from visor_core.questions import Question
    from visor_core.stress.conditions import Condition, Measured, Subject
    from visor_core.stress.counterfactuals import Faithfulness, Plan
    from visor_core.stress.curves import Curve

SEED = typer.Option(0, help="Seed of new values, choices of documents and the sampling noise.")
INJECTION = "injection"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(counterfactual)
    app.command()(stress)


def counterfactual(
    context: typer.Context,
    questions: Path | None = QUESTIONS,
    benchmark: str = BENCHMARK,
    split: str = SPLIT,
    corpus: str = CORPUS,
    tag: str = TAG,
    policy: str = scripted.POLICY,
    checkpoint: Path | None = asking.CHECKPOINT,
    endpoint: str = asking.ENDPOINT,
    model: str = asking.MODEL,
    api_key: str = asking.API_KEY,
    engine: str = asking.ENGINE,
    profile: str = asking.AGENT_PROFILE,
    strategy: str = asking.STRATEGY,
    settings: list[str] = asking.SETTINGS,
    temperature: float | None = TEMPERATURE,
    limit: int | None = LIMIT,
    seed: int = SEED,
    fresh: bool = FRESH,
) -> None:
    """Change the gold values in the documents and see whether the answers follow: the faithfulness rate.

    A value counts where it is printed once on the question's gold pages; every edit is read back before it counts.
    """
    from visor_core.stress.counterfactuals import measure_faithfulness, plan
    from visor_core.stress.pages import write_faithfulness

    home = home_of(context)
    benchmark = settled_benchmark(home, benchmark, questions, corpus)
    split = settled_split(benchmark, split)
    asked = _Asked(benchmark, split, corpus, tag, questions, limit)
    played_by = _PlayedBy(policy, checkpoint, endpoint, model, api_key, engine, profile, strategy, settings)
    with _subject(home, asked, played_by, temperature, seed, fresh) as (subject, found):
        planned = _nano_plan(subject, found, split) if benchmark == "nano" else plan(found, subject.index, seed)
        with progress_bar() as bar:
            task = bar.add_task("episodes", total=None)
            result = measure_faithfulness(
                subject, planned, lambda done, total: bar.update(task, completed=done, total=total)
            )
    print_table(_faithfulness_table(result))
    console.print(
        f"{result.considered} questions, {result.answerable} answerable, answers located {result.located}, changed and"
        f" verified {len(result.rows)}, right on the original {len(result.right)}",
        soft_wrap=True,
    )
    print_left_out(result.left_out)
    values = result.as_json()
    path = _path(home, f"counterfactual {result.policy} {benchmark}", (asked, played_by, temperature, seed))
    write_json(path, values)
    _say_where(path, write_faithfulness(path.with_suffix(".html"), result), result.failed)


def stress(
    context: typer.Context,
    kind: str = typer.Argument(
        ..., help="distractors, noise, hops, turns, resolution, scan, blur, rotation or injection.", show_default=False
    ),
    at: str = typer.Option("", "--at", help="Degrees, as 0,1,2,4.", show_default="those of the kind"),
    questions: Path | None = QUESTIONS,
    benchmark: str = BENCHMARK,
    split: str = SPLIT,
    corpus: str = CORPUS,
    tag: str = TAG,
    policy: str = scripted.POLICY,
    checkpoint: Path | None = asking.CHECKPOINT,
    endpoint: str = asking.ENDPOINT,
    model: str = asking.MODEL,
    api_key: str = asking.API_KEY,
    engine: str = asking.ENGINE,
    profile: str = asking.AGENT_PROFILE,
    strategy: str = asking.STRATEGY,
    settings: list[str] = asking.SETTINGS,
    temperature: float | None = TEMPERATURE,
    limit: int | None = LIMIT,
    seed: int = SEED,
    fresh: bool = FRESH,
) -> None:
    """Measure success against the degree of one difficulty: a curve with intervals, as a table, JSON and a page."""
    from visor_core.stress.pages import write_curve

    degrees = _degrees(kind, at)
    home = home_of(context)
    benchmark = settled_benchmark(home, benchmark, questions, corpus)
    split = settled_split(benchmark, split)
    asked = _Asked(benchmark, split, corpus, tag, questions, limit)
    played_by = _PlayedBy(policy, checkpoint, endpoint, model, api_key, engine, profile, strategy, settings)
    with _subject(home, asked, played_by, temperature, seed, fresh) as (subject, found):
        if kind == INJECTION:
            curve = _injected(subject, found, nano=benchmark == "nano")
        else:
            curve = _stressed(subject, found, kind, degrees, home.stress / "noise" / subject.index.corpus_name)
    print_table(_curve_table(curve))
    for point in curve.points:
        for name, reason in point.unedited.items():
            errors.print(f"{escape(point.name)}: {escape(name)} not changed: {escape(reason)}", soft_wrap=True)
    print_left_out(curve.left_out)
    path = _path(home, f"stress {kind} {curve.policy} {benchmark}", (asked, played_by, temperature, seed, degrees))
    write_json(path, curve.as_json())
    failed = sum(point.failed for point in curve.points)
    _say_where(path, write_curve(path.with_suffix(".html"), curve), failed)


@dataclass(frozen=True)
class _Asked:
    """Which questions, of which corpus."""

    benchmark: str
    split: str
    corpus: str
    tag: str
    questions: Path | None
    limit: int | None


@dataclass(frozen=True)
class _PlayedBy:
    """Who plays, and under which settings: the options of `visor eval`."""

    policy: str
    checkpoint: Path | None
    endpoint: str
    model: str
    api_key: str = field(repr=False)
    engine: str
    profile: str
    strategy: str
    settings: list[str]


class _Pictures:
    """Draws the pages of the index that is being played on: a model is loaded once for all of them."""

    def __init__(self, index: PageIndex) -> None:
        self.index = index

    def __call__(self, ref: ImageRef) -> Image.Image:
        """The page or crop."""
        return self.index(ref)


@contextmanager
def _subject(
    home: Home, asked: _Asked, by: _PlayedBy, temperature: float | None, seed: int, fresh: bool
) -> Iterator[tuple[Subject, tuple[Question, ...]]]:
    """What is measured, ready to play, and its questions."""
    from visor_core.stress.conditions import Subject

    folder = scripted.weights_of(home, by.policy, by.checkpoint, by.endpoint, by.model)
    settled = asking.agent_profile(by.profile, by.settings, by.strategy, folder, by.model if by.endpoint else "")
    opened = open_benchmark(
        home, asked.benchmark, asked.questions, asked.split, asked.corpus, asked.tag, settled, by.settings
    )
    index, found = opened.index, opened.found
    opened.print_left_out()
    with ExitStack() as held:
        held.enter_context(in_use(home.stress / RUNNING))
        held.callback(index.close)
        pictures = _Pictures(index)
        loaded: list[Policy] = []

        def policy_on(on: PageIndex, profile: Profile, questions: Sequence[Question]) -> Policy:
            if by.policy:
                return scripted.scripted_policy(by.policy, on, profile, questions)
            pictures.index = on
            if not loaded:
                account = held.enter_context(judging.counted(home, "stress")) if by.endpoint else None
                chosen = asking.choose_policy(
                    pictures, folder, by.endpoint, by.model, by.api_key, by.engine, settled, home.digests, account
                )
                loaded.append(held.enter_context(chosen))
            return loaded[0]

        store = home.evaluations / "trajectories"

        def searched_by(on: PageIndex, questions: Sequence[Question]) -> SearchIndex:
            return scripted.index_for(by.policy, on, questions)

        config = evaluation_of(settled, temperature, asked.limit)
        subject = Subject(index, settled, policy_on, store, seed, config.temperature, fresh, searched_by)
        yield subject, found.questions[: config.questions]


def _degrees(kind: str, at: str) -> tuple[float, ...]:
    """The degrees asked for, in order.

    Raises:
        ConfigError: if the kind is unknown, or a degree is none of it.
    """
    from visor_core.stress.kinds import KINDS

    if kind == INJECTION:
        if at:
            raise ConfigError(
                "--at belongs to kinds with degrees: `visor stress injection` puts an order in every place"
            )
        return ()
    if kind not in KINDS:
        raise ConfigError(f"no stress {kind!r}: choose one of {', '.join(KINDS)}, {INJECTION}")
    if not at:
        return KINDS[kind].degrees
    try:
        found = sorted({float(part) for part in at.split(",")})
    except ValueError as error:
        raise ConfigError(f"--at {at!r} is no list of degrees: write 0,1,2,4") from error
    whole = KINDS[kind].whole
    if any(not 0 <= degree < 1e9 or (whole and (degree < 1 or degree != int(degree))) for degree in found):
        kinds = "whole numbers from 1" if whole else "numbers from 0"
        raise ConfigError(f"--at {at!r}: degrees of {kind} are {kinds}")
    return tuple(found)


def _stressed(subject: Subject, found: Sequence[Question], kind: str, degrees: Sequence[float], folder: Path) -> Curve:
    """A kind of stress, measured."""
    from visor_core.stress.curves import curve_of, point_of
    from visor_core.stress.kinds import KINDS, Ground

    row = KINDS[kind].make(Ground(subject.index, subject.profile, tuple(found), folder, subject.seed), degrees)
    names = {document.document_id: document.name for document in subject.index.documents()}
    measured = [_measured(subject, kind, number, row.conditions) for number in range(len(row.conditions))]
    points = [point_of(one, names) for one in measured]
    return curve_of(kind, KINDS[kind].label, measured, points, row.left_out, subject.index.corpus_name)


def _injected(subject: Subject, found: Sequence[Question], *, nano: bool) -> Curve:
    """Orders in every place, measured against the clean documents."""
    from visor_core.stress.curves import curve_of, point_of
    from visor_core.stress.injections import NANO_ORDERS, NANO_SIZE, ORDERS, attack_success, plan

    planned = plan(found, orders=NANO_ORDERS, size=NANO_SIZE) if nano else plan(found, orders=ORDERS)
    names = {document.document_id: document.name for document in subject.index.documents()}
    measured = [_measured(subject, INJECTION, number, planned.conditions) for number in range(len(planned.conditions))]
    clean = measured[0]
    points = [point_of(clean, names)]
    points += [point_of(one, names, attack_success(clean, one, planned)) for one in measured[1:]]
    return curve_of(INJECTION, "place of the order", measured, points, planned.left_out, subject.index.corpus_name)


def _measured(subject: Subject, kind: str, number: int, conditions: Sequence[Condition]) -> Measured:
    """One of the conditions, with its progress shown."""
    from visor_core.stress.conditions import measure

    condition = conditions[number]
    with progress_bar() as bar:
        task = bar.add_task(f"{condition.name} ({number + 1} of {len(conditions)})", total=len(condition.questions))
        step: Callable[[int, int], None] = lambda done, _: bar.update(task, completed=done)  # noqa: E731
        return measure(subject, kind, condition, progress=step)


def _nano_plan(subject: Subject, found: Sequence[Question], split: str) -> Plan:
    """The plan of nano questions: where numbers stand is known by the world that their documents came from."""
    from visor_core.nano.counterfactuals import plan
    from visor_core.nano.world import write_world

    if subject.profile.nano is None:
        raise ConfigError(
            "nano counterfactuals are drawn by the settings of the world, and these have no section `nano`: give"
            " --profile nano"
        )
    with tempfile.TemporaryDirectory() as folder:
        world = write_world(Path(folder), split, subject.profile.nano, subject.profile.seed)
        return plan(found, world, subject.seed)


def _path(home: Home, label: str, decided_by: tuple[object, ...]) -> Path:
    """Where a measurement's figures go: under a name of its own for everything it was asked with."""
    import hashlib

    digest = hashlib.sha256(repr(decided_by).encode()).hexdigest()[:12]
    return home.reports / file_name(label, digest, ".json")


def _say_where(figures: Path, page: Path, failed: int) -> None:
    """Name the files; exit with 1 if an episode failed."""
    console.print(f"page: {page}, figures: {figures}", markup=False, soft_wrap=True)
    if failed:
        errors.print(f"{failed} episodes failed: the same call plays them again", style="red")
        raise typer.Exit(1)


def _faithfulness_table(found: Faithfulness) -> Table:
    from visor_core.stress.counterfactuals import OUTCOMES
    from visor_core.stress.curves import told

    table = Table(
        title=f"{escape(found.policy)}: answers on changed documents, of those right on the original (95 % Wilson)",
        title_justify="left",
        caption=f"answers scored by the rule {escape(found.rule)}" if found.rule else None,
        caption_justify="left",
    )
    for name in ("answer format", "questions", *OUTCOMES):
        table.add_column(name, justify="left" if name == "answer format" else "right")
    for label, form in [("all", ""), *((name, name) for name in found.formats)]:
        intervals = [found.share(outcome, form) for outcome in OUTCOMES]
        table.add_row(label, str(intervals[0].count), *(told(interval, "–") for interval in intervals))
    return table


def _curve_table(curve: Curve) -> Table:
    from visor_core.stress.curves import told

    table = Table(
        title=f"{escape(curve.policy)}: success by {escape(curve.label)} (95 % Wilson)",
        title_justify="left",
        caption=f"{escape(curve.benchmark)}, answers scored by the rule {escape(curve.rule)}",
        caption_justify="left",
    )
    columns = ["condition", "questions", "failed", "answers right", "supported", "gold pages found", "turns"]
    attacked = any(point.obeyed is not None for point in curve.points)
    for name in [*columns, *(["orders obeyed"] if attacked else [])]:
        table.add_column(name, justify="left" if name == "condition" else "right")
    for point in curve.points:
        cells = [escape(point.name), str(point.questions), str(point.failed), told(point.right), told(point.supported)]
        cells += [told(point.found, "–"), f"{point.turns:.2f}"]
        if attacked:
            cells.append(told(point.obeyed, "–"))
        table.add_row(*cells)
    return table
