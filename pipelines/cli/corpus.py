"""Commands on a user's documents: read and index them, search them, measure the search."""

from __future__ import annotations

import hashlib
import shlex
import webbrowser
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.markup import escape
from rich.table import Table

from pipelines.cli.session import (
    console,
    document_settings,
    errors,
    home_of,
    named_settings,
    open_index,
    print_left_out,
    progress_bar,
    too_long,
)
from pipelines.cli.unread import print_unread, print_unread_of
from visor_core.documents.names import names_of_sources
from visor_core.errors import ConfigError, DocumentError

if TYPE_CHECKING:
    from visor_core.config import Home
    from visor_core.documents.sources import Refused
    from visor_core.evaluation.page_recall import PageRecall, Search
    from visor_core.index import Corpus, DocumentsReport, Hit, IndexReport, PageIndex, PagesReport
    from visor_core.index.settings import Settled

CORPUS = typer.Option("documents", "--corpus", help="Name of the corpus.")
TAG = typer.Option("latest", "--tag", help="Index tag to read.")
PROFILE = typer.Option("", "--profile", help="Profile whose document and index settings apply; none: the defaults.")
SETTINGS = typer.Option([], "--set", help="Override a setting, as section.key=value; may be repeated.")
WHERE = typer.Option(
    [], "--where", help="Only documents of which this holds, as team=finance or 'date>=2024'; may be repeated."
)
MODES = ("text", "vector", "hybrid")
SHOWN_SKIPPED = 20
"""Files of one reason that are named when a folder holds many that are not read."""
LABELS = {"text": "full text (BM25)", "vector": "vectors", "hybrid": "hybrid"}


@dataclass(frozen=True)
class Given:
    """What a call says of the documents it ingests, as `register_documents`."""

    prune: bool = False
    metadata: Sequence[str] = ()
    mirrored: Sequence[Path] = ()
    remove_many: bool = False


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(ingest)
    app.command()(search)
    app.command()(recall)


def ingest(
    context: typer.Context,
    paths: list[str] = typer.Argument(
        None, help="PDFs, pictures, folders of them, or URLs.", show_default="what the corpus has"
    ),
    corpus: str = CORPUS,
    metadata: list[str] = typer.Option(
        [], "--meta", help="What is said of these documents, as team=finance or access=staff; may be repeated."
    ),
    prune: bool = typer.Option(False, "--prune", help="Also retire documents that are gone from the given folders."),
    sync: bool = typer.Option(
        False, "--sync", help="The same, unless a folder is empty, not there, or more than a fifth of it is gone."
    ),
    remove_many: bool = typer.Option(False, "--remove-many", help="With --sync: retire however many are gone."),
    rerender: bool = typer.Option(False, "--rerender", help="Let a setting that is named make pages and vectors anew."),
    drop_column: list[str] = typer.Option(
        [], "--drop-column", help="Drop the vectors of this embedder, or this column; may be repeated."
    ),
    profile: str = PROFILE,
    settings: list[str] = SETTINGS,
) -> None:
    """Read documents, rasterise their pages and index them. Unchanged documents cost nothing; bad ones are listed.

    A corpus keeps its settings: a later call changes only what it names by --set.
    """
    if remove_many and not sync:
        raise ConfigError("--remove-many goes with --sync: name the folders to be mirrored")
    if sync and not paths:
        raise ConfigError("--sync needs the folders that the corpus is to mirror: visor ingest FOLDER --sync")
    ingest_into(
        home_of(context),
        corpus,
        paths or [],
        profile,
        settings,
        given=Given(prune, metadata, folders_of(paths or []) if sync else (), remove_many),
        rerender=rerender,
        drop=drop_column,
    )


def folders_of(paths: Sequence[str]) -> list[Path]:
    """The local folders among paths, those too that are not there."""
    from visor_core.documents.sources import is_remote, local_path

    local = [local_path(path) for path in paths if not is_remote(path)]
    return [path for path in local if not path.is_file()]


