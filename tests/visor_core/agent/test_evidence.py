"""The ledger: append-only, what supersedes what, what goes first when the budget is passed."""

from hypothesis import given, settings
from hypothesis import strategies as st

from visor_core.agent.evidence import EvidenceSpace
from visor_core.agent.prompts import CompactWording, FullWording
from visor_core.agent.trajectory import EntryKind
from visor_core.agent.untrusted import approximate_tokens
from visor_core.config import shipped_wording
from visor_core.geometry import Box

LEFT, RIGHT = Box(0.0, 0.0, 0.4, 0.4), Box(0.5, 0.5, 0.9, 0.9)
LINE = FullWording(shipped_wording()).entry


def note(space: EvidenceSpace, page: int, text: str, kind: EntryKind = "pre", box: Box | None = None) -> EvidenceSpace:
    return space.add(page_id=f"d/{page:05d}", document="d.pdf", page=page, observation=text, kind=kind, box=box)


def test_a_zoom_replaces_the_first_reading_and_a_rejected_one_replaces_nothing() -> None:
    space = note(EvidenceSpace(), 1, "a chart")
    space = note(space, 1, "blurred", "rejected", LEFT)
    assert [e.index for e in space.standing] == [1]
    space = note(space, 1, "412", "post", LEFT)
    assert space.entries[2].supersedes == 1
    space = note(space, 1, "97", "post", RIGHT)  # another region adds
    assert space.entries[3].supersedes is None
    space = note(space, 1, "413", "post", LEFT)  # the same region again corrects
    assert space.entries[4].supersedes == 3
    assert [(e.index, e.observation) for e in space.standing] == [(4, "97"), (5, "413")]


def test_a_reading_without_words_replaces_nothing_but_a_rejection_needs_none() -> None:
    space = note(note(EvidenceSpace(), 1, "a chart"), 1, " \n", "post", LEFT)
    assert space.entries[1].supersedes is None
    assert note(space, 1, "").entries[2].supersedes is None
    assert note(space, 1, "", "rejected").entries[2].supersedes == 1


def test_what_is_cited_is_what_took_its_place() -> None:
    space = note(note(note(EvidenceSpace(), 1, "a chart"), 1, "412", "post", LEFT), 1, "413", "post", LEFT)
    assert [(e.index if (e := space.standing_for(n)) else None) for n in range(5)] == [None, 3, 3, 3, None]
    gone = note(note(EvidenceSpace(), 1, "old"), 1, "of no use", "rejected")
    assert [gone.standing_for(n) for n in (1, 2)] == [None, None]


def test_a_page_read_again_replaces_its_first_reading_and_may_reject_it() -> None:
    space = note(note(EvidenceSpace(), 1, "old"), 2, "other page")
    space = note(space, 1, "new")
    assert space.entries[2].supersedes == 1
    space = note(space, 1, "not about this", "rejected")
    assert space.entries[3].supersedes == 3
    assert [e.index for e in space.standing] == [2]


def test_lines() -> None:
    space = note(note(EvidenceSpace(), 5, "a chart"), 5, "412", "post", LEFT)
    space = note(space, 6, "no use", "rejected")
    assert space.render(LINE, 1000).lines == (
        '[1] "d.pdf", page 5: a chart',
        '[2] "d.pdf", page 5, box [0.00,0.00,0.40,0.40], zoomed, replaces [1]: 412',
        '[3] "d.pdf", page 6, not relevant: no use',
    )
    assert space.render(CompactWording().entry, 1000).lines == ("1 a chart", "2 412", "3 no no use")


def test_over_budget_superseded_entries_go_first_then_the_oldest_observations_shorten() -> None:
    words = " ".join(["word"] * 30)
    space = note(note(EvidenceSpace(), 1, words), 1, words, "post", LEFT)
    space = note(note(space, 2, words), 3, words)
    # Lines cost 30 words + 12 signs = 42, the second 26 signs more for box, "zoomed" and "replaces [1]".
    whole = space.render(LINE, 194)
    assert (whole.tokens, whole.compactions, whole.dropped) == (194, 0, ())
    # 136: the third line makes 152; without the superseded first it is 110, still above 0.8 · 136 = 108, so the oldest
    # standing reading gives 2 tokens. The fourth line makes 150: the oldest goes down to 12 tokens (134), the next one
    # as well (116); the newest stays whole, since it fits.
    tight = space.render(LINE, 136)
    assert (tight.tokens, tight.compactions, tight.dropped) == (116, 2, (1,))
    assert tight.lines[0].startswith('[2] "d.pdf", page 1, box [0.00,0.00,0.40,0.40], zoomed, replaces [1]: word')
    assert [line.count("word") for line in tight.lines] == [11, 11, 30]
    assert tight.lines[2] == f'[4] "d.pdf", page 3: {words}'


