"""Asset `pages`: every page of the documents as text with word boxes and a stored picture."""

from contextlib import closing

import dagster as dg

from assets_defs.machinery.assets import asset
from assets_defs.machinery.judging import Finished, check
from assets_defs.machinery.pictures import page_with_words, table
from assets_defs.machinery.stage import Need, Stage
from assets_defs.machinery.tables import lance_facts
from assets_defs.machinery.workspace import Work
from visor_core.config import IndexConfig
from visor_core.documents.names import shown_names
from visor_core.geometry import Box
from visor_core.index import Corpus, render_pages
from visor_core.index.corpus import PAGES, quoted, rows
from visor_core.index.corpus_settings import kept, settings_of
from visor_core.index.page_pictures import PagePictures
from visor_core.index.pages import held_version
from visor_core.index.settings import reading_settings

STAGE = Stage(
    name="pages",
    begins=("assets_defs.pages",),
    reads=("documents",),
    settings=lambda profile, corpus: {"documents": profile.documents},
    needs=(Need("documents", "same"),),
    partitioned=True,
    incremental=True,
    holds=lambda folder, version: held_version(Corpus(folder)) == version,
    lost=lambda folder: Corpus(folder).lost(PAGES),
    kept=kept,
)


@asset(STAGE, group="corpus", kinds={"lancedb"}, pool="corpora")
def pages(work: Work) -> dg.MaterializeResult[None]:
    """Every page of the documents: its text with a box around each word, and a picture.

    Pages without usable text are read by OCR where that is installed. Pages of unchanged documents are kept. The
    picture below shows a page with its word boxes: crops can only be as good as these.
    """
    corpus = Corpus(work.home.corpus(work.node.partition))
    settled = settings_of(work.profile, work.home, work.node.partition)
    report = render_pages(
        corpus, settled.documents, progress=lambda what, done, total: work.progress.show(done, total, what)
    )
    figures = {
        "pages": report.pages,
        "rendered": report.rendered,
        "removed": report.removed,
        "problems": len(report.problems),
        **{f"text_{source}": count for source, count in sorted(report.text_sources.items())},
    }
    work.finish(report.data_version, figures, path=corpus.root)
    problems = [{"file": f, "page": p, "problem": reason} for f, p, reason in report.problems[:50]]
    locked = [{"file": item.filename, "reason": item.reason} for item in report.locked[:50]]
    return work.result(
        {
            **lance_facts(corpus.table("pages")),
            "sample_page": _sample(corpus),
            "problem_pages": table(problems),
            "not_rendered_anew": table(locked),
        }
    )


def _sample(corpus: Corpus) -> dg.MarkdownMetadataValue:
    """The page with the most words among the first two hundred, drawn with its words."""
    table = corpus.table("pages")
    first = sorted(row["page_id"] for row in rows(table, ["page_id"]))[:200]
    if not first:
        return dg.MetadataValue.md("there are no pages")
    counts = {
        row["page_id"]: len(row["text"].split())
        for row in rows(table, ["page_id", "text"], f"page_id IN ({quoted(first)})")
    }
    sizes = ["width_pt", "height_pt", "image_width", "image_height"]
    columns = ["page_id", "document_id", "page", *sizes, "text_source", "problem", "words"]
    (fullest,) = rows(table, columns, f"page_id = {quoted([max(first, key=counts.__getitem__)])}")
    documents = rows(corpus.table("documents"), ["document_id", "filename", "source_uri", "media_type"])
    readable = {r["document_id"]: r for r in documents}
    with closing(PagePictures(corpus, readable, IndexConfig(), reading_settings(corpus, None))) as pictures:
        drawn = pictures.picture(fullest)
    names = shown_names({r["document_id"]: (r["filename"], r["source_uri"]) for r in documents})
    return page_with_words(
        drawn,
        [Box(w["x0"], w["y0"], w["x1"], w["y1"]) for w in fullest["words"] or ()],
        caption=f"{names[fullest['document_id']]}, page {fullest['page']}, text from {fullest['text_source']}",
    )


@check(STAGE, blocking=True)
def every_page_has_a_size_and_a_picture(build: Finished) -> dg.AssetCheckResult:
    """No page lacks its size in points, and every page that could be read has its picture."""
    corpus = Corpus(build.home.corpus(build.node.partition))
    found = rows(corpus.table("pages"), ["page_id", "width_pt", "height_pt", "problem"])
    pictured = {r["page_id"] for r in rows(corpus.table("images"), ["page_id"])}
    unsound = sorted(
        r["page_id"]
        for r in found
        if not r["problem"] and (min(r["width_pt"], r["height_pt"]) <= 0 or r["page_id"] not in pictured)
    )
    return dg.AssetCheckResult(
        passed=bool(found) and not unsound,
        metadata={"pages": len(found), "unsound_pages": len(unsound), "examples": ", ".join(unsound[:5]) or "none"},
    )
