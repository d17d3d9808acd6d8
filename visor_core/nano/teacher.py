"""The scripted teacher: plays the nano world through the real environment, with mistakes it then corrects.

It sees what any policy sees, the prompt, and knows from the world what each picture shows. Mistakes are drawn from
the turn's noise key: a search for the wrong topic, a wrong page accepted, a loose crop, a wrong panel cropped. Each is
followed by a rejection and the right action, so that trajectories hold crop evaluation and recovery. Without mistakes
it is the ceiling. What is not there it refuses: a label at the sight of its page, a company after a few other pages.

It keeps to its strategy: without an Evidence Space it goes by its earlier thoughts, without crops it reads the page as
it is shown, and verdicts are written only where something is done with them.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from visor_core.code_version import code_behind, code_version
from visor_core.config import AgentConfig, TeacherConfig
from visor_core.errors import ConfigError
from visor_core.geometry import FULL_PAGE, Box
from visor_core.nano.panels import COLUMNS, GRID
from visor_core.nano.questions import OPERATIONS, REFUSAL, THEN, combine
from visor_core.nano.world import TOPICS, World, WorldPage
from visor_core.policies.base import Closing, Completion, ImageRef, Prompt, Sampling

LOOSE_CELLS = 5
PATIENCE = 3
"""Pages that were of no use before a company counts as absent."""
_FIELD = rf"\w+(?: (?:{'|'.join(COLUMNS)}))?"


@dataclass(frozen=True, slots=True)
class Lookup:
    """One value wanted: the page's title and the field on it."""

    title: str
    field: str


Known = Mapping[Lookup, int]


@dataclass(frozen=True, slots=True)
class Need:
    """What a question asks for: an operation ("" for a single value) over values, and perhaps a value that follows.

    `then` is topic and field of a value of the company whose value was the higher one.
    """

    operation: str
    lookups: tuple[Lookup, ...]
    then: tuple[str, str] | None = None

    @property
    def subjects(self) -> tuple[str, ...]:
        """Titles of the pages that are known to be needed from the start."""
        return tuple(lookup.title for lookup in self.lookups)

    def wanted(self, known: Known) -> tuple[Lookup, ...]:
        """Every value needed, as far as the known ones tell."""
        if self.then is None or any(lookup not in known for lookup in self.lookups):
            return self.lookups
        company = max(self.lookups, key=lambda lookup: known[lookup]).title.split()[0]
        return (*self.lookups, Lookup(f"{company} {self.then[0]}", self.then[1]))

    def next(self, known: Known) -> Lookup | None:
        """The first value not known yet; none when the answer can be given."""
        return next((lookup for lookup in self.wanted(known) if lookup not in known), None)

    def answer(self, known: Known) -> int:
        """The answer once nothing is missing."""
        values = [known[lookup] for lookup in self.wanted(known)]
        return values[-1] if self.then else combine(self.operation, values)


def parse_question(text: str) -> Need:
    """`acme staff q3`, `sum acme , borel staff q3` or `higher acme , borel sales q1 then staff q3 plan`.

    Raises:
        ConfigError: if the question is of another form: the scripted teacher knows only its own world's.
    """
    single = re.fullmatch(rf"(\w+ \w+) ({_FIELD})", text)
    if single:
        return Need("", (Lookup(single[1], single[2]),))
    several = re.fullmatch(
        rf"({'|'.join(OPERATIONS)}) (\w+(?: , \w+)+) (\w+) ({_FIELD})(?: {THEN} (\w+) ({_FIELD}))?", text
    )
    if several:
        lookups = tuple(Lookup(f"{company} {several[3]}", several[4]) for company in several[2].split(" , "))
        return Need(several[1], lookups, (several[5], several[6]) if several[5] else None)
    raise ConfigError(f"the scripted teacher cannot read the question {text!r}: it knows the nano world's only")


