"""The scripted teacher: plays the nano world through the real environment, with mistakes it then corrects.

It sees what any policy sees, the prompt, and knows from the world what each picture shows. Mistakes are drawn from
the turn's noise key: a search for the wrong topic, a wrong page accepted, a loose crop, a wrong panel cropped. Each is
followed by a rejection and the right action, so that trajectories hold crop evaluation and recovery. Without mistakes
it is the ceiling.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from visor_core.config import AgentConfig, TeacherConfig
from visor_core.errors import ConfigError
from visor_core.geometry import FULL_PAGE, Box
from visor_core.nano.questions import OPERATIONS
from visor_core.nano.world import GRID, TOPICS, World, WorldPage
from visor_core.policies.base import Completion, ImageRef, Prompt, Sampling

LOOSE_CELLS = 5


@dataclass(frozen=True, slots=True)
class Need:
    """What a question asks for: an operation ("" for a single value), one or two subjects, and a label."""

    operation: str
    subjects: tuple[str, ...]
    label: str


def parse_question(text: str) -> Need:
    """`acme staff q3` or `higher acme , borel staff q3`.

    Raises:
        ConfigError: if the question is of another form: the scripted teacher knows only its own world's.
    """
    single = re.fullmatch(r"(\w+) (\w+) (\w+)", text)
    if single:
        return Need("", (f"{single[1]} {single[2]}",), single[3])
    double = re.fullmatch(rf"({'|'.join(OPERATIONS)}) (\w+) , (\w+) (\w+) (\w+)", text)
    if double:
        return Need(double[1], (f"{double[2]} {double[4]}", f"{double[3]} {double[4]}"), double[5])
    raise ConfigError(f"the scripted teacher cannot read the question {text!r}: it knows the nano world's only")


def combine(need: Need, values: Sequence[int]) -> int:
    """The answer from the values in the order of the subjects."""
    if need.operation == "higher":
        return max(values)
    if need.operation == "sum":
        return sum(values)
    if need.operation == "difference":
        return abs(values[0] - values[1])
    return values[0]


class ScriptedTeacher:
    """A `BatchPolicy` over the world's truth; for the `compact` prompts and 0–10 coordinates."""

    def __init__(
        self, world: World, config: TeacherConfig, agent: AgentConfig, *, seed: int = 0, name: str = "scripted-teacher"
    ) -> None:
        if agent.prompts != "compact" or agent.coordinates != "grid10":
            raise ConfigError("the scripted teacher needs agent.prompts: compact and agent.coordinates: grid10")
        self.name, self.checkpoint = name, ""
        self._pages = {page.page_id: page for page in world.pages}
        self._config, self._seed = config, seed

    async def complete(self, prompt: Prompt, sampling: Sampling) -> Completion:
        """The teacher's reply."""
        return Completion(text=self.reply(prompt, sampling))

    def complete_batch(self, prompts: Sequence[Prompt], samplings: Sequence[Sampling]) -> list[Completion]:
        """The teacher's replies, in order."""
        return [Completion(text=self.reply(p, s)) for p, s in zip(prompts, samplings, strict=True)]

    def reply(self, prompt: Prompt, sampling: Sampling) -> str:
        """What the teacher writes for this prompt."""
        rng = random.Random(f"teacher/{self._seed}/{sampling.key}")
        need = parse_question(_question_of(prompt))
        known = _recorded(prompt, need)
        shown = next((p for p in reversed(prompt.messages[-1].content) if isinstance(p, ImageRef)), None)
        if prompt.forced_prefix:
            return f"{prompt.forced_prefix} {_guess(need, known)}</answer>"
        if shown is None:
            return _think(f"{_next(need, known)} {need.label}") + self._search(need, known, rng)
        page = self._pages[shown.page_id]
        if shown.box == FULL_PAGE:
            return self._after_page(prompt, page, need, known, rng)
        return self._after_crop(page, shown.box, need, known, rng)

    def _search(self, need: Need, known: dict[str, int], rng: random.Random) -> str:
        """A search for the first subject without a value; by mistake, for another topic of its company."""
        subject = _next(need, known)
        company, topic = subject.split()
        if rng.random() < self._config.wrong_page:
            topic = rng.choice([t for t in TOPICS if t != topic])
        return f"<search> {company} {topic}</search>"

    def _after_page(
        self, prompt: Prompt, page: WorldPage, need: Need, known: dict[str, int], rng: random.Random
    ) -> str:
        if page.title not in need.subjects or page.title in known or page.panel(need.label) is None:
            if page.panels and not page.legible and rng.random() < self._config.wrong_page:
                return _think(f"{page.title} {need.label}") + _crop(rng.choice(page.panels).target)
            return _think(page.title) + _reject() + self._search(need, known, rng)
        panel = page.panel(need.label)
        assert panel is not None
        if page.legible:
            return self._read(page, need, {**known, page.title: int(panel.value)}, rng)
        cropped = any(i.page_id == page.page_id and i.box != FULL_PAGE for i in prompt.images)
        target = panel.target if cropped else self._flawed(page, panel.target, rng)
        return _think(f"{page.title} {need.label}") + _crop(target)

    def _flawed(self, page: WorldPage, target: Box, rng: random.Random) -> Box:
        """The crop asked for first: usually the right one."""
        draw = rng.random()
        if draw < self._config.loose_crop:
            x0 = min(max(0, round(target.x0 * GRID) - rng.randint(0, 2)), GRID - LOOSE_CELLS)
            y0 = min(max(0, round(target.y0 * GRID) - rng.randint(0, 2)), GRID - LOOSE_CELLS)
            return Box(x0 / GRID, y0 / GRID, (x0 + LOOSE_CELLS) / GRID, (y0 + LOOSE_CELLS) / GRID)
        if draw < self._config.loose_crop + self._config.wrong_label:
            return rng.choice([p.target for p in page.panels if p.target != target])
        return target

    def _after_crop(self, page: WorldPage, box: Box, need: Need, known: dict[str, int], rng: random.Random) -> str:
        panel = page.panel(need.label)
        if page.title not in need.subjects or page.title in known or panel is None:
            return _think(page.title) + _reject() + self._search(need, known, rng)
        if not _same(box, panel.target):
            return _think(f"{page.title} {need.label}") + _reject() + _crop(panel.target)
        return self._read(page, need, {**known, page.title: int(panel.value)}, rng)

    def _read(self, page: WorldPage, need: Need, known: dict[str, int], rng: random.Random) -> str:
        """Record the value just read, then go on: the other page, or the answer."""
        thought = _think(f"{page.title} {need.label} {known[page.title]}")
        if any(subject not in known for subject in need.subjects):
            return thought + self._search(need, known, rng)
        return thought + f"<answer> {combine(need, [known[s] for s in need.subjects])}</answer>"