def ingest_into(
    home: Home,
    corpus: str,
    paths: Sequence[str | Path],
    profile: str,
    settings: list[str],
    *,
    given: Given = Given(),
    rerender: bool = False,
    drop: Sequence[str] = (),
) -> None:
    """Read, rasterise and index documents as those of a corpus, and print what became of them.

    Raises:
        DocumentError: if the corpus has no readable page.
    """
    from visor_core.index import Corpus, settle

    config = document_settings(profile, settings)
    store = Corpus(home.corpus(corpus))
    if not paths and not store.root.is_dir():
        raise ConfigError(f"there is no corpus {corpus!r} yet: name the documents to ingest")
    named = named_settings(settings)
    settled = settle(store, config.documents, config.index, named=named, rerender=rerender, drop=drop)
    if settled.contradicted:
        errors.print(
            f"note: corpus {escape(corpus)} keeps its settings {escape(', '.join(settled.contradicted))};"
            " --set changes one",
            style="yellow",
            soft_wrap=True,
        )
    for cost in settled.costs:
        _note(cost)
    documents, pages, built = _ingested(store, paths, settled, given)
    _print_refused(documents, pages)
    if built is None:
        refused = len({(r.uri, r.reason) for r in (*documents.quarantined, *pages.quarantined)})
        raise DocumentError(f"corpus {corpus!r} has no readable page: {refused} sources refused, see above")
    _print_ingested(corpus, documents, pages, built)
    print_unread(home, corpus, pages.pages, pages.unread, settled.documents.ocr)


def _note(text: str) -> None:
    errors.print(f"note: {escape(text)}", soft_wrap=True)


def _ingested(
    store: Corpus, paths: Sequence[str | Path], settled: Settled, given: Given
) -> tuple[DocumentsReport, PagesReport, IndexReport | None]:
    """The three stages; no index is built of no pages.

    A section's settings are kept when the stage that needs them begins: an embedder that cannot be loaded is not kept.
    """
    from visor_core.documents.pool import WorkerPool
    from visor_core.index import build_index, keep_settings, load_embedders, register_documents, render_pages

    with progress_bar() as bar:
        tasks: dict[str, int] = {}

        def on_progress(what: str, done: int, total: int) -> None:
            task = tasks.setdefault(what, -1)
            if task < 0:
                tasks[what] = task = bar.add_task(what, total=total)
            bar.update(task, completed=done, total=total)

        keep_settings(store, documents=settled.documents, since=settled.held)
        with WorkerPool(settled.documents.workers) as pool:
            documents = register_documents(
                store, paths, settled.documents, **asdict(given), progress=on_progress, pool=pool, say=_note
            )
            pages = render_pages(store, settled.documents, progress=on_progress, pool=pool)
        if not pages.pages:
            return documents, pages, None
        embedders = load_embedders(settled.index)
        keep_settings(store, index=settled.index, since=settled.held)
        built = build_index(
            store,
            settled.index,
            embedders,
            progress=on_progress,
            documents=settled.documents,
            drop=settled.drop,
        )
    return documents, pages, built


def _print_refused(documents: DocumentsReport, pages: PagesReport) -> None:
    """Every source that is no document, then those that were not looked at, a few of each reason."""
    refused = {(r.uri, r.reason): r for r in (*documents.quarantined, *pages.quarantined)}
    names = names_of_sources((r.filename, r.uri) for r in (*refused.values(), *documents.skipped, *pages.locked))
    for item in refused.values():
        reason = " ".join(item.reason.split())
        errors.print(f"quarantined: {escape(names[item.uri])}: {escape(reason)}", soft_wrap=True)
    by_reason: dict[str, list[Refused]] = {}
    for item in documents.skipped:
        by_reason.setdefault(item.reason, []).append(item)
    for reason, items in sorted(by_reason.items()):
        for item in items[:SHOWN_SKIPPED]:
            errors.print(f"skipped: {escape(names[item.uri])}: {escape(reason)}", soft_wrap=True)
        if (more := len(items) - SHOWN_SKIPPED) > 0:
            errors.print(f"skipped: {more:,} more: {escape(reason)}", soft_wrap=True)
    for item in pages.locked:
        errors.print(f"not rendered anew: {escape(names[item.uri])}: {escape(item.reason)}", soft_wrap=True)
    for filename, number, problem in pages.problems:
        errors.print(f"page without content: {escape(filename)} page {number}: {escape(problem)}", soft_wrap=True)


