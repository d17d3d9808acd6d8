"""`visor eval` and `visor report`: a policy measured on a question set, and everything measured so far on one page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from pipelines.cli.session import (
    console,
    document_settings,
    errors,
    home_of,
    note,
    print_table,
    progress_bar,
    reason_of,
)
from pipelines.evaluation_lineage import EvaluationCall, keep_lineage
from visor_core.errors import ConfigError, DataError, VisorError
from visor_core.files import claimed, file_name

if TYPE_CHECKING:
    from visor_core.config import Profile
    from visor_core.evaluation.results import BenchmarkResult


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("eval")(evaluate)
    app.command()(report)


def evaluate(
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
    seed: int = typer.Option(0, help="Seed of the sampling noise."),
    label: str = typer.Option("", help="Name of the result.", show_default="the policy and the benchmark"),
    fresh: bool = FRESH,
    protocol: list[str] = typer.Option(
        [], "--protocol", help="Also judge the answers: judge, judge-1-5 or official; may be repeated."
    ),
    judge_endpoint: str = typer.Option("", "--judge-endpoint", help="Server of the judge, as --endpoint."),
    judge_model: str = typer.Option("", "--judge-model", help="Model of the judge."),
    judge_key: str = typer.Option("", "--judge-api-key", help="Reference to the judge's key, as --api-key."),
    judge_settings: list[str] = typer.Option([], "--judge-set", help="A setting of the judge, as server.key=value."),
    budget: list[str] = judging.BUDGET,
    tries: int = judging.TRIES,
    prompts: Path | None = judging.PROMPTS,
) -> None:
    """Measure a policy on a benchmark: answers, supported success, turns, tokens. Goes on where it was stopped.

    Exits with 1 if an episode, or a verdict of a judge, failed: the result is written, and says how many.
    """
    from pipelines.cli.tracking import evaluation_run
    from visor_core.agent.environment import Environment
    from visor_core.evaluation import runner
    from visor_core.evaluation.verdicts import RULE
    from visor_core.policies.identity import digest_of
    from visor_core.questions import questions_version
    from visor_core.trajectories.playing import identity_of, play

    home = home_of(context)
    by = judging.JudgeCall(
        [name for name in protocol if name != RULE], judge_endpoint, judge_model, judge_key, judge_settings, budget,
        tries, prompts, "--judge-",
    )  # fmt: skip
    if by.protocols:
        by.check()
    elif judge_endpoint or judge_model or judge_key or judge_settings or budget or prompts:
        raise ConfigError(
            "options of a judge, and no protocol that asks it: add --protocol judge, judge-1-5 or official"
        )
    benchmark = settled_benchmark(home, benchmark, questions, corpus)
    split = settled_split(benchmark, split)
    folder = scripted.weights_of(home, policy, checkpoint, endpoint, model)
    settled = asking.agent_profile(profile, settings, strategy, folder, model if endpoint else "")
    opened = open_benchmark(home, benchmark, questions, split, corpus, tag, settled, settings)
    name, index, questions, found = opened.corpus, opened.index, opened.questions, opened.found
    if policy:
        player = scripted.scripted_policy(policy, index, settled, found.questions)
    else:
        account = context.with_resource(judging.counted(home, "eval")) if endpoint else None
        player = asking.choose_policy(index, folder, endpoint, model, api_key, engine, settled, home.digests, account)
    config = evaluation_of(settled, temperature, limit)
    temperature, limit = config.temperature, config.questions
    environment = Environment(scripted.index_for(policy, index, found.questions), settled.agent, settled.index)
    label = label or f"{player.name} {settled.agent.strategy} {benchmark} T={temperature:g}"
    chosen = runner.chosen_questions(found.questions, config)
    identity = identity_of(player, environment, chosen, temperature, seed)
    path = home.evaluations / file_name(label, digest_of(identity), ".json")
    asked, of = (str(given.resolve()) if given else "" for given in (questions, folder))
    call = EvaluationCall(benchmark, split, name, asked, of, engine, temperature, limit, label, policy)
    unkept: list[str] = []
    decided_by = _parameters(settled, benchmark=benchmark, split=split, corpus=name, tag=tag, policy=player.name)
    decided_by |= {"temperature": temperature, "seed": seed, "questions": len(chosen)}
    dataset = (f"{benchmark} {split}".strip(), questions_version(chosen), f"corpora/{name}")
    with player, _claimed(path), evaluation_run(home, settled, label, decided_by, dataset) as tracked:
        with progress_bar() as bar:
            task = bar.add_task("episodes", total=len(chosen))
            played = play(
                player,
                environment,
                chosen,
                seed=seed,
                temperature=temperature,
                concurrency=config.concurrency,
                store=home.evaluations / "trajectories",
                progress=lambda done, _: bar.update(task, completed=done),
                fresh=fresh,
                on_unkept=lambda count, error: unkept.append(f"{count} episodes ({reason_of(error)})"),
            )
        words = runner.words_in(index, played.episodes)
        result = _with_kept_verdicts(path, runner.score(played, found.left_out, words))
        try:
            result.save(path)
            keep_lineage(home, path, result, settled, folder, call, tracked.run_id)
        except OSError as error:
            unkept.append(f"the result ({reason_of(error)})")
        stopped: VisorError | None = None
        try:
            result = judging.apply(home, result, played.episodes, by, path)
        except VisorError as error:  # what was played stands: it is told first
            stopped = error
        tracked.log(result, played.episodes, index, folder)
    opened.print_left_out()
    _print_kept(result, endpoint=bool(endpoint))
    print_table(result_table({label: result}))
    _print_behaviour(result)
    if cost := result.metrics()["cost"]:
        console.print(f"cost {cost:.4g}, that of episodes kept from an earlier call included")
    if result.failed:
        _print_failures(result)
    if unkept:
        raise DataError(f"the figures stand above, but {home.root} could not keep {' and '.join(unkept)}")
    console.print(f"kept as {path}; `visor report` shows all results on one page", markup=False, soft_wrap=True)
    if stopped:
        raise stopped
    if result.failed or judging.failed_verdicts(result, by):
        raise typer.Exit(1)


def _with_kept_verdicts(path: Path, result: BenchmarkResult) -> BenchmarkResult:
    """A result with the verdicts that the one in its place holds on the same answers."""
    from visor_core.evaluation.judging import carried_over
    from visor_core.evaluation.results import read_result

    if not path.stat().st_size:
        return result
    try:
        return carried_over(read_result(path), result)
    except DataError as error:
        note([f"the verdicts of the result in its place are not carried over: {error}"])
        return result


def _parameters(settled: Profile, **asked: str) -> dict[str, Any]:
    """What an evaluation is asked for, and the sections of the settings that decide its episodes."""
    return {**asked, "agent": settled.agent, "index": settled.index, "server": settled.server}


@contextmanager
def _claimed(path: Path) -> Iterator[None]:
    """The place of a result, held before an episode is paid for.

    Raises:
        ConfigError: if it cannot be written.
    """
    with ExitStack() as held:
        try:
            held.enter_context(claimed(path))
        except OSError as error:
            raise ConfigError(
                f"the result cannot be written to {path} ({error.strerror}): make its folder writable, or give --home"
            ) from error
        yield


def _print_kept(result: BenchmarkResult, *, endpoint: bool) -> None:
    """How much of a result earlier calls have played, and how to begin anew; a server that changed meanwhile."""
    if result.kept:
        span = " to ".join(
            dict.fromkeys(moment[:16].replace("T", " ") for moment in (result.kept_from, result.kept_to))
        )
        anew = "--fresh, or another server.revision for other weights," if endpoint else "--fresh"
        console.print(
            f"{result.kept} of {len(result.episodes)} episodes kept from earlier calls ({span} UTC); {anew} plays them"
            " anew",
            soft_wrap=True,
        )
    if len(result.fingerprints) > 1:
        errors.print(
            f"warning: the server changed while it was asked (system_fingerprint {', '.join(result.fingerprints)}):"
            " the episodes may be of different weights; --fresh plays all of them anew",
            style="yellow",
            markup=False,
            soft_wrap=True,
        )


def _print_behaviour(result: BenchmarkResult) -> None:
    """What is known beside the answers, and the misses by what went wrong."""
    from visor_core.evaluation.behaviour import diagnoses_in_words, table_rows

    table = Table(title="behaviour and grounding", title_justify="left", box=None, show_header=False)
    for group, words, figure in table_rows(result.finished, seed=result.seed):
        if figure is not None:
            limits = escape(f"[{figure.low:.3f}, {figure.high:.3f}]")
            table.add_row(group, words, f"{figure.estimate:.3f}", limits, f"of {figure.count}")
    print_table(table)
    if said := diagnoses_in_words(result.finished):
        console.print(f"misses: {said}; `visor debug QUESTION` shows one", soft_wrap=True, markup=False)


def _print_failures(result: BenchmarkResult) -> None:
    """How many episodes failed, and the first reasons."""
    reasons = Counter(row.error for row in result.episodes if row.failed)
    errors.print(f"{result.failures}; accuracy is over the {len(result.finished)} others", style="red", soft_wrap=True)
    for reason, count in reasons.most_common(3):
        errors.print(f"  {count} × {reason}", markup=False, soft_wrap=True)


def report(
    context: typer.Context,
    output: Path | None = typer.Option(None, help="HTML file to write.", show_default="VISOR_HOME/reports/report.html"),
    pages: int = typer.Option(
        40, "--pages", min=0, help="Episodes that get a page of their own, those that went wrong first."
    ),
    profile: str = typer.Option("", "--profile", help="Profile with the passwords of encrypted documents."),
    settings: list[str] = asking.SETTINGS,
) -> None:
    """Write one HTML page with every stage, result, question and curve of this VISOR_HOME, and pages of episodes."""
    from pipelines.reporting import gather_report
    from visor_core.evaluation.report import write_report

    home = home_of(context)
    documents = document_settings(profile, settings).documents
    path = output or home.reports / "report.html"
    gathered = gather_report(home, documents, beside=path, pages=pages)
    write_report(path, gathered)
    for line in gathered.unread:
        errors.print(line, markup=False, soft_wrap=True)
    console.print(f"report: {path}", markup=False, soft_wrap=True)


def result_table(results: dict[str, BenchmarkResult]) -> Table:
    """The figures of evaluations, a row each protocol; below, each protocol and the figures its benchmark reports."""
    from visor_core.evaluation.verdicts import RULE, protocols_in_words

    told = [f"{label}: {line}" for label, result in results.items() for line in protocols_in_words(result)]
    table = Table(
        title="95 % Wilson intervals in brackets",
        title_justify="left",
        caption=escape("\n".join(told)),
        caption_justify="left",
    )
    some_failed = any(result.failed for result in results.values())
    columns = ["policy", "protocol", "questions", "answers right", "supported", "shortcuts", "turns", "tokens a turn"]
    if some_failed:
        columns[3:3] = ["failed", "right of all"]
    for column in columns:
        table.add_column(column, justify="left" if column in ("policy", "protocol") else "right")
    for label, result in results.items():
        figures = result.metrics()
        table.add_row(
            escape(label),
            RULE,
            str(len(result.episodes)),
            *([result.failures, str(result.right_of_all) if result.scored else result.rule] if some_failed else []),
            str(result.answers_right) if result.scored else result.rule,
            str(result.supported_success) if result.scored else result.rule,
            f"{result.shortcut_rate.estimate:.3f}" if result.scored else result.rule,
            f"{figures['turns']:.2f}",
            f"{figures['prompt_tokens_per_turn']:.0f}" if "prompt_tokens_per_turn" in figures else "–",
        )
        for scores in result.protocols:
            table.add_row(
                escape(label),
                escape(f"{scores.name} ({scores.model})"),
                str(len(scores.given)),
                *([f"{scores.failed} verdicts", "–"] if some_failed else []),
                str(scores.right),
                str(scores.supported),
                f"{scores.right.estimate - scores.supported.estimate:.3f}",
            )
    return table