def _question_of(prompt: Prompt) -> str:
    """The question from the last injected line."""
    line = next(p for p in reversed(prompt.messages[-1].content) if isinstance(p, str))
    return line.rpartition("question ")[2].strip()


def _recorded(prompt: Prompt, need: Need) -> dict[str, int]:
    """Values that stand in the ledger, by subject."""
    header = next(p for m in prompt.messages if m.role == "user" for p in m.content if isinstance(p, str))
    known = {}
    for line in header.splitlines():
        found = re.fullmatch(rf"\d+ (\w+ \w+) {need.label} (\d+)", line)
        if found and found[1] in need.subjects:
            known[found[1]] = int(found[2])
    return known


def _next(need: Need, known: dict[str, int]) -> str:
    """The first subject without a value (the last one if all are known)."""
    return next((s for s in need.subjects if s not in known), need.subjects[-1])


def _guess(need: Need, known: dict[str, int]) -> str:
    """The answer where an answer is forced: what is known, or `none`."""
    if all(s in known for s in need.subjects):
        return str(combine(need, [known[s] for s in need.subjects]))
    return str(next(iter(known.values()))) if known else "none"


def _think(text: str) -> str:
    return f"<think> {text}</think>"


def _reject() -> str:
    return "<verdict> reject</verdict>"


def _crop(box: Box) -> str:
    return "<bbox>[" + ",".join(str(round(v * GRID)) for v in box.as_tuple()) + "]</bbox>"


def _same(a: Box, b: Box) -> bool:
    return all(abs(x - y) < 1e-6 for x, y in zip(a.as_tuple(), b.as_tuple(), strict=True))
