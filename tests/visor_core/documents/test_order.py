"""Reading order: headings first, columns whole."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from visor_core.documents.order import reading_order, text_of
from visor_core.documents.reader import Word


def block(text: str, x0: float, y0: float, x1: float, y1: float) -> list[Word]:
    return [Word(text, x0, y0, x1, y1)]


def order(blocks: list[list[Word]]) -> str:
    return text_of(reading_order(blocks)).replace("\n", " ")


def test_a_heading_precedes_its_paragraph() -> None:
    assert order([block("body", 0.1, 0.3, 0.9, 0.5), block("Heading", 0.1, 0.1, 0.5, 0.15)]) == "Heading body"


def test_columns_are_read_one_after_the_other_even_if_their_paragraphs_align() -> None:
    blocks = [
        block("r1", 0.55, 0.2, 0.95, 0.4),
        block("l2", 0.05, 0.5, 0.45, 0.7),
        block("title", 0.05, 0.05, 0.95, 0.1),
        block("l1", 0.05, 0.2, 0.45, 0.4),
        block("r2", 0.55, 0.5, 0.95, 0.7),
        block("footer", 0.05, 0.95, 0.95, 0.98),
    ]
    assert order(blocks) == "title l1 l2 r1 r2 footer"


def test_a_full_width_figure_separates_two_pairs_of_columns() -> None:
    blocks = [
        block("a", 0.05, 0.1, 0.45, 0.3),
        block("b", 0.55, 0.1, 0.95, 0.3),
        block("figure", 0.05, 0.4, 0.95, 0.6),
        block("d", 0.55, 0.7, 0.95, 0.9),
        block("c", 0.05, 0.7, 0.45, 0.9),
    ]
    assert order(blocks) == "a b figure c d"


TABLE = {
    "Net sales": ("1,577", "(1,402)"),
    "Cost of goods": ("$", "901"),
    "Goodwill": ("12.5%", "–"),
    "Total assets": ("40", "38"),
}


def test_rows_of_a_table_keep_their_label_beside_their_numbers() -> None:
    blocks = [block("prose", 0.05, 0.05, 0.95, 0.1)]
    for number, label in enumerate(TABLE):
        y = 0.2 + 0.03 * number
        blocks.append(block(label, 0.05, y, 0.4, y + 0.02))
    for column in range(2):
        for number, values in enumerate(TABLE.values()):
            y = 0.203 + 0.03 * number
            blocks.append(block(values[column], 0.6 + 0.2 * column, y, 0.7 + 0.2 * column, y + 0.02))
    assert order(blocks) == "prose " + " ".join(f"{label} {a} {b}" for label, (a, b) in TABLE.items())


def test_two_columns_of_which_one_is_of_figures_without_labels_stay_columns() -> None:
    blocks = [block(f"paragraph{n}", 0.05, 0.1 + 0.2 * n, 0.4, 0.11 + 0.2 * n) for n in range(2)]
    blocks += [block(str(n), 0.6, 0.15 + 0.03 * n, 0.7, 0.17 + 0.03 * n) for n in range(4)]
    assert order(blocks) == "paragraph0 paragraph1 0 1 2 3"


boxes = st.tuples(st.floats(0, 0.9), st.floats(0, 0.9), st.floats(0.01, 0.1), st.floats(0.01, 0.1))


@given(st.lists(boxes, max_size=30))
def test_no_word_is_lost_or_doubled(corners: list[tuple[float, float, float, float]]) -> None:
    blocks = [block(str(i), x, y, x + w, y + h) for i, (x, y, w, h) in enumerate(corners)]
    assert sorted(w.text for b in reading_order(blocks) for w in b) == sorted(str(i) for i in range(len(corners)))
