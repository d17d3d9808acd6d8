"""Prompt tokens by turn: `visor` against `react` (and `vrag`) over 20-turn episodes, wordings and image sizes as used.

Episodes are scripted: each turn searches or zooms and thinks 30–90 words. Text is counted by a byte-level BPE tokenizer
trained on the spot on the episodes' own text (16,000 tokens at most, four more a message for the chat template), images
by Qwen2.5-VL's arithmetic (28 × 28 pixels a token). No model is needed: a context depends on the replies only.
"""

from __future__ import annotations

import itertools
import json
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from visor_core.agent.environment import Environment
from visor_core.agent.episode import run_reference
from visor_core.agent.strategies import preset
from visor_core.agent.trajectory import Trajectory
from visor_core.config import AgentConfig
from visor_core.policies.base import ImageRef, Prompt
from visor_core.policies.scripted import ScriptedPolicy
from visor_core.questions import Question

TURNS = 20
EPISODES = 64
GOAL_GROWTH = 1.3
MESSAGE_TOKENS = 4

_SUBJECTS = ("revenue", "costs", "margin", "staff", "orders", "research", "capacity", "inventory", "dividends")
_PLACES = ("Norvik", "Halden", "Borel", "Acme", "Tarn", "Velde", "Ostra", "Quill", "Marrow", "Sund")
_VERBS = ("rose", "fell", "doubled", "stagnated", "recovered", "declined", "exceeded", "missed")


@dataclass(frozen=True)
class _Page:
    page_id: str
    filename: str
    page: int
    width_pt: float = 595.0
    height_pt: float = 842.0


class _Reports:
    """120 pages that every search ranks differently; pictures are noise, so that no crop is blank."""

    tag = "bench"

    def __init__(self) -> None:
        self._pages = {f"doc{n // 12:02d}/{n % 12:05d}": n for n in range(120)}

    def search(
        self, query: str, *, k: int = 10, mode: str = "hybrid", partition: str = "", where: Sequence[str] = ()
    ) -> list[_Page]:
        chosen = random.Random(query).sample(sorted(self._pages), k)
        return [self.page(page_id) for page_id in chosen]

    def page(self, page_id: str) -> _Page:
        number = self._pages[page_id]
        return _Page(page_id, f"{_PLACES[number // 12]} annual report {2015 + number % 10}.pdf", number % 12 + 1)

    def __call__(self, ref: ImageRef) -> Image.Image:
        return Image.effect_noise((64, 64), 80).convert("RGB")


def _sentence(rng: random.Random) -> str:
    return (
        f"The {rng.choice(_SUBJECTS)} of {rng.choice(_PLACES)} {rng.choice(_VERBS)} to "
        f"{rng.randint(1, 9999) / 10} million in {rng.randint(2010, 2024)}, page table {rng.randint(1, 9)}."
    )


def _thought(rng: random.Random) -> str:
    """30 to 90 words about what is shown."""
    wanted, words = rng.randint(30, 90), ""
    while len(words.split()) < wanted:
        words += _sentence(rng) + " "
    return words.strip()


def _writer(crops: bool) -> Callable[[Prompt], str]:
    """Search, search, zoom, search, …; never answers before it is forced to."""
    rng = random.Random(5)

    def write(prompt: Prompt) -> str:
        if prompt.forced_prefix:
            return f"{prompt.forced_prefix}{rng.randint(1, 99)} million</answer>"
        if crops and prompt.images and rng.random() < 0.4:
            x, y = rng.randint(0, 250), rng.randint(0, 350)
            verdict = rng.choice(["keep", "keep", "reject"])
            box = f"[{x},{y},{x + rng.randint(60, 200)},{y + rng.randint(60, 200)}]"
            return f"<think>{_thought(rng)}</think><verdict>{verdict}</verdict><bbox>{box}</bbox>"
        return f"<think>{_thought(rng)}</think><search>{_sentence(rng)}</search>"

    return write


def _episodes(strategy: str) -> list[Trajectory]:
    config = preset(strategy, AgentConfig(max_turns=TURNS))
    questions = [
        Question(f"q{i}", _sentence(random.Random(i)).replace("The", "What was the"), ()) for i in range(EPISODES)
    ]
    return run_reference(Environment(_Reports(), config), ScriptedPolicy(_writer(config.crop_enabled)), questions)


