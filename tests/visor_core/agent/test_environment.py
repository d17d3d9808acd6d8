"""Single steps: evidence by verdict and gate, faults, selection, exhausted results, citations."""

from tests.visor_core.agent.small_index import SmallIndex, pages_of
from visor_core.agent.environment import Environment
from visor_core.agent.state import EpisodeState, citations
from visor_core.agent.strategies import preset
from visor_core.agent.trajectory import Citation
from visor_core.config import AgentConfig
from visor_core.geometry import FULL_PAGE
from visor_core.policies.base import Completion
from visor_core.questions import Question

PAGES = [
    *pages_of("acme staff 47 people", "acme revenue 12 million", "borel staff 31 people", "acme staff costs"),
    *pages_of("other acme staff", filename="other.pdf", partition="elsewhere"),
]
SEARCH = "<think>looking</think><search>acme staff</search>"
CROP = "<think>a page on staff</think><bbox>[10,10,200,200]</bbox>"


def play(*replies: str | Completion, config: AgentConfig | None = None, partition: str = "") -> EpisodeState:
    env = Environment(SmallIndex(PAGES), config or AgentConfig())
    state = env.start(Question("q", "acme staff", ("47",), partition=partition))
    for reply in replies:
        state = env.step(state, Completion(reply) if isinstance(reply, str) else reply)
    return state


def cited(state: EpisodeState) -> tuple[Citation, ...]:
    return citations(state, Environment(SmallIndex(PAGES), AgentConfig()).facts)


def ledger(state: EpisodeState) -> list[tuple[int, str, str]]:
    return [(e.page, e.kind, e.observation) for e in state.evidence.entries]


def test_a_thought_is_the_observation_of_what_was_shown_before_it() -> None:
    state = play(SEARCH, CROP, "<think>47</think><answer>47</answer>")
    assert ledger(state) == [(1, "pre", "a page on staff"), (1, "post", "47")]
    assert [len(t.evidence_added) for t in state.turns] == [0, 1, 1]


def test_a_rejected_crop_leaves_the_reading_from_before_it_and_says_so() -> None:
    state = play(SEARCH, CROP, "<think>blurred</think><verdict>reject</verdict><search>staff</search>")
    assert ledger(state) == [(1, "pre", "a page on staff"), (1, "rejected", "blurred")]
    assert [e.index for e in state.evidence.standing] == [1]
    assert state.turns[2].observation.message.startswith(
        "Your previous crop is rejected; entry [1] stands. Page shown:"
    )


def test_without_correction_every_crop_counts() -> None:
    config = AgentConfig(correction=False)
    state = play(SEARCH, CROP, "<think>blurred</think><verdict>reject</verdict><search>staff</search>", config=config)
    assert ledger(state)[1] == (1, "post", "blurred")
    assert "stands" not in state.turns[2].observation.message


def test_gates() -> None:
    reject = "<think>not about staff</think><verdict>reject</verdict><search>staff</search>"
    assert ledger(play(SEARCH, reject)) == [(1, "rejected", "not about staff")]
    relevant = AgentConfig.model_validate({"evidence": {"gate": "relevant"}})
    assert ledger(play(SEARCH, reject, config=relevant)) == []
    keep = reject.replace("reject", "keep")
    assert ledger(play(SEARCH, keep, config=relevant)) == [(1, "pre", "not about staff")]
    unjudged = reject.replace("<verdict>reject</verdict>", "")
    assert ledger(play(SEARCH, unjudged)) == [(1, "pre", "not about staff")]
    assert ledger(play(SEARCH, unjudged, config=relevant)) == []


def test_a_reading_is_not_lost_to_a_malformed_reply() -> None:
    later = play(SEARCH, "", "no tags at all", CROP)
    assert ledger(later) == [(1, "pre", "a page on staff")]
    once = play(SEARCH, "<think>first thought</think>", "<think>second thought</think><search>staff</search>")
    assert ledger(once) == [(1, "pre", "first thought")]


def test_a_thought_cut_off_at_the_token_limit_is_no_reading() -> None:
    cut = Completion("<think>a page on sta", finish_reason="length")
    state = play(SEARCH, cut, cut, CROP)
    assert [t.observation.fault for t in state.turns[1:3]] == ["cut off"] * 2
    assert ledger(state) == [(1, "pre", "a page on staff")]
    judged = Completion("<think>blurred</think><verdict>reject</verdict>", finish_reason="length")
    crop = play(SEARCH, CROP, judged, "<think>47</think><answer>47</answer>")
    assert "stands" not in crop.turns[2].observation.message
    assert ledger(crop)[1] == (1, "post", "47")
    whole = Completion("<think>47</think><answer>4", finish_reason="length")  # cut off after its action began
    assert ledger(play(SEARCH, whole)) == [(1, "pre", "47")]


