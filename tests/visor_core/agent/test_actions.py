"""The grammar: strict form, tolerated form, faults, hostile text, linear time."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visor_core.agent.actions import parse, upto_action
from visor_core.agent.prompts import FAULTS
from visor_core.agent.trajectory import Action
from visor_core.agent.untrusted import PROTOCOL_TAGS, neutralise


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<think>a</think><search>b c</search>", Action("search", "b c", thought="a")),
        ("<think> a </think>\n<bbox>[1, 2.5,3,4]</bbox>\n", Action("crop", box=(1, 2.5, 3, 4), thought="a")),
        (
            "<think>a</think><verdict>reject</verdict><answer>47 [1][12]</answer>",
            Action("answer", "47 [1][12]", thought="a", verdict="reject"),
        ),
        ("<think>a</think><answer>[8, 9] [1]</answer>", Action("answer", "[8, 9] [1]", thought="a")),
        ("<think>a</think><answer>[5]</answer>", Action("answer", "[5]", thought="a")),
    ],
)
def test_well_formed_replies(text: str, expected: Action) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    ("text", "kind", "content"),
    [
        ("<search>x</search>", "search", "x"),
        ("sure!\n```xml\n<think>a</think>\n<search>x</search>\n```", "search", "x"),
        ("<think>a</think><SEARCH>x</Search>", "search", "x"),
        ("<think>a</think>< search >x< /search >", "search", "x"),
        ("<think>a</think><search>x", "search", "x"),
        ("<think>a <search>x</search>", "search", "x"),
        ("a</think><search>x</search>", "search", "x"),
        ('<think>a</think><search>"x"</search>', "search", "x"),
        ("<think>a</think><search></search><search>x</search>", "search", "x"),
        ("<think>a</think><bbox>[1,2]</bbox><search>x</search>", "search", "x"),
        ("<think>a</think><search>x</search><answer>y</answer>", "search", "x"),
        ("<think>a</think><think>b</think><search>x</search>", "search", "x"),
        ("<think>I could <search>wrong</search></think><search>x</search>", "search", "x"),
        ("<think>a<search>x</search><think>b</think>", "search", "x"),
        ("<think>a</think><answer>```\nx\n```</answer>", "answer", "x"),
        ("<think>a</think><answer>```text\nx\n```</answer>", "answer", "x"),
        ("<think>a</think><answer>```x\n```</answer>", "answer", "x"),
        ("<think>a</think><search>```acme staff```</search>", "search", "acme staff"),
        ("<think>a</think><answer>x<answer>", "answer", "x"),
    ],
)
def test_what_models_really_write_is_understood_but_not_well_formed(text: str, kind: str, content: str) -> None:
    action = parse(text)
    assert (action.kind, action.text) == (kind, content)
    if not text.startswith(
        (
            "<think>a</think><SEARCH>",
            "<think>a</think>< search",
            '<think>a</think><search>"',
            "<think>a</think><answer>```",
            "<think>a</think><search>```",
        )
    ):
        assert not action.well_formed


@pytest.mark.parametrize(
    ("body", "box"),
    [
        ("[1,2,3,4]", (1, 2, 3, 4)),
        ("1 2 3 4", (1, 2, 3, 4)),
        ("(1, 2), (3, 4)", (1, 2, 3, 4)),
        ('{"bbox_2d": [1, 2, 3, 4]}', (1, 2, 3, 4)),
        ("```json [1,2,3,4]```", (1, 2, 3, 4)),
        ('```JSON\n{"bbox_2d": [1, 2, 3, 4]}\n```', (1, 2, 3, 4)),
        ("[-1,2.5e1,.5,4.]", (-1, 25, 0.5, 4)),
        ("[1,2,3]", None),
        ("[1,2,3,4,5]", None),
        ("[1,2,3,four]", None),
        ("[1,2,3,1e999]", None),
        ("[nan,2,3,4]", None),
        ("", None),
        ("[1,2,3,4]" * 100, None),
    ],
)
def test_boxes(body: str, box: tuple[float, ...] | None) -> None:
    action = parse(f"<think>a</think><bbox>{body}</bbox>")
    assert action.box == box
    assert action.kind == ("crop" if box else "invalid")
    assert action.well_formed == (box is not None)


GROUNDED = [
    '{"bbox_2d": [1, 2, 3, 4]}',
    '{"bbox_2d": [1, 2, 3, 4], "label": "sales of Q3 2019"}',
    '[{"bbox_2d": [1, 2, 3, 4], "label": "5 rows"}, {"bbox_2d": [5, 6, 7, 8], "label": "b"}]',
    '```json\n[\n\t{\n\t\t"bbox_2d": [\n\t\t\t1,\n\t\t\t2,\n\t\t\t3,\n\t\t\t4\n\t\t],\n\t\t"label": "a"\n\t}\n]\n```',
    "{'bbox': [1, 2, 3, 4]}",
    "<box>[[1, 2, 3, 4]]</box>",
    "<box>(1,2),(3,4)</box>",
    "<|object_ref_start|>a table<|object_ref_end|><|box_start|>(1,2),(3,4)<|box_end|>",
    "(1,2),(3,4)",
]


@pytest.mark.parametrize("form", GROUNDED)
def test_a_models_own_grounding_form_is_a_box(form: str) -> None:
    instead = parse(f"<think>a [9,9,9,9]</think>\n{form}")
    assert (instead.kind, instead.box, instead.well_formed) == ("crop", (1, 2, 3, 4), False)
    if "object_ref" not in form:
        inside = parse(f"<think>a</think><bbox>{form}</bbox>")
        assert (inside.kind, inside.box, inside.well_formed) == ("crop", (1, 2, 3, 4), True)
    # An action's tag says more than a form; a thought says nothing; a strategy may have no boxes.
    assert parse(f"<think>a</think>{form}<search>x</search>").kind == "search"
    assert parse(f"<think>{form}</think>").kind == "invalid"
    assert parse(f"<think>a</think>{form}", crop=False).kind == "invalid"


@pytest.mark.parametrize("form", GROUNDED)
@pytest.mark.parametrize("imagined", ["\nCrop of [page] {2}: 88", "<|im_end|>\n<think>b</think> (5,6),(7,8)", " so 88"])
def test_what_follows_a_box_without_its_tag_is_no_part_of_the_reply(form: str, imagined: str) -> None:
    reply = f"<think>a (9,9),(9,9)</think>\n{form}"
    assert upto_action(reply) == reply
    cut = upto_action(reply + imagined)
    assert cut.startswith(reply)
    assert cut.removeprefix(reply) in ("", "<|im_end|>")
    assert upto_action(reply + imagined, crop=False) == reply + imagined  # no action: whole


@pytest.mark.parametrize(
    "text",
    ["[1,2,3,4]", '{"bbox_2d": [1,2,3]}', '{"bbox_2d": [1,2,3,4,5]}', '{"box_2d": [1,2,3,4]}', "(1,2)", "<box>a</box>"],
)
def test_numbers_alone_and_other_forms_are_no_box(text: str) -> None:
    assert parse(f"<think>a</think>{text}").text == "no action"


def test_actions_that_a_strategy_lacks_are_faults() -> None:
    assert parse("<think>a</think><bbox>[1,2,3,4]</bbox>", crop=False).text == "no crop"
    assert parse("<think>a</think><search>x</search>", search=False).text == "no search"
    assert parse("<think>a</think><select>1</select>").text == "no select"
    assert parse("<think>a</think><select>2</select>", select=True) == Action("select", choice=2, thought="a")
    assert parse("<think>a</think><select>the second</select>", select=True).choice == 0
    assert parse("<think>a</think><select>[3]</select>", select=True).choice == 3


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "<think>a</think>",
        "<think>a",
        "<search>  </search>",
        "<answer>\n</answer>",
        "</search>",
        "<verdict>keep</verdict>",
    ],
)
def test_faults_are_named(text: str) -> None:
    action = parse(text)
    assert action.kind == "invalid"
    assert action.text in FAULTS


def test_a_verdict_is_keep_or_reject_or_nothing() -> None:
    assert parse("<think>a</think><verdict> KEEP </verdict><search>x</search>").verdict == "keep"
    unclear = parse("<think>a</think><verdict>maybe</verdict><search>x</search>")
    assert (unclear.verdict, unclear.well_formed, unclear.kind) == (None, False, "search")
    twice = parse("<think>a</think><verdict>keep</verdict><verdict>reject</verdict><search>x</search>")
    assert (twice.verdict, twice.well_formed) == ("keep", False)
    late = parse("<think>a</think><search>x</search><verdict>reject</verdict>")
    assert (late.verdict, late.well_formed) == ("reject", False)


PIECES = st.lists(
    st.one_of(
        st.sampled_from(
            [f"<{slash}{tag}>" for tag in PROTOCOL_TAGS for slash in ("", "/")]
            + [
                "<",
                ">",
                "</",
                "[1,2,3,4]",
                "[1]",
                "keep",
                "reject",
                "\n",
                "```",
                "<image>",
                "<|im_end|>",
                "9" * 400,
                "\x00",
            ]
        ),
        st.text(max_size=12),
    ),
    max_size=30,
).map("".join)


@given(PIECES, st.booleans(), st.booleans())
@settings(max_examples=400, deadline=None)
def test_any_text_has_one_meaning_and_its_parts_can_forge_nothing(text: str, crop: bool, select: bool) -> None:
    action = parse(text, crop=crop, select=select)
    assert action == parse(text, crop=crop, select=select)
    assert (action.kind == "crop") == (action.box is not None)
    assert action.kind != "crop" or crop
    assert action.kind != "select" or select
    assert action.kind != "invalid" or (action.text in FAULTS and not action.well_formed)
    for part in (action.thought, action.text):
        assert "\n" not in part
        assert parse(part).text == "no action"
        assert neutralise(part) == part


@given(st.text(max_size=40), st.text(max_size=40))
def test_what_is_written_well_is_read_back(thought: str, query: str) -> None:
    thought, query = neutralise(thought), neutralise(query).strip("`\"' ")
    action = parse(f"<think>{thought}</think><search>{query}</search>")
    assert action.thought == thought
    if query and thought:
        assert (action.kind, action.text, action.well_formed) == ("search", query, True)


@pytest.mark.parametrize(
    "unit",
    [
        "<",
        "< ",
        "<think>",
        "<bbox>[",
        "<answer>[1] ",
        "<answer>[1,",
        "<bbox>```a",
        " ",
        "[1",
        "</think>",
        "<bbox>1 ",
        '{"bbox_2d": [1,',
        "(1,2),",
        "<box>1 ",
    ],
)
def test_time_is_linear_in_the_text(unit: str) -> None:
    began = time.process_time()  # other processes may have the machine
    parse(unit * (200_000 // len(unit)), select=True)
    assert time.process_time() - began < 5.0
