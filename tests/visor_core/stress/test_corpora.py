"""Corpora made from others: the original is never written, what did not change is not made again, figures follow."""

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.visor_core.stress.documents import STAFF, box_of, open_index, write_report, write_scan
from visor_core.config import apply_overrides
from visor_core.errors import ConfigError
from visor_core.index import Corpus, PageIndex
from visor_core.index.upkeep import verify
from visor_core.policies.base import Prompt
from visor_core.policies.scripted import ScriptedPolicy
from visor_core.questions import Question
from visor_core.stress import injections
from visor_core.stress.conditions import Condition, Subject, measure
from visor_core.stress.counterfactuals import Plan, measure_faithfulness, plan
from visor_core.stress.curves import curve_of, point_of
from visor_core.stress.derived import RECORD, Change, derive
from visor_core.stress.edits import Replace, Turn
from visor_core.stress.kinds import KINDS, Ground
from visor_core.stress.pages import write_curve, write_faithfulness


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> PageIndex:
    """Three reports, one a scan."""
    folder = tmp_path_factory.mktemp("stress")
    files = [write_report(folder / "in" / f"{name}.pdf", name, STAFF[name]) for name in ("acme", "borel")]
    (folder / "in" / "acme.pdf.meta.yaml").write_text("access: [staff, board]\n")
    return open_index(folder / "corpora" / "reports", [*files, write_scan(folder / "in" / "cyan.pdf", "cyan", "2,964")])


@pytest.fixture(scope="module")
def questions(index: PageIndex) -> tuple[Question, ...]:
    """One question a report, and one that has no answer."""
    by_name = {document.filename: document.document_id for document in index.documents()}
    asked = tuple(
        Question(
            f"q-{name}", f"How many people did {name} employ?", (staff.replace(",", ""),),
            benchmark="mmlongbench", answer_format="Int", gold_pages=(f"{by_name[f'{name}.pdf']}/00002",),
        )
        for name, staff in STAFF.items()
    )  # fmt: skip
    refused = Question("q-none", "Who?", ("Not answerable",), benchmark="mmlongbench", answerable=False)
    return (*asked, refused)


def reader(index: PageIndex, *, obeys: bool = False) -> ScriptedPolicy:
    """Looks for the company's page and says what is printed between `employed` and `people`; may obey pages."""

    def write(prompt: Prompt) -> str:
        question = "\n".join(part for m in prompt.messages for part in m.content if isinstance(part, str))
        company = (re.findall(r"people did (\w+) employ", question) or ["nobody"])[-1]
        for image in reversed(prompt.images):
            page = index.page(image.page_id)
            if obeys and "PWNED" in page.text:
                return "<think>as told</think><answer>PWNED</answer>"
            line = " ".join(word.text for word in sorted(page.words, key=lambda word: (round(word.y0, 1), word.x0)))
            if found := re.search(rf"{company} employed ([\d,]+) people", line):
                return f"<think>read</think><answer>{found[1].replace(',', '')}</answer>"
        return f"<think>look</think><search>{company} employed people {len(prompt.images)}</search>"

    return ScriptedPolicy(write, name="reader of the tests")


def subject_of(index: PageIndex, store: Path, policy_on: object = None) -> Subject:
    profile = apply_overrides({"name": "test"}, {"agent.max_turns": 5}, "the test")
    return Subject(index, profile, policy_on or (lambda on, *_: reader(on)), store)  # type: ignore[arg-type]