class ScriptedTeacher(Closing):
    """A reproducible policy over the world's truth; for the `compact` prompts and 0–10 coordinates."""

    reproducible: Literal[True] = True

    def __init__(
        self, world: World, config: TeacherConfig, agent: AgentConfig, *, seed: int = 0, name: str = "scripted-teacher"
    ) -> None:
        if agent.prompts != "compact" or agent.coordinates != "grid10":
            raise ConfigError("the scripted teacher needs agent.prompts: compact and agent.coordinates: grid10")
        self.name, self.checkpoint = name, ""
        self._pages = {page.page_id: page for page in world.pages}
        self._titles = {(page.partition, page.title) for page in world.pages}
        self._config, self._agent, self._seed = config, agent, seed

    def identity(self) -> dict[str, Any]:
        """The world it knows, its habits, and the code that writes its replies."""
        pages = repr(sorted((page_id, repr(page)) for page_id, page in self._pages.items()))
        return {
            "engine": "scripted-teacher",
            "code": code_version(*code_behind(__name__, within=("visor_core.nano", "visor_core.policies"))),
            "world": hashlib.sha256(pages.encode()).hexdigest()[:16],
            "teacher": {name: getattr(self._config, name) for name in ("wrong_page", "loose_crop", "wrong_label")},
            "agent": self._agent.model_dump(mode="json"),
            "seed": self._seed,
        }

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
            sought = need.next(known) or need.lookups[-1]
            return _think(f"{sought.title} {sought.field}") + self._search(sought, rng)
        page = self._pages[shown.page_id]
        lookup = next((k for k in need.wanted(known) if k.title == page.title and k not in known), None)
        if shown.box != FULL_PAGE:
            return self._after_crop(page, shown.box, lookup, need, known, rng)
        return self._after_page(prompt, page, lookup, need, known, rng)

    def _search(self, lookup: Lookup | None, rng: random.Random) -> str:
        """A search for a page; by mistake, for another topic of its company."""
        assert lookup is not None
        company, topic = lookup.title.split()
        if rng.random() < self._config.wrong_page:
            topic = rng.choice([t for t in TOPICS if t != topic])
        return f"<search> {company} {topic}</search>"

    def _after_page(
        self, prompt: Prompt, page: WorldPage, lookup: Lookup | None, need: Need, known: Known, rng: random.Random
    ) -> str:
        if lookup is None:
            return self._useless(prompt, page, need, known, rng)
        panel = page.panel(lookup.field)
        if panel is None:
            return _think(f"{page.title} {lookup.field}") + _answer(REFUSAL)
        if page.legible or not self._agent.crop_enabled:
            return self._read(lookup, int(panel.value), need, known, rng)
        cropped = any(i.page_id == page.page_id and i.box != FULL_PAGE for i in prompt.images)
        target = panel.target if cropped else self._flawed(page, panel.target, rng)
        return _think(f"{page.title} {lookup.field}") + _crop(target)

    def _useless(self, prompt: Prompt, page: WorldPage, need: Need, known: Known, rng: random.Random) -> str:
        """A page nobody asked for: by mistake looked into, else rejected for another search or a refusal."""
        lookup = need.next(known) or need.lookups[-1]
        crops = self._agent.crop_enabled and page.panels and not page.legible
        if crops and rng.random() < self._config.wrong_page:
            return _think(f"{page.title} {lookup.field}") + _crop(rng.choice(page.panels).target)
        absent = (page.partition, lookup.title) not in self._titles
        if absent and _useless_pages(prompt) + 1 >= PATIENCE:
            return _think(page.title) + self._reject() + _answer(REFUSAL)
        return _think(page.title) + self._reject() + self._search(lookup, rng)

    def _flawed(self, page: WorldPage, target: Box, rng: random.Random) -> Box:
        """The crop asked for first: usually the right one."""
        draw = rng.random()
        if draw < self._config.loose_crop:
            x0 = min(max(0, round(target.x0 * GRID) - rng.randint(0, 2)), GRID - LOOSE_CELLS)
            y0 = min(max(0, round(target.y0 * GRID) - rng.randint(0, 2)), GRID - LOOSE_CELLS)
            return Box(x0 / GRID, y0 / GRID, (x0 + LOOSE_CELLS) / GRID, (y0 + LOOSE_CELLS) / GRID)
        others = [p.target for p in page.panels if p.target != target]
        if draw < self._config.loose_crop + self._config.wrong_label and others:
            return rng.choice(others)
        return target

    def _after_crop(
        self, page: WorldPage, box: Box, lookup: Lookup | None, need: Need, known: Known, rng: random.Random
    ) -> str:
        panel = page.panel(lookup.field) if lookup else None
        if lookup is None or panel is None:
            return _think(page.title) + self._reject() + self._search(need.next(known) or need.lookups[-1], rng)
        if not _same(box, panel.target):
            return _think(f"{page.title} {lookup.field}") + self._reject() + _crop(panel.target)
        return self._read(lookup, int(panel.value), need, known, rng)

    def _read(self, lookup: Lookup, value: int, need: Need, known: Known, rng: random.Random) -> str:
        """Record the value just read, then go on: the next page, or the answer."""
        known = {**known, lookup: value}
        thought = _think(f"{lookup.title} {lookup.field} {value}")
        following = need.next(known)
        return thought + (self._search(following, rng) if following else _answer(str(need.answer(known))))

    def _reject(self) -> str:
        judged = self._agent.evidence.enabled or self._agent.correction
        return "<verdict> reject</verdict>" if judged else ""