def _tokenizer(trajectories: Sequence[Trajectory]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=16_000, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    texts = (p for t in trajectories for m in t.turns[-1].prompt.messages for p in m.content if isinstance(p, str))
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _ids(prompt: Prompt, tokenizer: Tokenizer, patch: float) -> list[object]:
    """The prompt as a sequence of tokens; a picture is as many copies of its reference as it has visual tokens."""
    ids: list[object] = []
    for message in prompt.messages:
        ids += [message.role] * MESSAGE_TOKENS
        for part in message.content:
            if isinstance(part, ImageRef):
                ids += [part] * -(-part.width * part.height // int(patch))
            else:
                ids += tokenizer.encode(part).ids
    return ids


def _by_turn(trajectories: Sequence[Trajectory], tokenizer: Tokenizer) -> tuple[list[list[int]], list[list[float]]]:
    """Tokens of each turn's prompt, and the share of it that the previous turn's prompt begins with, over episodes."""
    tokens: list[list[int]] = [[] for _ in range(TURNS)]
    shared: list[list[float]] = [[] for _ in range(TURNS)]
    patch = AgentConfig().image.multiple ** 2
    for t in trajectories:
        before: list[object] = []
        for turn in t.turns[:TURNS]:
            ids = _ids(turn.prompt, tokenizer, patch)
            same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(ids, before, strict=False)))
            tokens[turn.index - 1].append(len(ids))
            shared[turn.index - 1].append(same / len(ids))
            before = ids
    return tokens, shared


def main(home: Path) -> dict[str, object]:
    """Run, print the table, write `bench/context.json` and `bench/context.png`."""
    config = AgentConfig()
    runs = {name: _episodes(name) for name in ("visor", "react", "vrag")}
    tokenizer = _tokenizer([t for run in runs.values() for t in run])
    measured = {name: _by_turn(run, tokenizer) for name, run in runs.items()}
    median = {name: [statistics.median(turn) for turn in tokens] for name, (tokens, _) in measured.items()}
    most = {name: [max(turn) for turn in tokens] for name, (tokens, _) in measured.items()}
    prefix = {name: [statistics.mean(turn) for turn in shared] for name, (_, shared) in measured.items()}
    growth = median["visor"][19] / median["visor"][3]
    cap = config.context_tokens or 0
    print(f"{EPISODES} episodes of {TURNS} turns; visor's cap {cap} tokens, ledger {config.evidence.max_tokens}")
    print("turn   visor (max)    react (max)     vrag (max)   unchanged prefix visor / react")
    for i in range(TURNS):
        cells = "  ".join(f"{median[n][i]:6.0f} ({most[n][i]:6d})" for n in ("visor", "react", "vrag"))
        print(f"{i + 1:4d}  {cells}   {prefix['visor'][i]:.2f} / {prefix['react'][i]:.2f}")
    within = max(most["visor"]) <= cap
    result: dict[str, object] = {
        "name": "context",
        "value": round(growth, 3),
        "unit": "median prompt tokens of visor, turn 20 / turn 4",
        "goal": f"<= {GOAL_GROWTH}, and every prompt within {cap} tokens",
        "met": growth <= GOAL_GROWTH and within,
        "raw": {
            "cap": cap,
            "most_visor": max(most["visor"]),
            "react_growth": median["react"][19] / median["react"][3],
            "median": median,
            "max": most,
            "unchanged_prefix": prefix,
        },
    }
    folder = home / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "context.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
    _plot(median, cap, folder / "context.png")
    react = median["react"][19] / median["react"][3]
    print(f"turn 20 / turn 4: visor {growth:.2f} (goal {GOAL_GROWTH}), react {react:.2f}; visor's longest prompt "
          f"{max(most['visor'])} of {cap}; met: {result['met']}")  # fmt: skip
    return result


def _plot(median: dict[str, list[float]], cap: int, path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.2), layout="constrained")
    for name, values in median.items():
        axes.plot(range(1, TURNS + 1), values, marker="o", markersize=3, label=name)
    axes.axhline(cap, linestyle=":", color="grey", label="visor's cap")
    axes.set(xlabel="turn", ylabel="prompt tokens (median)", xticks=range(2, TURNS + 1, 2), ylim=(0, None))
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


if __name__ == "__main__":
    main(Path(".visor"))