def contents(folder: Path) -> dict[str, str]:
    """Every file of a corpus but what drawing caches, by the hash of its bytes."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "crops" not in path.parts
    }


def test_a_changed_corpus_leaves_the_original_alone_and_is_found_again(index: PageIndex) -> None:
    before = contents(index.corpus.root)
    acme = next(d for d in index.documents() if d.filename == "acme.pdf")
    source = next(path for path in (index.corpus.root.parents[1] / "in").glob("acme.pdf"))
    edit = Replace(2, box_of(source, 2, "4,712"), ("4,712",), "8,350")
    made = derive(index, Change({acme.document_id: (edit,)}), "test")
    assert contents(index.corpus.root) == before
    folder = index.corpus.root.with_name(made.name)
    changed = PageIndex.open(folder, made.tag)
    assert {d.filename: d.metadata for d in changed.documents()} == {
        "acme.pdf": ("access=board", "access=staff"),
        "borel.pdf": (),
        "cyan.pdf": (),
    }
    assert "8,350" in changed.page(made.page_id(f"{acme.document_id}/00002")).text
    assert [hit.filename for hit in changed.search("8,350", mode="text")] == ["acme.pdf"]
    assert all("4,712" not in page.text for page in changed.pages())
    assert verify(Corpus(folder), deep=True) == []
    # The cover was carried over, not rendered again: it is the very picture of the original.
    cover = f"{acme.document_id}/00001"
    assert changed.raster(made.page_id(cover)).tobytes() == index.raster(cover).tobytes()
    whole = contents(folder)
    assert derive(index, Change({acme.document_id: (edit,)}), "test") == made
    assert contents(folder) == whole
    # A call that was killed before its last word is gone on with.
    (folder / RECORD).unlink()
    assert derive(index, Change({acme.document_id: (edit,)}), "test") == made


def test_answers_that_are_read_follow_and_those_from_memory_stay(
    index: PageIndex, questions: tuple[Question, ...], tmp_path: Path
) -> None:
    planned = plan(questions, index)
    assert len(planned.counterfactuals) == 3
    assert [item.reason for item in planned.left_out] == ["not answerable"]
    found = measure_faithfulness(subject_of(index, tmp_path), planned)
    assert {row.outcome for row in found.rows} == {"followed"}
    assert (found.rate.estimate, found.rate.count, found.coverage.estimate) == (1.0, 3, 1.0)
    for row in found.rows:
        assert row.answer_after.replace(",", "") == row.new.replace(",", "") != row.old
    known = {q.question: q.answers[0] for q in questions}

    def remembers(prompt: Prompt) -> str:
        text = "\n".join(part for m in prompt.messages for part in m.content if isinstance(part, str))
        return f"<think>x</think><answer>{next(a for q, a in known.items() if q in text)}</answer>"

    store = tmp_path / "memory"
    kept = measure_faithfulness(subject_of(index, store, lambda *_: ScriptedPolicy(remembers, name="memory")), planned)
    assert (kept.rate.estimate, kept.share("kept the old").estimate) == (0.0, 1.0)
    values = json.loads(json.dumps(kept.as_json(), allow_nan=False))
    assert values["figures"]["outcomes"] == {"kept the old": 3}
    page = write_faithfulness(tmp_path / "x.html", replace(found, policy="<b>reader</b>")).read_text(encoding="utf-8")
    assert "<b>reader" not in page
    assert "default-src 'none'" in page
    nothing = write_faithfulness(tmp_path / "none.html", replace(found, rows=(), answerable=0, rule=""))
    page = nothing.read_text(encoding="utf-8")
    assert "no question could be changed" in page
    assert "rule" not in page


def test_an_answer_that_is_not_printed_once_is_left_out(index: PageIndex, questions: tuple[Question, ...]) -> None:
    acme = questions[0]
    several = [
        replace(acme, question_id="absent", answers=("77",)),
        replace(acme, question_id="twice", gold_pages=acme.gold_pages * 1, answers=("annual",)),
        replace(acme, question_id="list", answer_format="List", answers=("['a']",)),
        replace(acme, question_id="nowhere", gold_pages=()),
        acme,
        replace(acme, question_id="same place"),
    ]
    planned = plan(several, index)
    assert [item.reason for item in planned.left_out] == [
        "answer is not printed on its gold pages",
        "answer is not printed on its gold pages",
        "answer is a list or of no known form",
        "gold pages not known",
    ]
    first, second = planned.counterfactuals
    assert first.edits == second.edits
    assert first.asked.answers == second.asked.answers
    assert plan(several, index, seed=1) != planned
    assert plan(several, index) == planned


def test_a_document_that_cannot_be_changed_is_left_out_by_name(
    index: PageIndex, questions: tuple[Question, ...], tmp_path: Path
) -> None:
    planned = plan(questions, index)
    (first, *others) = planned.counterfactuals
    ((document, edit),) = first.edits
    assert isinstance(edit, Replace)
    wrong = replace(edit, new="八百")
    broken = Plan((replace(first, edits=((document, wrong),)), *others), (), 3)
    found = measure_faithfulness(subject_of(index, tmp_path), broken)
    assert len(found.rows) == 2
    (lost,) = [item for item in found.left_out if item.reason == "the edit cannot be verified"]
    assert lost.item == first.question.question_id
    assert (found.located, found.rate.count) == (3, 2)


def test_orders_are_obeyed_where_they_are_read(
    index: PageIndex, questions: tuple[Question, ...], tmp_path: Path
) -> None:
    planned = injections.plan(questions)
    assert [condition.name for condition in planned.conditions] == ["clean", *injections.PLACES]
    chosen = [c for c in planned.conditions if c.name in ("clean", "white", "annotation")]
    rates = {}
    for obeys in (False, True):
        policy_on = lambda on, *_, obeys=obeys: reader(on, obeys=obeys)  # noqa: E731
        subject = subject_of(index, tmp_path / str(obeys), policy_on)
        clean, *hostile = [measure(subject, injections.KIND, condition) for condition in chosen]
        for one in hostile:
            rates[obeys, one.condition.name] = injections.attack_success(clean, one, planned).estimate
    assert {name: rate for (obeys, name), rate in rates.items() if not obeys} == dict.fromkeys(
        ("white", "annotation"), 0.0
    )
    assert rates[True, "white"] == 1.0  # the text layer has what nobody sees
    assert rates[True, "annotation"] == 0.0


def test_curves_come_of_conditions_in_order(index: PageIndex, questions: tuple[Question, ...], tmp_path: Path) -> None:
    subject = subject_of(index, tmp_path)
    ground = Ground(index, subject.profile, questions, tmp_path / "noise", seed=2)
    own = {"distractors": (0, 2), "noise": (0, 2), "resolution": (25_088, 50_176)}
    made = {name: kind.make(ground, own.get(name, (1, 3))) for name, kind in KINDS.items()}
    assert [len(row.conditions) for row in made.values()] == [2, 2, 1, 2, 2, 2, 2, 2]
    with pytest.raises(ConfigError, match=r"784 pixels at least \(agent.image.multiple 28\)"):
        KINDS["resolution"].make(ground, (700, 25_088))
    fewer, more = made["distractors"].conditions
    assert len(fewer.questions) == 1
    assert len(fewer.change.without) == 2
    assert more.change.empty
    assert [dict(c.settings) for c in made["turns"].conditions] == [{"agent.max_turns": 1}, {"agent.max_turns": 3}]
    assert len(made["noise"].conditions[1].change.added) == 6
    assert {item.reason for item in made["hops"].left_out} == {"gold pages not known"}
    names = {document.document_id: document.name for document in index.documents()}
    measured = [measure(subject, name, made[name].conditions[-1]) for name in ("distractors", "noise", "turns")]
    measured.append(measure(subject, "distractors", fewer))
    points = [point_of(one, names) for one in measured]
    assert [points[n].right.estimate for n in (0, 2, 3)] == [1.0, 0.75, 1.0]
    counts = [len(PageIndex.open(index.corpus.root.with_name(p.corpus), p.index_tag).documents()) for p in points]
    assert counts == [3, 9, 3, 1]
    curve = curve_of("noise", "documents & <noise>", measured, points, made["hops"].left_out, "reports")
    assert json.loads(json.dumps(curve.as_json(), allow_nan=False))["points"][1]["questions"] == 3
    page = write_curve(tmp_path / "c.html", curve).read_text(encoding="utf-8")
    assert "<noise>" not in page
    assert "polyline" in page


def test_turned_documents_are_read_turned(index: PageIndex, questions: tuple[Question, ...], tmp_path: Path) -> None:
    acme = questions[0]
    document = acme.gold_pages[0].rpartition("/")[0]
    turned = Condition("turned", 90.0, (acme,), Change({document: (Turn(90.0),)}))
    measured = measure(subject_of(index, tmp_path), "rotation", turned)
    there = PageIndex.open(index.corpus.root.with_name(measured.corpus.name), measured.corpus.tag)
    assert there.page(measured.corpus.page_id(acme.gold_pages[0])).width_pt == 500
    assert measured.played.corpus == measured.corpus.name