def _question_of(prompt: Prompt) -> str:
    """The question from the last injected line."""
    line = next(p for p in reversed(prompt.messages[-1].content) if isinstance(p, str))
    return line.rpartition("question ")[2].strip()


def _statements(prompt: Prompt) -> list[tuple[bool, str]]:
    """(rejected, text) of everything stated so far: the ledger's lines, or the earlier thoughts where none is kept."""
    header = next(p for m in prompt.messages if m.role == "user" for p in m.content if isinstance(p, str))
    lines = [re.fullmatch(r"\d+( no)? ?(.*)", line) for line in header.splitlines()[1:]]
    ledger = [(bool(line[1]), line[2]) for line in lines if line]
    if ledger:
        return ledger
    replies = [str(p) for m in prompt.messages if m.role == "assistant" for p in m.content]
    thoughts = [re.match(r"<think>\s*(.*?)</think>", reply) for reply in replies]
    return [(False, thought[1].strip()) for thought in thoughts if thought]


def _recorded(prompt: Prompt, need: Need) -> dict[Lookup, int]:
    """Values that were stated, by what they are of."""
    stated = {}
    for _, text in _statements(prompt):
        found = re.fullmatch(rf"(\w+ \w+) ({_FIELD}) (\d+)", text)
        if found:
            stated[Lookup(found[1], found[2])] = int(found[3])
    known: dict[Lookup, int] = {}
    while (lookup := need.next(known)) in stated:
        assert lookup is not None
        known[lookup] = stated[lookup]
    return known | {k: stated[k] for k in need.lookups if k in stated}


def _useless_pages(prompt: Prompt) -> int:
    """Pages that were set aside: their statement is the title alone."""
    return sum(len(text.split()) == 2 for _, text in _statements(prompt))


def _guess(need: Need, known: Known) -> str:
    """The answer where an answer is forced: what is known, or `none`."""
    if need.next(known) is None:
        return str(need.answer(known))
    return str(next(iter(known.values()))) if known else "none"


def _answer(text: str) -> str:
    return f"<answer> {text}</answer>"


def _think(text: str) -> str:
    return f"<think> {text}</think>"


def _crop(box: Box) -> str:
    return "<bbox>[" + ",".join(str(round(v * GRID)) for v in box.as_tuple()) + "]</bbox>"


def _same(a: Box, b: Box) -> bool:
    return all(abs(x - y) < 1e-6 for x, y in zip(a.as_tuple(), b.as_tuple(), strict=True))
