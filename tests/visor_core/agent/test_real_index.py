"""An episode on real PDFs: LanceDB search, crops re-rasterised from the page's vectors, a viewer page."""

import random

import pytest
from PIL import Image, ImageChops, ImageStat

from tests.visor_core.agent.real_index import open_index, write_letter, write_report
from tests.visor_core.agent.test_hostile import hostile_text
from visor_core.agent.environment import Environment
from visor_core.agent.episode import run_reference
from visor_core.agent.trajectory import Trajectory
from visor_core.config import AgentConfig
from visor_core.index import PageIndex
from visor_core.policies.scripted import ScriptedPolicy
from visor_core.questions import Question
from visor_core.trajectories.replay import replay
from visor_core.trajectories.viewer import episode_html

SCRIPT = [
    "<think>start</think><search>revenue by segment million crowns group accounts</search>",
    "<think>a chart, the number over Seals is too small</think><verdict>keep</verdict><bbox>[260,430,360,580]</bbox>",
    "<think>Seals 97</think><verdict>keep</verdict><answer>97 million crowns [2]</answer>",
]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> PageIndex:
    folder = tmp_path_factory.mktemp("real")
    write_report(folder / "norvik.pdf")
    write_letter(folder / "halden.pdf", "Halden outlook", "Halden Valves expects revenue of 120 million in 2025.")
    return open_index(folder / "corpus", [folder / "norvik.pdf", folder / "halden.pdf"])


@pytest.fixture(scope="module")
def episode(index: PageIndex) -> Trajectory:
    policy = ScriptedPolicy(lambda p: SCRIPT[sum(m.role == "assistant" for m in p.messages)])
    (trajectory,) = run_reference(Environment(index, AgentConfig()), policy, [Question("q", "Seals revenue", ("97",))])
    return trajectory


def test_the_answer_carries_document_page_and_box(episode: Trajectory, index: PageIndex) -> None:
    assert [t.observation.kind for t in episode.turns] == ["page", "crop", "final"]
    (citation,) = episode.citations
    assert (citation.document, citation.page) == ("norvik.pdf", 2)
    assert citation.box is not None
    # The number 97 is printed 24 pt right of the bar's left edge at x = 320 pt, just above y = 503 pt.
    x, y = 350 / 612, 500 / 792
    assert citation.box.x0 < x < citation.box.x1
    assert citation.box.y0 < y < citation.box.y1
    assert replay(episode, environment=Environment(index, AgentConfig())).identical


def test_a_crop_is_rasterised_again_not_enlarged(episode: Trajectory, index: PageIndex) -> None:
    page, crop = (episode.turns[i].observation.images[0] for i in (0, 1))
    shown, zoomed = index(page), index(crop)
    assert shown.size == (page.width, page.height)
    assert zoomed.size == (crop.width, crop.height)
    b = crop.box
    part = (b.x0 * page.width, b.y0 * page.height, b.x1 * page.width, b.y1 * page.height)
    enlarged = shown.resize(zoomed.size, Image.Resampling.BICUBIC, box=part)
    # The same region …
    small = (40, 40)
    difference = ImageStat.Stat(ImageChops.difference(enlarged.resize(small), zoomed.resize(small)).convert("L"))
    assert difference.mean[0] < 6
    # … but with edges sharper than any enlargement has: more pixels are pure white or pure colour.
    assert _edge_strength(zoomed) > 1.5 * _edge_strength(enlarged)


def test_a_blank_region_is_refused_and_the_first_reading_stands(index: PageIndex) -> None:
    script = [SCRIPT[0], "<think>a chart</think><bbox>[10,650,500,695]</bbox>", "<think>x</think><answer>?</answer>"]
    policy = ScriptedPolicy(lambda p: script[sum(m.role == "assistant" for m in p.messages)])
    (t,) = run_reference(Environment(index, AgentConfig()), policy, [Question("q", "Seals revenue", ("97",))])
    assert t.turns[1].observation.fault == "blank"
    assert "entry [1] stands" in t.turns[1].observation.message


def test_its_viewer_page_holds_the_pictures(episode: Trajectory, index: PageIndex) -> None:
    html = episode_html(episode, index)
    assert html.count("data:image/webp;base64,") == 2
    assert "norvik.pdf, page 2" in html


def _edge_strength(image: Image.Image) -> float:
    """Largest step between neighbouring grey levels, averaged over rows that hold the number."""
    grey = image.convert("L")
    shifted = ImageChops.offset(grey, 1, 0)
    data = ImageStat.Stat(ImageChops.difference(grey, shifted))
    return data.rms[0]


def test_hostile_queries_on_a_real_index_never_raise(index: PageIndex) -> None:
    rng = random.Random(4)
    policy = ScriptedPolicy(lambda p: f"<think>x</think><search>{hostile_text(rng)}</search>")
    env = Environment(index, AgentConfig(max_turns=6))
    for t in run_reference(env, policy, [Question(f"q{i}", "revenue", ()) for i in range(40)]):
        assert t.outcome in ("answered", "forced", "turn_limit")