def test_a_reply_without_words_leaves_the_reading_from_before_it() -> None:
    state = play(SEARCH, CROP, "<search>staff</search>")
    assert ledger(state) == [(1, "pre", "a page on staff"), (1, "post", "")]
    assert [e.observation for e in state.evidence.standing] == ["a page on staff", ""]


def test_a_crop_refers_to_the_page_shown_last_never_to_a_crop() -> None:
    state = play(SEARCH, CROP, "<think>x</think><bbox>[5,5,120,150]</bbox>")
    first, second = (t.observation.images[0] for t in state.turns[1:])
    assert (first.page_id, second.page_id) == ("report/00001", "report/00001")
    page = state.turns[0].observation.images[0]
    assert abs(second.box.x1 - (120 + 28) / page.width) < 1e-9
    assert state.current_page == page


def test_crop_faults_name_the_reading_that_stands() -> None:
    for box, fault in [("[5,5,5,9]", "degenerate"), ("[0,0,5000,5000]", "outside"), ("[1,2]", "bad box")]:
        state = play(SEARCH, CROP.replace("[10,10,200,200]", box))
        assert state.turns[1].observation.fault == fault, box
    assert "entry [1] stands" in play(SEARCH, CROP.replace("[10,10,200,200]", "[5,5,5,9]")).turns[1].observation.message
    assert play(CROP).turns[0].observation.fault == "no page"
    assert play(SEARCH, CROP, CROP).turns[2].observation.fault == "repeat"
    blank = CROP.replace("[10,10,200,200]", "[300,500,480,650]")
    assert play(SEARCH, blank).turns[1].observation.fault == "blank"


def test_a_reply_cut_off_at_its_limit_is_told_so() -> None:
    env = Environment(SmallIndex(PAGES), AgentConfig())
    state = env.step(env.start(Question("q", "x", ())), Completion("<think>on and on", finish_reason="length"))
    assert state.turns[0].observation.fault == "cut off"
    assert "cut off before its action" in state.turns[0].observation.message


def test_search_stays_in_the_questions_partition() -> None:
    state = play(SEARCH, partition="elsewhere")
    assert state.turns[0].observation.ranking == ("other/00001",)


def test_nothing_found_is_said() -> None:
    state = play("<think>x</think><search>zebra</search>")
    assert (state.turns[0].observation.kind, state.turns[0].observation.fault) == ("exhausted", "no results")


def test_seen_pages_may_be_shown_again_by_option() -> None:
    state = play(SEARCH, SEARCH, config=AgentConfig(exclude_seen=False))
    assert [t.observation.images[0].page_id for t in state.turns] == ["report/00001"] * 2
    assert state.evidence.entries[0].observation == "looking"


def test_selection() -> None:
    config = preset("unidoc", AgentConfig())
    state = play(SEARCH, "<think>x</think><select>2</select>", config=config)
    assert [i.page_id for i in state.turns[0].observation.images] == ["report/00001", "report/00004", "report/00002"]
    assert state.turns[1].observation.images[0].page_id == "report/00004"
    invalid = play(SEARCH, "<think>x</think><select>9</select>", config=config)
    assert invalid.turns[1].observation.images[0].page_id == "report/00001"  # UniDoc-RL: the first one
    assert play(SEARCH, CROP, config=config).turns[1].observation.fault == "choose first"
    assert play("<think>x</think><select>1</select>", config=config).turns[0].observation.fault == "no candidates"
    again = play(SEARCH, SEARCH, config=config)
    assert [i.page_id for i in again.turns[1].observation.images] == ["report/00003"]  # three were seen as candidates


def test_citations_carry_document_page_and_box() -> None:
    cropped = play(SEARCH, CROP, "<think>47</think><answer>47 [2]</answer>")
    (citation,) = cited(cropped)
    assert (citation.document, citation.page) == ("report.pdf", 1)
    assert citation.box == cropped.turns[1].observation.images[0].box
    uncited = play(SEARCH, "<think>47</think><answer>47 [9]</answer>")  # entry 9 does not exist: all standing ones
    assert [(c.page, c.box) for c in cited(uncited)] == [(1, FULL_PAGE)]
    react = play(SEARCH, "<think>47</think><answer>47</answer>", config=preset("react", AgentConfig()))
    assert cited(react) == (Citation("report/00001", "report.pdf", 1, FULL_PAGE),)
    assert cited(play(SEARCH)) == ()


def test_only_what_stands_can_be_cited() -> None:
    replaced = play(SEARCH, CROP, "<think>47</think><answer>47 [1]</answer>")
    assert [c.box for c in cited(replaced)] == [replaced.turns[1].observation.images[0].box]  # entry 2 took its place
    rejecting = "<think>blurred</think><verdict>reject</verdict><search>staff</search>"
    rejected = play(SEARCH, CROP, rejecting, "<think>31</think><answer>47 [2]</answer>")
    assert [(c.page, c.box) for c in cited(rejected)] == [(1, FULL_PAGE), (3, FULL_PAGE)]  # all that stands