def _print_ingested(corpus: str, documents: DocumentsReport, pages: PagesReport, built: IndexReport) -> None:
    """What there is now, what is missing of it, and what to do next."""
    refused = {(r.uri, r.reason) for r in (*documents.quarantined, *pages.quarantined)}
    texts = ", ".join(f"{count} {source}" for source, count in pages.text_sources.items())
    skipped = f", {len(documents.skipped)} skipped" if documents.skipped else ""
    console.print(
        f"{pages.documents} documents ({documents.added} new, {documents.unchanged} unchanged,"
        f" {documents.retired} retired, {len(refused)} quarantined{skipped}),"
        f" {pages.pages} pages ({pages.rendered} rendered now; text: {texts})",
        soft_wrap=True,
    )
    for filename, number, embedder, reason in built.undrawn:
        errors.print(
            f"page without vector: {escape(filename)} page {number}: {escape(embedder)}: {escape(reason)}",
            soft_wrap=True,
        )
    for filename, number, left_out in built.cut:
        errors.print(too_long(filename, number, left_out), markup=False, soft_wrap=True)
    if pages.problems or built.undrawn:
        console.print(
            f"the index is not complete: {len(pages.problems)} pages without content, {len(built.undrawn)} vectors"
            " missing, see above",
            style="yellow",
            soft_wrap=True,
        )
    console.print(
        f'index {built.index_tag} of corpus {corpus}: try  visor search --corpus {shlex.quote(corpus)} "your words"',
        soft_wrap=True,
    )


def search(
    context: typer.Context,
    query: str = typer.Argument(..., help="What to look for."),
    corpus: str = CORPUS,
    tag: str = TAG,
    k: int = typer.Option(10, "-k", min=1, max=1000, help="Pages to show."),
    mode: str = typer.Option("", "--mode", help="text, vector or hybrid.", show_default="index.mode, hybrid"),
    document: str = typer.Option("", "--document", help="Only within this document (file name)."),
    partition: str = typer.Option("", "--partition", help="Only within this part of the corpus."),
    pages: str = typer.Option("", "--pages", help="Only these pages, such as 3-7 or 1,4-6."),
    where: list[str] = WHERE,
    open_pages: bool = typer.Option(False, "--open", help="Write the page pictures as an HTML page and open it."),
    explain: bool = typer.Option(False, "--explain", help="The same with why each page was found, and where."),
    profile: str = PROFILE,
    settings: list[str] = SETTINGS,
) -> None:
    """Find pages: scores, snippets and, with --open, their pictures."""
    settled = document_settings(profile, settings)
    mode = mode or settled.index.mode
    _check_mode(mode)
    home = home_of(context)
    index = open_index(home, corpus, tag, settled, settings)
    hits = index.search(
        query,
        k=k,
        mode=mode,
        partition=partition,
        document=document or None,
        pages=pages or None,
        where=where or settled.index.where,
    )
    print_unread_of(home, corpus, index)
    if not hits:
        console.print("no page found")
    for rank, hit in enumerate(hits, start=1):
        console.print(
            f"{rank:>3}  {hit.score:.4f}  [bold]{escape(hit.filename)}[/bold] page {hit.page}", soft_wrap=True
        )
        console.print(f"             [dim]{escape(' '.join(hit.snippet.split()))}[/dim]", soft_wrap=True)
    if open_pages or explain:
        path = _write_page(home, index, query, hits, explain=explain)
        console.print(f"page pictures: {path}", soft_wrap=True)
        if open_pages:
            webbrowser.open(path.as_uri())


