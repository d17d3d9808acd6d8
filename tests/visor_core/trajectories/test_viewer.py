"""The viewer: self-contained, escaped, every part of the episode on the page."""

import base64
import hashlib
import json
import random
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from tests.visor_core.agent.small_index import SmallIndex
from tests.visor_core.agent.test_hostile import hostile_pages, hostile_text
from tests.visor_core.trajectories.episodes import INDEX, episodes
from visor_core.agent.environment import Environment
from visor_core.agent.episode import run_reference
from visor_core.agent.strategies import STRATEGIES, preset
from visor_core.agent.trajectory import Trajectory
from visor_core.config import AgentConfig
from visor_core.errors import DocumentError
from visor_core.geometry import Box
from visor_core.policies.base import ImageRef
from visor_core.policies.scripted import ScriptedPolicy
from visor_core.questions import Question
from visor_core.trajectories.viewer import episode_html, side_by_side_html
from visor_core.trajectories.viewer_gallery import SCRIPT, gallery_html, write_viewer
from visor_core.trajectories.viewer_page import Link
from visor_core.trajectories.viewer_pictures import Mark, Pictures, whole_page

UNWANTED = {"img", "iframe", "object", "link", "form"}
HOSTILE = "<script>alert(1)</script><img src=http://evil.example/x.png onerror=alert(2)>\"'&"


