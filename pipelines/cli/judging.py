"""`visor judge` and `visor spending`: answers judged by a language model, and what asking endpoints has cost.

visor judge LABEL --protocol judge --endpoint http://host:port/v1 --model NAME --budget 200000tokens
visor judge --calibrate --endpoint http://host:port/v1 --model NAME
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.markup import escape
from rich.table import Table

from pipelines.cli import asking
from pipelines.cli.session import console, errors, home_of, note, parse_settings, print_table, progress_bar
from pipelines.evaluation_lineage import kept_lineages
from visor_core.errors import ConfigError, DataError

if TYPE_CHECKING:
    from visor_core.agent.trajectory import Trajectory
    from visor_core.config import Home, ServerConfig
    from visor_core.evaluation.calibration import Calibration
    from visor_core.evaluation.judging import Protocol
    from visor_core.evaluation.results import BenchmarkResult
    from visor_core.policies.calls import Account, Budget
    from visor_core.policies.openai_compatible import OpenAICompatiblePolicy
    from visor_core.policies.spending import Spent

PROTOCOL = typer.Option([], "--protocol", help="judge, judge-1-5 or official; may be repeated.")
BUDGET = typer.Option(
    [],
    "--budget",
    help="What the judge may cost over all starts, whatever model it was: money, as 2.50, or 200000tokens; may be given"
    " twice. One call at most goes over it.",
)
TRIES = typer.Option(3, "--tries", min=1, help="Times a verdict is asked for where none can be read.")
PROMPTS = typer.Option(None, "--prompts", help="YAML file of the judge's wording.", show_default="the shipped one")


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(judge)
    app.command()(spending)


@dataclass(frozen=True)
class JudgeCall:
    """Who is asked about answers, by which protocols, in what words, and what it may cost, as options give it.

    `option` is what the options of the endpoint begin with.
    """

    protocols: Sequence[str]
    endpoint: str
    model: str
    api_key: str
    settings: Sequence[str]
    budget: Sequence[str]
    tries: int
    prompts: Path | None
    option: str = "--"

    def check(self) -> None:
        """Refuse what cannot be used, before anything is played or paid for.

        Raises:
            ConfigError: naming the option at fault.
        """
        from visor_core.evaluation.judging import applies

        for name in self.protocols:
            applies(name, ())
            self.protocol(name)
        if not self.endpoint or not self.model:
            raise ConfigError(
                f"a judge is a model behind a server: give {self.option}endpoint URL and {self.option}model NAME"
            )
        server = self.server()
        if self.limit().money is not None and server.prompt_price == server.completion_price == 0.0:
            raise ConfigError(
                "--budget in money needs server.prompt_price or server.completion_price among the judge's settings; or"
                " give it in tokens, as 200000tokens"
            )

    def server(self) -> ServerConfig:
        """How the judge's server is asked.

        Raises:
            ConfigError: if a setting is unknown, or of another section.
        """
        from visor_core.config import apply_overrides

        wanted = parse_settings(list(self.settings))
        if other := [key for key in wanted if key.split(".")[0] != "server"]:
            raise ConfigError(f"{other[0]} says nothing of a judge: its settings are those of `server`")
        return apply_overrides({"name": "judge"}, wanted, "the judge's settings").server

    def limit(self) -> Budget:
        """What it may cost.

        Raises:
            ConfigError: if it is neither money nor tokens.
        """
        from visor_core.policies.calls import Budget

        return Budget.parse(list(self.budget))

    def protocol(self, name: str) -> Protocol:
        """How verdicts are asked for.

        Raises:
            ConfigError: if the prompts cannot be used.
        """
        from visor_core.config.judging import read_protocol_texts, shipped_protocol_texts
        from visor_core.evaluation.judging import Protocol

        texts = read_protocol_texts(self.prompts) if self.prompts else shipped_protocol_texts()
        return Protocol(name, texts, self.tries)

    @contextmanager
    def policy(self, home: Home, purpose: str, work: str) -> Iterator[OpenAICompatiblePolicy]:
        """The model that is asked; what it cost is said at the end, whatever the end is."""
        from visor_core.policies.calls import Account, Calls
        from visor_core.policies.load import load_policy
        from visor_core.policies.openai_compatible import OpenAICompatiblePolicy

        with Calls(home.calls) as calls:
            before = calls.totals(purpose=purpose)
            policy = load_policy(
                self.model,
                _no_pictures,
                base_url=self.endpoint,
                api_key=self.api_key or None,
                server=self.server(),
                account=Account(calls, purpose, work, self.limit()),
            )
            assert isinstance(policy, OpenAICompatiblePolicy)
            try:
                yield policy
            finally:
                print_spent(purpose, before, calls.totals(purpose=purpose))


def _no_pictures(ref: object) -> object:
    raise AssertionError(f"a judge is shown no picture, and not {ref}")


def judge(
    context: typer.Context,
    result: str = typer.Argument("", help="Label of an evaluation, or its file."),
    protocol: list[str] = PROTOCOL,
    endpoint: str = asking.ENDPOINT,
    model: str = asking.MODEL,
    api_key: str = asking.API_KEY,
    budget: list[str] = BUDGET,
    tries: int = TRIES,
    prompts: Path | None = PROMPTS,
    settings: list[str] = asking.SETTINGS,
    calibrate: bool = typer.Option(
        False, "--calibrate", help="Ask the judge about 40 answers of known worth instead, and say where it errs."
    ),
) -> None:
    """Have a language model judge the answers of an evaluation. Plays nothing; goes on where it was stopped.

    Exits with 1 if a verdict could not be had: the others are written, and it says how many and why.
    """
    from pipelines.cli.evaluating import result_table
    from pipelines.cli.tracking import log_protocols
    from visor_core.evaluation.results import read_result

    home = home_of(context)
    call = JudgeCall(protocol or ["judge"], endpoint, model, api_key, settings, budget, tries, prompts)
    call.check()
    if calibrate:
        if result:
            raise ConfigError("--calibrate judges answers of its own: leave the evaluation out")
        for name in call.protocols:
            _calibrate(home, call, name)
        return
    path = find_evaluation(home, result)
    judged = apply(home, read_result(path), _episodes(home, read_result(path)), call, path)
    log_protocols(home, path, judged)
    print_table(result_table({path.stem: judged}))
    console.print(f"kept in {path}", markup=False, soft_wrap=True)
    if failed_verdicts(judged, call):
        raise typer.Exit(1)


def apply(
    home: Home, result: BenchmarkResult, episodes: Sequence[Trajectory], call: JudgeCall, path: Path
) -> BenchmarkResult:
    """The result with the verdicts of every protocol that is asked for, written to `path` as each is through.

    Raises:
        BudgetError: if the budget stopped it; what came back is kept.
    """
    from visor_core.evaluation.judging import judge as ask_judge
    from visor_core.evaluation.verdicts import answers_digest

    for name in call.protocols:
        work = f"{name} of {answers_digest(result.episodes)}"
        with call.policy(home, name, work) as policy, progress_bar() as bar:
            task = bar.add_task(f"verdicts by {name}", total=len(result.finished))
            result = ask_judge(
                result,
                episodes,
                policy,
                call.protocol(name),
                lambda done, _, task=task, bar=bar: bar.update(task, completed=done),  # type: ignore[misc]
            )
        result.save(path)
        _print_failed(result, call.tries)
    return result


def failed_verdicts(result: BenchmarkResult, call: JudgeCall) -> int:
    """How many verdicts of the protocols that a call asked for could not be had."""
    return sum(s.failed for s in result.protocols if s.name in call.protocols and s.model == call.model)


def _print_failed(result: BenchmarkResult, tries: int) -> None:
    """How many verdicts of the last protocol failed, what asks for them again, and the first reasons."""
    scores = result.protocols[-1]
    if not scores.failed:
        return
    unread = sum(verdict.unread for verdict in scores.verdicts)
    again = []
    if scores.failed > unread:
        again.append("the same call asks again where the server gave no reply")
    if unread:
        again.append(
            f"of {unread} the replies could not be read and are kept: --tries {2 * tries} asks up to {tries} times more"
        )
    errors.print(
        f"{scores.failed} of {len(scores.verdicts)} verdicts by {scores.name} failed and are counted apart;"
        f" {'; '.join(again)}",
        style="red",
        soft_wrap=True,
    )
    for verdict in [verdict for verdict in scores.verdicts if verdict.score is None][:3]:
        errors.print(f"  {verdict.question_id}: {verdict.error}", markup=False, soft_wrap=True)


def _calibrate(home: Home, call: JudgeCall, name: str) -> None:
    """Ask a judge about the answers of known worth, and print where it errs.

    Raises:
        ConfigError: for a protocol that judges nothing.
    """
    from visor_core.evaluation.calibration import calibrate, labelled
    from visor_core.evaluation.verdicts import OFFICIAL

    if name == OFFICIAL:
        raise ConfigError("--calibrate tries a judge: --protocol judge or judge-1-5 (official judges nothing)")
    with call.policy(home, "calibration", f"{name} of the calibration set") as policy, progress_bar() as bar:
        task = bar.add_task(f"answers by {name}", total=len(labelled()))
        found = calibrate(policy, call.protocol(name), progress=lambda done, _: bar.update(task, completed=done))
    _print_calibration(name, call.model, found)


def _print_calibration(name: str, model: str, found: Calibration) -> None:
    """Accuracy and kappa against the labels, and every answer that the judge got wrong."""
    console.print(
        f"{name} by {model}: accuracy {found.accuracy}, kappa {found.kappa} on {len(found.judged)} answers of known"
        f" worth; {len(found.disagreements)} disagreements, {len(found.failed)} without a verdict",
        markup=False,
        soft_wrap=True,
    )
    for item, verdict in found.disagreements:
        said, known = ("right", "wrong") if verdict.right else ("wrong", "right")
        told = f"gold {' | '.join(item.asked.answers)!r}, answer {item.asked.reply!r}"
        console.print(f"  {item.kind}: called {said}, is {known}: {told}", markup=False, soft_wrap=True)
    for item, verdict in found.failed:
        console.print(f"  {item.kind}: no verdict: {verdict.error}", markup=False, soft_wrap=True)


def spending(context: typer.Context) -> None:
    """Show what asking endpoints has cost so far, by endpoint, model and purpose."""
    from visor_core.policies.calls import Calls

    home = home_of(context)
    if not home.calls.is_file():
        console.print("nothing has been asked of a paid endpoint yet", soft_wrap=True)
        return
    with Calls(home.calls) as calls:
        totals = calls.totals()
    table = Table(
        title="Spent on endpoints",
        title_justify="left",
        caption="in doubt: a time-out or a kill; such a call may have been paid twice. At most: with those, as far as"
        " the completed call of the same content tells.",
        caption_justify="left",
    )
    for column in ("endpoint", "model", "purpose"):
        table.add_column(column)
    for column in ("paid calls", "failed", "in doubt", "in flight", "tokens in", "tokens out", "cost", "at most"):
        table.add_column(column, justify="right")
    for spent in totals:
        counts = (spent.paid, spent.failed, spent.in_doubt, spent.in_flight)
        tokens = (f"{spent.prompt_tokens:,.0f}", f"{spent.completion_tokens:,.0f}")
        names = (escape(spent.endpoint), escape(spent.model), escape(spent.purpose))
        table.add_row(*names, *map(str, counts), *tokens, f"{spent.cost:.4g}", f"{spent.most_cost:.4g}")
    if console.measure(table, options=console.options.update(width=10_000)).maximum <= console.width:
        console.print(table)
        return
    for spent in totals:  # a table would cut the figures off
        console.print(_in_a_line(spent), markup=False, soft_wrap=True)


def _in_a_line(spent: Spent) -> str:
    """What was spent at an endpoint on a purpose, for a narrow terminal or a pipe."""
    apart = {"failed": spent.failed, "in doubt": spent.in_doubt, "in flight": spent.in_flight}
    others = "".join(f", {count} {name}" for name, count in apart.items() if count)
    most = f" (at most {spent.most_cost:.4g})" if spent.most_cost != spent.cost else ""
    return (
        f"{spent.endpoint} {spent.model}, {spent.purpose}: {spent.paid} paid calls{others};"
        f" {spent.prompt_tokens:,.0f} tokens in, {spent.completion_tokens:,.0f} out; cost {spent.cost:.4g}{most}"
    )


@contextmanager
def counted(home: Home, purpose: str) -> Iterator[Account | None]:
    """Where the calls of a purpose are counted, whose replies are kept elsewhere; what they cost is said at the end.

    None, and a line, where the ledger cannot be written: what an endpoint says is worth more than the count.
    """
    from visor_core.policies.calls import Account, Calls

    try:
        calls = Calls(home.calls)
    except (OSError, DataError) as error:
        note([f"what the endpoint costs is not counted: {error}"])
        yield None
        return
    with calls:
        before = calls.totals(purpose=purpose)
        try:
            yield Account(calls, purpose, reuse=False)
        finally:
            after = calls.totals(purpose=purpose)
            if after != before:
                print_spent(purpose, before, after)


def spent_in_words(home: Home) -> str:
    """What asking endpoints has cost in all, in a sentence; empty where none was asked."""
    from visor_core.policies.calls import Calls

    if not home.calls.is_file():
        return ""
    with Calls(home.calls) as calls:
        return f"Spent on endpoints: {_sum(calls.totals(), ())}; `visor spending` lists it"


def print_spent(purpose: str, before: Sequence[Spent], after: Sequence[Spent]) -> None:
    """What a purpose has cost since `before`, and in all; nothing where no call was made at all."""
    if not after:
        return
    now, all_of_it = _sum(after, before), _sum(after, ())
    console.print(f"spent on {purpose}: {now} now; {all_of_it} in all", markup=False, soft_wrap=True)


def _sum(after: Sequence[Spent], before: Sequence[Spent]) -> str:
    """Calls, tokens and cost in words, those of `before` taken off."""

    def less(name: str) -> float:
        return sum(getattr(s, name) for s in after) - sum(getattr(s, name) for s in before)

    doubtful = f", {less('in_doubt'):.0f} calls perhaps paid twice" if less("in_doubt") else ""
    tokens = less("prompt_tokens") + less("completion_tokens")
    return f"{less('paid'):.0f} calls, {tokens:,.0f} tokens, cost {less('cost'):.4g}{doubtful}"


def find_evaluation(home: Home, named: str) -> Path:
    """The result file of an evaluation by its label, its file's name, or the file itself.

    Raises:
        DataError: if there is none, several have the label, or the file is that of a build.
    """
    if named and Path(named).is_file():
        path = Path(named).resolve()
        if path.is_relative_to(home.asset()):
            raise DataError(f"{path} belongs to a build, which is not changed: `visor eval` the policy, and judge that")
        return path
    there = [path for path in sorted(home.evaluations.glob("*.json")) if path.stat().st_size]
    found = [path for path in there if named and named in (path.stem, path.name)]
    if not found and named:
        labelled = {path for path, told in kept_lineages(home).items() if told["call"]["label"] == named}
        found = [path for path in there if path.resolve() in labelled]
    if len(found) == 1:
        return found[0]
    names = ", ".join(path.stem for path in (found or there)) or "none yet: `visor eval` first"
    if found:
        raise DataError(f"{len(found)} evaluations have the label {named!r}: name the file ({names})")
    raise DataError(f"no evaluation {named!r} under {home.evaluations}: there is {names}")


def _episodes(home: Home, result: BenchmarkResult) -> list[Trajectory]:
    """The episodes that a result was scored on.

    Raises:
        DataError: if they are not kept any more.
    """
    from visor_core.policies.identity import digest_of
    from visor_core.trajectories.store import read_trajectories

    folder = home.evaluations / "trajectories" / digest_of(result.identity)
    if not folder.is_dir():
        raise DataError(
            f"the episodes of this evaluation are not kept under {home.evaluations / 'trajectories'}: the same"
            " `visor eval` plays them again"
        )
    return read_trajectories(folder)
