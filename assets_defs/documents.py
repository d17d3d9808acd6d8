"""Asset `documents`: the bytes of a corpus, known by content hash; unreadable ones are quarantined with a reason."""

from pathlib import Path

import dagster as dg
from pydantic import Field

from assets_defs.judging import check
from assets_defs.partitions import corpora
from assets_defs.pictures import table
from assets_defs.stage import Need, Node, Stage, is_nano_corpus
from assets_defs.workspace import Work, Workspace
from visor_core.index import Corpus, register_documents
from visor_core.index.corpus import rows
from visor_core.index.register import DOCUMENT_COLUMNS, documents_version

STAGE = Stage(
    name="documents",
    begins=("assets_defs.documents",),
    settings=lambda profile, corpus: {"documents": profile.documents},
    needs=(Need("nano_corpus", when=is_nano_corpus),),
    watching=lambda profile, corpus: not is_nano_corpus(profile, corpus),
    partitioned=True,
    incremental=True,
    holds=lambda folder, version: (
        documents_version(rows(Corpus(folder).table("documents"), DOCUMENT_COLUMNS)) == version
    ),
)


class Sources(dg.Config):
    """Where the documents of a user's corpus come from."""

    paths: list[str] = Field(default=[], description="Files, folders and addresses; none: VISOR_HOME/inbox/<corpus>.")
    prune: bool = Field(default=False, description="Retire documents that are gone from the given folders.")


@dg.asset(
    partitions_def=corpora,
    deps=STAGE.deps,
    code_version=STAGE.version,
    pool="corpora",
    group_name="corpus",
    kinds={"lancedb", "pdf"},
)
def documents(context: dg.AssetExecutionContext, workspace: Workspace, config: Sources) -> dg.MaterializeResult[None]:
    """The documents of a corpus, validated and copied under their content hash."""
    work = workspace.begin(STAGE, context)
    corpus = Corpus(work.home.corpus(work.node.partition))
    nano = is_nano_corpus(work.profile, work.node.partition)
    report = register_documents(
        corpus,
        _sources(work, config, nano=nano),
        work.profile.documents,
        partition_of=(lambda path: path.parent.name) if nano else None,
        prune=config.prune,
        exactly=nano,
        progress=lambda what, done, total: work.progress.show(done, total, what),
    )
    figures = {
        "documents": report.documents,
        "document_pages": report.pages,
        "added": report.added,
        "retired": report.retired,
        "quarantined": len(report.quarantined),
    }
    work.finish(report.data_version, figures, path=corpus.root)
    refused = [{"file": r.filename, "reason": r.reason} for r in report.quarantined[:50]]
    return work.result({"quarantined_documents": table(refused)})


def _sources(work: Work, config: Sources, *, nano: bool) -> list[str | Path]:
    """Nano corpora come from the asset, the user's from the configured paths or the inbox folder of that name."""
    if nano:
        split = "train" if work.node.partition == work.profile.corpora.train else "development"
        return [work.input_folder("nano_corpus") / split]
    inbox = work.home.inbox(work.node.partition)
    return list(config.paths) or ([inbox] if inbox.is_dir() else [])


@check(STAGE, blocking=True)
def most_documents_are_readable(context: dg.AssetCheckExecutionContext, workspace: Workspace) -> dg.AssetCheckResult:
    """At most a tenth of the sources is quarantined, and at least one document is readable."""
    figures = workspace.record(Node("documents", context.partition_key)).figures
    readable, quarantined = int(figures["documents"]), int(figures["quarantined"])
    share = quarantined / max(1, readable + quarantined)
    return dg.AssetCheckResult(
        passed=readable > 0 and share <= 0.10,
        metadata={"readable": readable, "quarantined": quarantined, "quarantined_share": share},
    )
