"""Sections of one episode (method, section 2): the shown images, crops, the Evidence Space, the agent."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from visor_core.config.base import Section
from visor_core.config.strategies import CHANGES, STRATEGIES, completed
from visor_core.config.wording import WordingTexts, shipped_wording
from visor_core.errors import ConfigError
from visor_core.geometry import CoordinateSystem


class TilesConfig(Section):
    """How Idefics3 and SmolVLM cut a picture: their processor's own `size`, `max_image_size` and `image_seq_len`."""

    longest_edge: int = Field(default=2048, ge=1)
    """Pixels the longer side is scaled to, up or down, before the picture is cut (`size.longest_edge`)."""
    side: int = Field(default=512, ge=1)
    """Pixels of a tile's side (`max_image_size.longest_edge`)."""
    tokens: int = Field(default=64, ge=1)
    """Image tokens of a tile (`image_seq_len`)."""
    split: bool = True
    """Whether pictures are cut at all (`do_image_splitting`); if not, each is one tile."""


class ImageConfig(Section):
    """How large the policy is shown a page or crop."""

    min_pixels: int = Field(default=256 * 28 * 28, ge=1)
    """Fewest pixels of a shown image (SCoRE: 256·28·28)."""
    max_pixels: int = Field(default=512 * 28 * 28, ge=1)
    """Most pixels of a shown image (SCoRE: 512·28·28)."""
    multiple: int = Field(default=28, ge=1)
    """Both sides are multiples of this: patch size × merge size; left open, that of the model's known family."""
    pixels_per_token: float | None = Field(default=None, gt=0)
    """Pixels one visual token stands for; none takes `multiple`² (Qwen-VL: one token a merged patch). Only budgets and
    estimates use it."""
    tiles: TilesConfig | None = None
    """For Idefics3 and SmolVLM, whose tokens depend on tiles instead: budgets and estimates then go by them."""


class CropConfig(Section):
    """Visual Action Evaluation and Correction: the model-free half."""

    pad_pixels: float = Field(default=28.0, ge=0)
    """Padding a side in pixels of the image as shown (SCoRE: 28)."""
    min_side: float = Field(default=0.02, ge=0, le=1)
    """A crop's sides are grown to this share of the page."""
    square: bool = False
    """Grow the shorter side so that the region is square on the page (small models see few zoom levels)."""
    near_whole_page: float = Field(default=0.9, gt=0, le=1)
    """A crop of at least this share of the page is refused."""
    repeat_iou: float = Field(default=0.9, gt=0, le=1)
    """A crop overlapping an earlier one on the same page by at least this IoU is refused."""
    blank_std: float = Field(default=2.0, ge=0)
    """A crop whose grey levels (0–255) deviate less than this is called blank."""


class EvidenceConfig(Section):
    """The Evidence Space."""

    enabled: bool = True
    """Whether observations are kept at all (ablation switch)."""
    gate: Literal["all", "relevant"] = "all"
    """Which pages get an entry: every page seen, or only those the model judged relevant (`<verdict>keep`)."""
    max_tokens: int = Field(default=768, ge=16)
    """Budget of the rendered ledger, in approximate tokens (words and punctuation). The default keeps a 20th turn
    within 1.3 × the fourth at two pictures of 512 tokens (`make bench ONLY=context`)."""
    entry_tokens: int = Field(default=160, ge=4)
    """Budget of one recorded observation, in approximate tokens; the rest of the thought is not recorded."""


