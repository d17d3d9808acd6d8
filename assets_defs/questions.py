"""Asset `questions`: what is asked about a corpus, with gold pages by the ids that its index uses."""

from pathlib import Path

import dagster as dg

from assets_defs.machinery.assets import asset
from assets_defs.machinery.inbox import WATCHED, questions_file, watched_state
from assets_defs.machinery.judging import Finished, check
from assets_defs.machinery.pictures import table
from assets_defs.machinery.stage import Figure, Need, Stage
from assets_defs.machinery.tables import parquet_facts
from assets_defs.machinery.workspace import Work
from visor_core.index import PageIndex
from visor_core.index.corpus_settings import is_synthetic, split_of
from visor_core.questions import Question, questions_version, read_questions, write_questions

STAGE = Stage(
    name="questions",
    begins=("assets_defs.questions",),
    settings=lambda profile, corpus: {},
    needs=(Need("page_index", "same"), Need("nano_corpus", when=is_synthetic)),
    watching=lambda profile, corpus: not is_synthetic(profile, corpus),
    partitioned=True,
)


@asset(STAGE, group="corpus", kinds={"parquet"})
def questions(work: Work) -> dg.MaterializeResult[None]:
    """Questions about a corpus with their answers and the pages that hold them.

    Those of the synthetic corpora come with them. Your own corpus has those in `inbox/<corpus>.questions.parquet` of
    the home, where `visor questions import` puts those of a benchmark or of your own file; without questions a corpus
    can be searched and asked, not trained or measured on.
    """
    path = work.folder / "questions.parquet"
    watched = STAGE.watching(work.profile, work.node.partition)
    if watched or not work.complete:
        seen = watched_state(work.node, work.home)
        found = _found(work)
        _keep_replaced(path, questions_version(found))
        write_questions(path, found)
        figures: dict[str, Figure] = {"questions": len(found), "multi_hop": sum(q.hops > 1 for q in found)}
        figures |= {WATCHED: seen} if watched else {}
        work.finish(
            questions_version(found),
            figures,
            index_tag=work.input("page_index", work.node.partition).index_tag,
            told={"from_outside": {"questions": questions_version(found)}} if watched else None,
        )
    sample = [
        {"question": q.question, "answers": ", ".join(q.answers), "hops": q.hops, "gold pages": len(q.gold_pages)}
        for q in read_questions(path)[:12]
    ]
    return work.result({**parquet_facts(path), "sample": table(sample)})


def _keep_replaced(path: Path, version: str) -> None:
    """Keep questions that others replace under their version: what was made with them can be made again."""
    if path.is_file() and (before := questions_version(read_questions(path))) != version:
        path.rename(path.with_name(f"questions-{before}.parquet"))


def _found(work: Work) -> list[Question]:
    corpus = work.node.partition
    if is_synthetic(work.profile, corpus):
        return read_questions(work.input_folder("nano_corpus") / f"{split_of(work.profile, corpus)}.parquet")
    given = questions_file(work.home, corpus)
    return read_questions(given) if given.is_file() else []


@check(STAGE, blocking=True)
def there_are_questions(build: Finished) -> dg.AssetCheckResult:
    """A corpus that the profile trains on or measures with has questions; any other needs none."""
    asked, corpus = int(build.figures["questions"]), build.node.partition
    return dg.AssetCheckResult(
        passed=asked > 0 or corpus not in build.profile.corpora.names,
        # The corpus itself is sound and can be searched: only what is trained on it waits.
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"questions": asked},
        description=None
        if asked
        else f"nothing is asked about {corpus}, so nothing is trained or measured on it: `visor questions import FILE"
        f" --corpus {corpus}` puts questions into {questions_file(build.home, corpus)}",
    )


@check(STAGE, blocking=True)
def gold_pages_are_indexed(build: Finished) -> dg.AssetCheckResult:
    """Every gold page of every question is a page of the index that the questions are asked of."""
    record = build.other("page_index", build.node.partition).record
    index = PageIndex.open(record.folder(build.home), record.index_tag)
    known = set(index.page_ids())
    index.close()
    asked = read_questions(build.folder / "questions.parquet")
    missing = sorted({page for question in asked for page in question.gold_pages} - known)
    return dg.AssetCheckResult(
        passed=not missing, metadata={"questions": len(asked), "missing_pages": len(missing), "pages": len(known)}
    )