class Elements(HTMLParser):
    """Collects tag names and every address in an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.addresses: list[str] = []
        self.scripts: list[str] = []
        self._in_script = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self._in_script = tag == "script"
        self.addresses += [v or "" for k, v in attrs if k in ("src", "href", "action", "data", "srcset")]
        assert not any(k.startswith("on") for k, _ in attrs)

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.scripts.append(data)
            self._in_script = False


def require_known_script(html: str, path: Path | None = None) -> None:
    """No script but the one of a file, which the policy names by its hash."""
    found = elements(html).scripts
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'")
    if path is None:
        assert found == []
        assert "script-src" not in policy[1]
    else:
        assert found == [path.read_text(encoding="utf-8")]
        digest = base64.b64encode(hashlib.sha256(path.read_bytes()).digest()).decode()
        assert f"script-src 'sha256-{digest}'" in policy[1]


def elements(html: str) -> Elements:
    parser = Elements()
    parser.feed(html)
    return parser


def hostile() -> Trajectory:
    """An episode with hostile text in every free field."""
    (t,) = episodes(1)
    turns = tuple(
        replace(
            turn,
            action=replace(turn.action, thought=HOSTILE, text=HOSTILE),
            completion=replace(turn.completion, text=HOSTILE),
            observation=replace(turn.observation, message=HOSTILE, fault=HOSTILE),
            evidence_added=tuple(replace(e, observation=HOSTILE, document=HOSTILE) for e in turn.evidence_added),
        )
        for turn in t.turns
    )
    question = Question(HOSTILE, HOSTILE, (HOSTILE,))
    return replace(
        t, question=question, turns=turns, answer=HOSTILE, error=HOSTILE, policy=HOSTILE, rewards={HOSTILE: 1.0}
    )


def test_hostile_text_stays_text_and_nothing_is_fetched() -> None:
    gallery = gallery_html([hostile()], INDEX, title=HOSTILE)
    sides = side_by_side_html([(HOSTILE, hostile()), (HOSTILE, None)], INDEX)
    for html, script in ((episode_html(hostile(), INDEX), None), (gallery, SCRIPT), (sides, None)):
        found = elements(html)
        assert not found.names & UNWANTED
        require_known_script(html, script)
        assert found.addresses == []
        assert re.findall(r"url\((?!data:image/webp;base64,)", html) == []
        assert "&lt;script&gt;alert(1)" in html


def test_everything_of_an_episode_is_on_its_page() -> None:
    (t,) = episodes(1)
    html = episode_html(replace(t, reward=0.75, rewards={"answer": 1.0}), INDEX)
    for text in (
        "0.750",
        "verdict: reject",
        "turn 2",
        "first reading",
        "What the answer rests on",
        "unreadable",
        "forced",
    ):
        assert (text in html) == (text != "forced"), text
    assert html.count('<section class="turn">') == len(t.turns)
    # One copy of each picture, however often it is drawn: pages 1 and 2 (search, crop, search) and the crop.
    assert len(re.findall(r"\.p\d+\{background", html)) == 3


def test_each_turn_shows_the_ledger_as_it_stood_and_its_tokens() -> None:
    (t,) = episodes(1)
    html = episode_html(t, INDEX)
    turns = html.split('<section class="turn">')[1:]
    ledgers = [re.findall(r'<li class="([^"]*)"><span class="n">\[(\d)\]', turn) for turn in turns]
    assert ledgers == [
        [],
        [("new", "1")],
        [("", "1"), ("new rej", "2")],
        [("", "1"), ("rej", "2"), ("new", "3")],
    ]
    written = [len(turn.completion.token_ids) for turn in t.turns]
    assert [f"3 in · {n} out · 0.25 s" in turn for n, turn in zip(written, turns, strict=True)] == [True] * 4
    head = html.split('<section class="turn">')[0]
    figures = {name: value for value, name in re.findall(r"<li><b>([^<]*)</b><span>([^<]*)</span></li>", head)}
    assert figures == {
        "turns": "4",
        "prompt tokens": "12",
        "image tokens": "4",
        "written tokens": str(sum(written)),
        "ledger compactions": "0",
        "seconds": f"{t.seconds:.1f}",
    }


def test_compactions_of_the_ledger_are_shown() -> None:
    (t,) = episodes(1, evidence={"max_tokens": 70})
    assert "<li><b>1</b><span>ledger compactions</span></li>" in episode_html(t, INDEX)


def test_an_episode_of_another_version_is_shown_without_what_its_settings_would_say() -> None:
    script = iter(["<think>a</think><search>acme</search>", "<think>a</think><bbox>[0,0,9999,9999]</bbox>"])
    answered = "<think>a</think><answer>b</answer>"
    policy = ScriptedPolicy(lambda prompt: next(script, answered))
    (t,) = run_reference(Environment(INDEX, AgentConfig()), policy, [Question("q", "acme", ("b",))])
    assert t.turns[1].observation.fault in ("outside", "whole page")
    other = replace(t, config=json.dumps({**json.loads(t.config), "gone_since": 1}))
    page = episode_html(other, INDEX)
    assert "ledger compactions" not in page
    assert page.count("<figure") == episode_html(t, INDEX).count("<figure") > 0


def test_a_page_that_cannot_be_drawn_leaves_a_remark() -> None:
    def gone(ref: ImageRef) -> Image.Image:
        raise DocumentError("report.pdf is gone")

    assert "picture not available: report.pdf is gone" in episode_html(episodes(1)[0], gone)


def test_a_mark_is_drawn_in_the_frame_of_what_is_shown() -> None:
    pictures = Pictures(INDEX)
    page = pictures.picture(ImageRef("report/00001", 100, 100), [Mark(Box(0.25, 0.5, 0.5, 0.75), "turn 2")])
    assert "left:25.00%;top:50.00%;width:25.00%;height:25.00%" in page
    crop = ImageRef("report/00001", 100, 100, Box(0.0, 0.0, 0.5, 0.5))
    assert "left:50.00%;top:50.00%;width:50.00%;height:50.00%" in pictures.picture(
        crop, [Mark(Box(0.25, 0.25, 0.75, 0.75))]
    )
    assert 'class="box' not in pictures.picture(crop, [Mark(Box(0.6, 0.6, 0.7, 0.7))])
    # Half the page's width at 200 px and a quarter of its height at 100 px: the page is as wide as it is high.
    assert whole_page(ImageRef("a", 200, 100, Box(0.0, 0.0, 0.5, 0.25))) == ImageRef("a", 141, 141)


@pytest.mark.parametrize(
    ("top", "bottom", "place"), [(0.5, 0.6, ""), (0.0, 0.5, " low"), (0.0, 1.0, " inside"), (0.5, 1.0, "")]
)
def test_a_label_stands_where_there_is_room(top: float, bottom: float, place: str) -> None:
    page = Pictures(INDEX).picture(ImageRef("report/00001", 100, 100), [Mark(Box(0.1, top, 0.5, bottom), "gold")])
    assert f'class="box {place}"' in page


def test_pages_go_by_their_documents_name_where_the_episode_knows_it() -> None:
    (t,) = episodes(1)
    named = {e.document for e in t.evidence}
    assert named == {"report.pdf"}
    assert "page 1 of report.pdf, shown to the policy" in episode_html(t, INDEX)
    unread = replace(t, evidence=(), citations=())
    assert "page 1 of report, shown to the policy" in episode_html(unread, INDEX)


def test_the_gallery_links_to_each_episode_and_they_to_it_and_their_neighbours(tmp_path: Path) -> None:
    made = episodes(3)
    names = [f"{t.trajectory_id}.html" for t in made]
    up = [Link("report", "../report.html", "up")]
    index = write_viewer(tmp_path, made, INDEX, title="Three episodes", up=up)
    assert elements(index.read_text(encoding="utf-8")).addresses == ["../report.html", *names]
    around = [elements((tmp_path / name).read_text(encoding="utf-8")).addresses for name in names]
    above = ["../report.html", "index.html"]
    assert around == [[*above, names[1]], [*above, names[0], names[2]], [*above, names[1]]]


def test_a_card_shows_the_expected_answer_and_says_its_outcomes(tmp_path: Path) -> None:
    right, wrong = episodes(2)
    wrong = replace(wrong, question=replace(wrong.question, answers=("48",)), outcome="forced")
    html = gallery_html([right, wrong], INDEX)
    assert re.findall(r'data-outcome="([^"]*)"', html) == ["correct answered", "not-correct forced"]
    assert re.findall(r"expected <bdi>(\d+)</bdi>", html) == ["47", "48"]
    filters = re.findall(r'data-filter="([^"]*)" aria-pressed="(\w+)"', html)
    assert filters == [("", "true"), *((name, "false") for name in ("answered", "correct", "forced", "not-correct"))]


def test_cited_pages_are_large_and_lead_into_their_document() -> None:
    (t,) = episodes(1)
    html = episode_html(
        t, INDEX, address_of=lambda page: f"file:///r.pdf#page={int(page[-5:])}" if "3" not in page else ""
    )
    cited = sorted({int(c.page_id[-5:]) for c in t.citations})
    wanted = sorted({n for page in cited for n in (page - 1, page, page + 1) if 0 < n != 3})
    assert sorted({int(a.rpartition("=")[2]) for a in elements(html).addresses}) == wanted
    assert html.index("What the answer rests on") < html.index("The episode</h2>")


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_hostile_episodes_of_every_strategy_can_be_drawn(strategy: str) -> None:
    rng = random.Random(strategy)
    index = SmallIndex(hostile_pages())
    env = Environment(index, preset(strategy, AgentConfig(max_turns=5)))
    questions = [Question(f"q{i}", hostile_text(rng), (hostile_text(rng),)) for i in range(6)]
    trajectories = run_reference(env, ScriptedPolicy(lambda p: hostile_text(rng)), questions)
    for html in (*(episode_html(t, index) for t in trajectories), gallery_html(trajectories, index)):
        found = elements(html)
        assert not found.names & UNWANTED
        assert found.addresses == []


def test_nothing_is_called_correct_or_not_where_nothing_has_gold() -> None:
    made = episodes(2)
    asked = [replace(t, question=replace(t.question, answers=())) for t in made]
    assert "correct" not in gallery_html(asked, INDEX)
    judged = gallery_html([made[0], asked[1]], INDEX)
    assert re.search(r"<b>[01] of 1</b><span>correct</span>", judged)


def test_tokens_of_an_endpoint_are_its_own_count_or_absent() -> None:
    (t,) = episodes(1)
    counted = replace(t.turns[0].completion, token_ids=(), logprobs=(), prompt_tokens=1200, image_tokens=None)
    turns = tuple(replace(turn, completion=replace(counted, completion_tokens=17)) for turn in t.turns)
    page = episode_html(replace(t, turns=turns), INDEX)
    assert "1,200 in · 17 out" in page
    assert f"<b>{17 * len(turns)}</b><span>written tokens</span>" in page
    assert "image tokens" not in page
    assert "0 out" not in episode_html(
        replace(t, turns=tuple(replace(turn, completion=counted) for turn in t.turns)), INDEX
    )