def _write_page(home: Home, index: PageIndex, query: str, hits: list[Hit], *, explain: bool) -> Path:
    """The hits with their pictures as an HTML page; with `explain` where a multi-vector embedder looks, too."""
    from visor_core.index.explain import Explanation, page_html, similarity_maps

    maps = similarity_maps(index, query, [hit.page_id for hit in hits]) if explain else {}
    found = [Explanation(hit, index.page(hit.page_id), maps.get(hit.page_id)) for hit in hits]
    name = hashlib.sha256(f"{index.tag} {query} {explain}".encode()).hexdigest()[:12]
    path = home.reports / f"search-{name}.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page_html(index, query, found), encoding="utf-8")
    return path


def recall(
    context: typer.Context,
    questions: Path = typer.Argument(..., help="Question file of a benchmark, or your own."),
    corpus: str = CORPUS,
    tag: str = TAG,
    mode: str = typer.Option("hybrid", "--mode", help="Search to measure beside BM25 alone: text, vector or hybrid."),
    benchmark: str = typer.Option(
        "", "--benchmark", help="Form of the file, as `visor questions import`.", show_default="known by its fields"
    ),
) -> None:
    """Measure plain search: page recall on a benchmark's questions, over the whole corpus and within the document."""
    from visor_core.evaluation.benchmarks import NAMES, READERS, format_of
    from visor_core.evaluation.benchmarks.resolve import PageResolver
    from visor_core.evaluation.page_recall import measure_page_recall

    _check_mode(mode)
    index = open_index(home_of(context), corpus, tag)
    benchmark = benchmark or format_of(questions)
    if benchmark not in READERS:
        raise ConfigError(f"--benchmark {benchmark!r} is not one of {NAMES}")
    documents = [document for document in index.documents() if document.status == "ok"]
    found = READERS[benchmark](questions, PageResolver(documents))
    asked = [question for question in found.questions if question.gold_pages]
    ways = ("text",) if mode == "text" else ("text", mode)
    rows: list[PageRecall] = []
    with progress_bar() as bar:
        for way in ways:
            for scope in ("whole corpus", "right document"):
                name = f"{LABELS[way]}, {scope}"
                task = bar.add_task(name, total=len(asked))
                step: Callable[[int, int], None] = lambda done, _, task=task: bar.update(task, completed=done)  # noqa: E731
                finder = _finder(index, way, within_document=scope == "right document")
                rows.append(measure_page_recall(name, finder, asked, progress=step))
    console.print(
        f"{len(found.questions)} questions about {len(documents)} documents; {len(asked)} have evidence pages; index"
        f" {index.tag}"
    )
    print_left_out(found.left_out)
    console.print(_recall_table(rows))


def _finder(index: PageIndex, mode: str, *, within_document: bool) -> Search:
    """Search as a function of a question, restricted to its document (that of its first gold page) or not."""
    from visor_core.index.records import split_page_id

    def find(question, k):  # type: ignore[no-untyped-def]
        document = split_page_id(question.gold_pages[0])[0] if within_document else None
        return [hit.page_id for hit in index.search(question.question, k=k, mode=mode, document=document)]

    return find


def _recall_table(rows: list[PageRecall]) -> Table:
    cuts = sorted(rows[0].recall)
    table = Table(title="Page recall", title_justify="left")
    table.add_column("search")
    for name in (*(f"@{k}" for k in cuts), "MRR", "nDCG@5"):
        table.add_column(name, justify="right")
    for row in rows:
        figures = [*(row.recall[k] for k in cuts), row.mrr, row.ndcg_at_5]
        table.add_row(row.name, *(f"{value:.3f}" for value in figures))
    table.add_row("[dim]perfect ranking[/dim]", *(f"[dim]{rows[0].ceiling[k]:.3f}[/dim]" for k in cuts), "", "")
    return table


def _check_mode(mode: str) -> None:
    if mode not in MODES:
        raise ConfigError(f"--mode {mode!r} is not one of {', '.join(MODES)}")