class AgentConfig(Section):
    """One episode (method, section 2)."""

    strategy: Literal["visor", "unidoc", "vrag", "react", "vanilla"] = "visor"
    """The preset that the other fields start from; what is set beside it wins over it."""
    prompts: Literal["full", "compact"] = "full"
    """Wording of the protocol: `full` for pretrained models, `compact` for the nano model."""
    wording: WordingTexts | None = None
    """Texts of the `full` prompts: a profile names a YAML file (relative to the profile or the working folder) with the
    keys of `full_wording.yaml`, which are the texts without it. `compact` prompts have none."""
    answer_format: bool = False
    """Whether the prompt states the format of answer that a question wants, where it is known (after GenKI): a number,
    a phrase, a list. `compact` prompts have no words for it."""
    coordinates: CoordinateSystem = "pixels"
    """The frame in which the model writes boxes; left open, that of the model's known family."""
    max_turns: int = Field(default=10, ge=1)
    """Turns before an answer is forced (SCoRE: 10)."""
    window: int | None = Field(default=2, ge=0)
    """Raw turns kept in the context, W (SCoRE: 2); 0 keeps only the newest observation, none the full history. A turn
    that ended in a retry message counts only while it is the newest."""
    intent_injection: bool = True
    """Whether every returned page restates the question and points at the Evidence Space."""
    search_enabled: bool = True
    """Whether the policy may search. Without it pages come from `first_search: question` alone (vanilla)."""
    crop_enabled: bool = True
    """Whether the crop action exists."""
    select_enabled: bool = False
    """UniDoc-RL: a search shows candidates and the agent selects one."""
    select_candidates: int = Field(default=3, ge=1)
    """Unseen candidates a search shows when selection is on."""
    correction: bool = True
    """Whether crops are evaluated and rejected readings fall back to the pre-crop one."""
    verification_search: bool = True
    """Encourage one more search with the original question before answering."""
    first_search: Literal["question", "free"] = "free"
    """`question`: the first turn is the environment's own search for the question, not sampled and never trained;
    `free`: the prompt only asks for it."""
    exclude_seen: bool = True
    """Whether a search never shows a page twice in an episode."""
    pages_per_search: int = Field(default=1, ge=1)
    """Pages a search shows at once when selection is off (vanilla: the whole top k)."""
    force_answer: bool = True
    """Whether a policy that has not answered in `max_turns` turns is made to complete `<answer>` (never trained)."""
    max_images: int | None = Field(default=None, ge=1)
    """Most images in one context; none means the window decides. The oldest are dropped first."""
    context_tokens: int | None = Field(default=8192, ge=64)
    """Most approximate prompt tokens, images included (SCoRE: 8,192); over it the oldest images of the window go first,
    then its oldest turns. None never cuts."""
    max_new_tokens: int = Field(default=1024, ge=4)
    """Most tokens sampled in one turn."""
    image: ImageConfig = ImageConfig()
    """Shown size of pages and crops."""
    crop: CropConfig = CropConfig()
    """Model-free crop checks and padding."""
    evidence: EvidenceConfig = EvidenceConfig()
    """The ledger."""

    @model_validator(mode="before")
    @classmethod
    def _holds_its_words(cls, given: Any) -> Any:
        """The texts are part of the configuration, so that what is stored of it says what was said."""
        if not isinstance(given, dict):
            return given
        if given.get("prompts", "full") != "full":
            return {**given, "wording": None}
        return given if given.get("wording") else {**given, "wording": shipped_wording()}

    @model_validator(mode="before")
    @classmethod
    def _starts_from_its_strategy(cls, given: Any) -> Any:
        return completed(given) if isinstance(given, dict) else given

    @model_validator(mode="after")
    def _has_words_for_formats(self) -> Self:
        if self.answer_format and not (self.wording and self.wording.answer_format):
            raise ValueError(
                "answer_format needs the text `answer_format` of the wording, which compact prompts and this wording do"
                " not have: take it from full_wording.yaml, or leave agent.answer_format off"
            )
        return self

    @model_validator(mode="after")
    def _is_the_strategy_it_names(self) -> Self:
        held = {name: _share_held(self, name) for name in STRATEGIES}
        if self.strategy != "visor" and held[self.strategy] == 0.0:
            names = ", ".join(_distinctive(self.strategy))
            raise ValueError(
                f"strategy {self.strategy} is named, but all that makes it is set otherwise ({names}): leave those"
                " settings out, or name the strategy visor"
            )
        wholly = [name for name in STRATEGIES if name != "visor" and held[name] == 1.0]
        if self.strategy == "visor" and wholly:
            name = max(wholly, key=lambda name: len(_distinctive(name)))
            raise ValueError(f"these are the settings of the strategy {name}: name it, not visor")
        return self


def preset(name: str, base: AgentConfig) -> AgentConfig:
    """The base configuration turned into a strategy.

    A base that is already a rival first gets the defaults of what made it one: what it had before is not known.

    Raises:
        ConfigError: if the strategy is unknown.
    """
    if name not in CHANGES:
        raise ConfigError(f"no strategy {name!r}: choose one of {', '.join(STRATEGIES)}")
    defaults = AgentConfig()
    changes: dict[str, Any] = {key: getattr(defaults, key) for key in CHANGES[base.strategy]} | CHANGES[name]
    if (name, base.strategy) != ("visor", "visor"):
        changes["evidence"] = base.evidence.model_copy(update={"enabled": name == "visor"})
    if name == "vanilla" and base.pages_per_search > 1:
        changes["pages_per_search"] = base.pages_per_search
    return base.model_copy(update={"strategy": name, **changes})


def _distinctive(strategy: str) -> dict[str, Any]:
    """The settings of a strategy that are not visor's defaults; `evidence` stands for `evidence.enabled`."""
    fields = AgentConfig.model_fields
    changes = {key: value for key, value in CHANGES[strategy].items() if value != fields[key].default}
    return {**changes, "evidence": False} if strategy != "visor" else {}


def _share_held(config: AgentConfig, strategy: str) -> float:
    """The share of a strategy's distinctive settings that a configuration has."""
    wanted = _distinctive(strategy)
    has = {key: config.evidence.enabled if key == "evidence" else getattr(config, key) for key in wanted}
    return sum(has[key] == value for key, value in wanted.items()) / max(1, len(wanted))
