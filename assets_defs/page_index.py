"""Asset `page_index`: passages, full text and vector columns over the pages of a corpus, published under a tag."""

import dagster as dg

from assets_defs.machinery.assets import asset
from assets_defs.machinery.judging import Finished, check
from assets_defs.machinery.pictures import table
from assets_defs.machinery.stage import Need, Stage
from assets_defs.machinery.tables import lance_facts
from assets_defs.machinery.workspace import Work
from visor_core.config import IndexConfig, Profile
from visor_core.index import EVERY_COLUMN, Corpus, PageIndex, build_index, keep_settings, load_embedders
from visor_core.index.corpus_settings import NANO_RETRIEVER, is_synthetic, kept, settings_of, with_retriever
from visor_core.index.own_words import share_found
from visor_core.index.register import recorded_documents
from visor_core.index.tags import latest_version, read_manifest, recorded_manifest
from visor_core.index.upkeep import approximate_recall


def embedder_specs(profile: Profile, corpus: str) -> tuple[str, ...]:
    """The embedders of a synthetic corpus as the profile writes them; a user's corpus keeps its own."""
    return profile.index.embedders if is_synthetic(profile, corpus) else ()


STAGE = Stage(
    name="page_index",
    begins=("assets_defs.page_index",),
    reads=("index", "documents.language"),
    settings=lambda profile, corpus: {
        "index": profile.index,
        "embedders": list(embedder_specs(profile, corpus)),
        "language": profile.documents.language,
    },
    needs=(
        Need("pages", "same"),
        Need("retriever", when=lambda profile, corpus: NANO_RETRIEVER in embedder_specs(profile, corpus)),
    ),
    partitioned=True,
    incremental=True,
    holds=lambda folder, version: latest_version(Corpus(folder)) == version,
    lost=lambda folder: Corpus(folder).lost(),
    kept=kept,
)


def resolved_index_config(work: Work, config: IndexConfig) -> IndexConfig:
    """The index section with the asset `retriever` replaced by its folder."""
    return with_retriever(config, work.input_folder("retriever")) if NANO_RETRIEVER in config.embedders else config


@asset(STAGE, group="corpus", kinds={"lancedb"}, pool="corpora")
def page_index(work: Work) -> dg.MaterializeResult[None]:
    """What the agent searches: full text and page vectors of a corpus in LanceDB, published under a tag.

    Every training and evaluation names the tag it ran on and reads exactly that version, also when documents are added
    later.
    """
    corpus = Corpus(work.home.corpus(work.node.partition))
    settled = settings_of(work.profile, work.home, work.node.partition)
    config = resolved_index_config(work, settled.index)
    embedders = load_embedders(config)
    keep_settings(corpus, index=config, since=settled.held)
    report = build_index(
        corpus,
        config,
        embedders,
        progress=lambda what, done, total: work.progress.show(done, total, what),
        documents=settled.documents,
        # Vectors of a synthetic corpus are those of the retriever in force; another one is trained again in minutes.
        drop=(EVERY_COLUMN,) if is_synthetic(work.profile, work.node.partition) else (),
    )
    figures = {
        "index_pages": report.pages,
        "passages": report.passages,
        "embedded": report.embedded,
        "vector_columns": len(report.vectors),
        "vectors_missing": len(report.undrawn),
        "pages_cut": len(report.cut),
    }
    manifest = recorded_manifest(corpus, read_manifest(corpus, report.index_tag))
    told = {"index": manifest, "documents": recorded_documents(corpus)}
    work.finish(report.data_version, figures, path=corpus.root, index_tag=report.index_tag, told=told)
    undrawn = [{"file": f, "page": p, "embedder": e, "reason": r} for f, p, e, r in report.undrawn[:50]]
    cut = [{"file": f, "page": p, "characters_left_out": n} for f, p, n in report.cut[:50]]
    return work.result(
        {
            **lance_facts(corpus.table("passages")),
            "vectors": dg.MetadataValue.json(report.vectors),
            "pages_without_vector": table(undrawn),
            "pages_searched_in_part": table(cut),
            "corpus_settings": dg.MetadataValue.json(config.model_dump(mode="json")),
        }
    )


@check(STAGE, blocking=True, thresholds=("own_words_found",))
def every_readable_page_is_found(build: Finished) -> dg.AssetCheckResult:
    """A page searched by the words of it that the fewest pages share is among the first ten, for at least
    `checks.own_words_found` of a sample of 40."""
    index = PageIndex.open(build.folder, build.record.index_tag)
    pages = ((page.page_id, page.text) for page in index.texts())
    share, tried = share_found(
        pages, lambda words: [hit.page_id for hit in index.search(words, k=10, mode="text")], tried=40
    )
    index.close()
    return dg.AssetCheckResult(
        passed=share >= build.profile.checks.own_words_found, metadata={"share_found": share, "pages_tried": tried}
    )


@check(STAGE, blocking=True, thresholds=("approximate_recall",))
def approximate_search_agrees_with_exhaustive(build: Finished) -> dg.AssetCheckResult:
    """Recall@10 of approximate vector search against exhaustive search is at least `checks.approximate_recall`."""
    index = PageIndex.open(build.folder, build.record.index_tag)
    recall = approximate_recall(index)
    indexed = sum(vector.indexed for vector in index.manifest.vectors)
    index.close()
    return dg.AssetCheckResult(
        passed=recall >= build.profile.checks.approximate_recall,
        metadata={"recall_at_10": recall, "indexed_columns": indexed},
    )
