"""`visor debug`: one question of an evaluation, where its episode went wrong, beside the gold page and box."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.markup import escape

from pipelines.cli.session import console, document_settings, home_of, open_index

if TYPE_CHECKING:
    from visor_core.agent.trajectory import Trajectory
    from visor_core.index import PageIndex
    from visor_core.scoring.crops import Region
    from visor_core.scoring.diagnosis import Diagnosis


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(debug)


def debug(
    context: typer.Context,
    question: str = typer.Argument(..., help="Id of the question, or words that stand in it alone."),
    result: str = typer.Option("", "--result", help="Result file, or its name.", show_default="the newest with it"),
    output: Path | None = typer.Option(
        None, help="HTML file to write.", show_default="VISOR_HOME/reports/debug-ID-RESULT.html"
    ),
    profile: str = typer.Option("", "--profile", help="Profile with the passwords of encrypted documents."),
    settings: list[str] = typer.Option([], "--set", help="Override a setting, as section.key=value; may be repeated."),
) -> None:
    """Show where a question's episode went wrong: the turn, beside the gold page with the gold box and the crops."""
    from pipelines.debugging import find_question
    from visor_core.evaluation.runner import words_in
    from visor_core.files import file_name, write_text
    from visor_core.scoring.diagnosis import diagnose
    from visor_core.scoring.located import gold_boxes
    from visor_core.trajectories.diagnosis_page import diagnosis_html

    home = home_of(context)
    found = find_question(home, question, result)
    episode = found.episode
    index = open_index(home, episode.corpus, episode.index_tag, document_settings(profile, settings), settings)
    words = words_in(index, [episode])
    diagnosis, boxes = diagnose(episode, words), gold_boxes(episode.question, words) or ()
    names, sizes = _pages(index, [*episode.question.gold_pages, *(box.page_id for box in boxes if box.page_id)])
    console.print(f"[dim]{escape(found.result.policy)}, {escape(found.path.name)}[/dim]", soft_wrap=True)
    _print(episode, diagnosis)
    _print_gold(episode, boxes, names)
    path = output or home.reports / file_name(f"debug {episode.question.question_id}", str(found.path), ".html")
    write_text(path, diagnosis_html(episode, diagnosis, boxes, index, names, sizes))
    console.print(f"page with the pictures: {path}", markup=False, soft_wrap=True)


def _pages(index: PageIndex, page_ids: list[str]) -> tuple[dict[str, str], dict[str, tuple[float, float]]]:
    """Names and sizes in points of pages that the index holds."""
    from visor_core.errors import SearchIndexError

    names: dict[str, str] = {}
    sizes: dict[str, tuple[float, float]] = {}
    for page_id in dict.fromkeys(page_ids):
        try:
            page = index.page(page_id)
        except SearchIndexError:
            names[page_id] = f"{page_id} (not in this index)"
            continue
        names[page_id], sizes[page_id] = f"{page.filename}, page {page.page}", (page.width_pt, page.height_pt)
    return names, sizes


def _print(episode: Trajectory, diagnosis: Diagnosis | None) -> None:
    """Question, answers, the verdict, and every turn in a line, the one where it went wrong marked."""
    asked = episode.question
    console.print(f"[bold]{escape(' '.join(asked.question.split()))}[/bold]", soft_wrap=True)
    console.print(f"answer    {escape(episode.answer or '(none)')} ({episode.outcome})", soft_wrap=True)
    console.print(f"expected  {escape(' | '.join(asked.answers) or '(not known)')}", soft_wrap=True)
    if diagnosis is None:
        failed = f"failed: {episode.error}" if episode.outcome == "error" else "no miss"
        console.print(f"diagnosis {escape(failed)}", soft_wrap=True)
    else:
        told = f"diagnosis [red]{diagnosis.miss}[/red] in turn {diagnosis.turn}: {escape(diagnosis.said)}"
        console.print(told, soft_wrap=True)
    for number, turn in enumerate(episode.turns, start=1):
        action, seen = turn.action, turn.observation
        what = f"{list(action.box)}" if action.box else str(action.choice or action.text)
        came = f"{seen.kind} {seen.fault}".strip()
        here = "[red]→[/red]" if diagnosis is not None and diagnosis.turn == number else " "
        console.print(f"{here} {number} {action.kind} {escape(what)} → {escape(came)}", soft_wrap=True)
        if diagnosis is not None and diagnosis.turn == number and action.thought:
            console.print(f"    [dim]{escape(' '.join(action.thought.split()))}[/dim]", soft_wrap=True)


def _print_gold(episode: Trajectory, boxes: tuple[Region, ...], names: dict[str, str]) -> None:
    """Each gold page: whether and when it was shown, and its gold boxes."""
    for page_id in dict.fromkeys([*episode.question.gold_pages, *(box.page_id for box in boxes if box.page_id)]):
        turns = [
            str(number)
            for number, turn in enumerate(episode.turns, start=1)
            if any(image.page_id == page_id for image in turn.observation.images)
        ]
        shown = f"shown in turn {', '.join(turns)}" if turns else "never shown"
        places = [" ".join(f"{v:.2f}" for v in box.box.as_tuple()) for box in boxes if box.page_id in ("", page_id)]
        where = f"box {'; '.join(places)}" if places else "no gold box known"
        console.print(f"gold      {escape(names[page_id])}: {shown}, {where}", soft_wrap=True)
    if not episode.question.gold_pages:
        console.print("gold      pages not known" if episode.question.answerable else "gold      no answer exists")
