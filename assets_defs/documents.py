"""Asset `documents`: the bytes of a corpus, known by content hash; unreadable ones are quarantined with a reason."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import dagster as dg

from assets_defs.machinery.assets import asset
from assets_defs.machinery.inbox import WATCHED, watched_state
from assets_defs.machinery.judging import Finished, check
from assets_defs.machinery.pictures import table
from assets_defs.machinery.stage import Need, Stage
from assets_defs.machinery.tables import lance_facts
from assets_defs.machinery.workspace import Work
from visor_core.documents.names import names_of_sources
from visor_core.documents.sources import Refused
from visor_core.index import Corpus, keep_settings, register_documents
from visor_core.index.corpus import DOCUMENTS, SOURCES, rows
from visor_core.index.corpus_settings import is_synthetic, kept, settings_of, split_of
from visor_core.index.register import DOCUMENT_COLUMNS, documents_version, recorded_documents

LISTED = 50
"""Sources that are named in the metadata; all are counted."""


STAGE = Stage(
    name="documents",
    begins=("assets_defs.documents",),
    reads=("documents",),
    settings=lambda profile, corpus: {"documents": profile.documents},
    needs=(Need("nano_corpus", when=is_synthetic),),
    watching=lambda profile, corpus: not is_synthetic(profile, corpus),
    partitioned=True,
    incremental=True,
    holds=lambda folder, version: (
        documents_version(rows(Corpus(folder).table("documents"), DOCUMENT_COLUMNS)) == version
    ),
    lost=lambda folder: Corpus(folder).lost((*SOURCES, *DOCUMENTS)),
    kept=kept,
)


GIVEN = {
    "paths": dg.Field(
        [str], default_value=[], description="Files, folders and addresses; none: VISOR_HOME/inbox/<corpus>."
    ),
    "prune": dg.Field(bool, default_value=False, description="Retire documents that are gone from the given folders."),
    "remove_many": dg.Field(
        bool, default_value=False, description="Retire however many documents are gone from the inbox, all of them too."
    ),
    "metadata": dg.Field(
        [str], default_value=[], description="What is said of all of these documents, as team=finance or access=staff."
    ),
}
"""Where the documents of a user's corpus come from."""


@asset(STAGE, group="corpus", kinds={"lancedb", "pdf"}, pool="corpora", options=GIVEN)
def documents(work: Work) -> dg.MaterializeResult[None]:
    """The documents of a corpus: PDFs and pictures, validated, and copied into the home under their content hash.

    A partition is a corpus. Those of the profile come from `nano_corpus` where there is one; your own come from the
    folder `inbox/<corpus>` of the home, or from the paths given in the launchpad. A document that cannot be read is
    put aside with its reason; the others go on. Unchanged documents are not read again.
    """
    corpus = Corpus(work.home.corpus(work.node.partition))
    nano = is_synthetic(work.profile, work.node.partition)
    settled = settings_of(work.profile, work.home, work.node.partition)
    if settled.contradicted:
        work.context.log.warning(f"{corpus.root.name} keeps its settings {', '.join(settled.contradicted)}")
    inbox = None if nano or work.options["paths"] else work.home.inbox(work.node.partition)
    seen = watched_state(work.node, work.home)
    report = register_documents(
        corpus,
        _sources(work, nano=nano),
        settled.documents,
        partition_of=(lambda path: path.parent.name) if nano else None,
        prune=work.options["prune"],
        exactly=nano,
        mirrored=[inbox] if inbox else (),
        metadata=work.options["metadata"],
        remove_many=work.options["remove_many"],
        progress=lambda what, done, total: work.progress.show(done, total, what),
        say=work.context.log.warning,
    )
    # Not before: what was lost of the corpus is made again by the registration.
    keep_settings(corpus, documents=settled.documents, since=settled.held)
    figures = {
        "documents": report.documents,
        "document_pages": report.pages,
        "added": report.added,
        "retired": report.retired,
        "quarantined": len(report.quarantined),
        "skipped": len(report.skipped),
        **({WATCHED: seen} if inbox else {}),
    }
    work.finish(report.data_version, figures, path=corpus.root, told={"documents": recorded_documents(corpus)})
    return work.result(
        {
            **lance_facts(corpus.table("documents")),
            "quarantined_documents": _listed(report.quarantined),
            "skipped_files": _listed(report.skipped),
            "gone_but_kept": "\n".join(report.kept_gone) or "nothing",
            "reasons": dg.MetadataValue.json(dict(Counter(r.reason for r in (*report.quarantined, *report.skipped)))),
            "corpus_settings": dg.MetadataValue.json(settled.documents.model_dump(mode="json")),
        }
    )


def _listed(sources: Sequence[Refused]) -> dg.MarkdownMetadataValue:
    """Sources with their reasons as a table, the first of many."""
    names = names_of_sources((r.filename, r.uri) for r in sources)
    return table([{"file": names[r.uri], "reason": r.reason} for r in sources[:LISTED]])


def _sources(work: Work, *, nano: bool) -> list[str | Path]:
    """Nano corpora come from the asset, the user's from the configured paths or the inbox folder of that name."""
    if nano:
        return [work.input_folder("nano_corpus") / split_of(work.profile, work.node.partition)]
    inbox = work.home.inbox(work.node.partition)
    given = list(work.options["paths"])
    # An emptied inbox is no source that cannot be read: it stands for no document.
    return given or ([inbox] if inbox.is_dir() and any(inbox.iterdir()) else [])


@check(STAGE, blocking=True, thresholds=("quarantined_share",))
def most_documents_are_readable(build: Finished) -> dg.AssetCheckResult:
    """At least one document is readable, and at most `checks.quarantined_share` of the sources are quarantined. What is
    made of the corpus before stays in force where this fails, its index too."""
    figures = build.figures
    readable, quarantined = int(figures["documents"]), int(figures["quarantined"])
    share = quarantined / max(1, readable + quarantined)
    return dg.AssetCheckResult(
        passed=readable > 0 and share <= build.profile.checks.quarantined_share,
        metadata={"readable": readable, "quarantined": quarantined, "quarantined_share": share},
        description=None
        if readable
        else f"the corpus holds no readable document: put some into {build.home.inbox(build.node.partition)}",
    )


@check(STAGE)
def no_document_is_quarantined(build: Finished) -> dg.AssetCheckResult:
    """Every source could be read; those that could not are named, and what could is indexed without them."""
    quarantined = int(build.figures["quarantined"])
    return dg.AssetCheckResult(
        passed=not quarantined, severity=dg.AssetCheckSeverity.WARN, metadata={"quarantined": quarantined}
    )