def test_what_was_rejected_loses_its_words_before_a_standing_reading_loses_one() -> None:
    reading = "the table on staff lists sales 12, plants 31, offices 40, and in its last row a total of 4711 people"
    useless = "this page is about the weather of the year and holds nothing on the question that was asked at all"
    space = note(EvidenceSpace(), 1, reading)
    for page in range(2, 7):
        space = note(space, page, useless, "rejected")
    space = note(space, 7, "an early look at costs " * 4)
    space = note(space, 7, "costs were 99 in all", "post", LEFT)
    rendered = space.render(LINE, 190)
    assert rendered.tokens <= 190
    assert rendered.lines[0] == f'[1] "d.pdf", page 1: {reading}'
    assert rendered.lines[1:5] == tuple(f'[{n}] "d.pdf", page {n}, not relevant' for n in range(2, 6))
    assert rendered.lines[-1].endswith("costs were 99 in all")
    assert set(rendered.dropped) <= {7}
    # Smaller still: the superseded one goes, and the oldest standing reading is the last to be cut, from its end.
    smaller = space.render(LINE, 160)
    assert smaller.dropped == (7,)
    assert smaller.lines[-1].endswith("costs were 99 in all")
    assert smaller.lines[0].startswith('[1] "d.pdf", page 1: the table on staff lists')
    assert [line.partition(": ")[2] for line in smaller.lines[1:6]] == [""] * 5


def test_a_standing_reading_is_cut_only_as_far_as_needed() -> None:
    space = note(EvidenceSpace(), 1, " ".join(["word"] * 100))
    space = note(space, 2, " ".join(["word"] * 10))
    # 112 + 22 = 134 tokens; to reach 0.8 · 130 = 104 the oldest gives 30 of its 100.
    rendered = space.render(LINE, 130)
    assert (rendered.tokens, rendered.lines[0].count("word")) == (104, 69)  # and one for the ellipsis


def test_document_page_and_box_stay_however_small_the_budget() -> None:
    space = EvidenceSpace()
    for page in range(1, 6):
        space = note(space, page, "many words " * 20)
    rendered = space.render(LINE, 16)
    assert rendered.lines == tuple(f'[{n}] "d.pdf", page {n}' for n in range(1, 6))


entries = st.lists(
    st.tuples(
        st.integers(1, 4),
        st.text(max_size=60),
        st.sampled_from(["pre", "post", "rejected"]),
        st.sampled_from([None, LEFT, RIGHT]),
    ),
    max_size=25,
)


@given(entries, st.integers(40, 400))
@settings(deadline=None)
def test_any_history_is_append_only_and_fits(
    history: list[tuple[int, str, EntryKind, Box | None]], budget: int
) -> None:
    space = EvidenceSpace()
    compactions = 0
    for page, text, kind, box in history:
        before = space
        space = note(space, page, text, kind, box)
        assert space.entries[: len(before.entries)] == before.entries
        newest = space.entries[-1]
        assert newest.supersedes is None or newest.supersedes < newest.index
        assert len({e.supersedes for e in space.entries if e.supersedes}) == sum(
            e.supersedes is not None for e in space.entries
        )
        rendered = space.render(LINE, budget)
        stubs = sum(approximate_tokens(LINE(e, "")) for e in space.entries if e.index not in rendered.dropped)
        assert rendered.tokens <= max(budget, stubs)
        assert set(rendered.dropped) <= space.superseded
        assert rendered.compactions >= compactions
        compactions = rendered.compactions
        assert not any("\n" in line for line in rendered.lines)


def test_most_turns_only_append_a_line() -> None:
    space = EvidenceSpace()
    previous: tuple[str, ...] = ()
    changed = 0
    for page in range(1, 41):
        space = note(space, page, "about thirty words of observation " * 6)
        lines = space.render(LINE, 490).lines
        changed += lines[: len(previous)] != previous
        previous = lines
    assert changed == space.render(LINE, 490).compactions
    assert changed <= 20  # at most every other turn
