"""Sections of the embedded default: its world, its model, its training budgets, and its study."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from visor_core.config.base import Section

BASE_TRAINING = (
    "vision_steps", "alignment_steps", "batch_size", "learning_rate",
    "closing_lessons", "pair_lessons", "reckoning_lessons", "arithmetic_lessons",
)  # fmt: skip
"""Settings of how the base model is trained."""


class NanoConfig(Section):
    """The embedded default's world and model."""

    train_corpora: int = Field(default=16, ge=1)
    """Training corpora."""
    development_corpora: int = Field(default=4, ge=1)
    """Development corpora (documents no training stage sees)."""
    test_corpora: int = Field(default=4, ge=1)
    """Test corpora, read by the final study only."""
    primer_corpora: int = Field(default=24, ge=1)
    """Corpora that only the base model learns from."""
    companies: int = Field(default=8, ge=2)
    """Companies a corpus."""
    topics: int = Field(default=6, ge=1)
    """Topic pages a company."""
    train_questions: int = Field(default=1600, ge=1)
    """Training questions."""
    development_questions: int = Field(default=256, ge=1)
    """Development questions."""
    test_questions: int = Field(default=512, ge=1)
    """Test questions of the final study."""
    tier: Literal["core", "rich"] = "core"
    """`core` carries the targets; `rich` adds tables, charts, three-hop and unanswerable questions."""
    operations: tuple[Literal["higher", "sum", "difference"], ...] = Field(default=("higher",), min_length=1)
    """What two-hop questions of the core tier ask about their two values; the rich tier asks all three."""
    damaged_titles: float = Field(default=0.3, ge=0, le=1)
    """Share of pages whose title lost its topic word in the text layer."""
    vision_steps: int = Field(default=250, ge=1)
    """Base model: steps of dense perception pretraining."""
    alignment_steps: int = Field(default=250, ge=1)
    """Base model: steps of captioning and reading through the language model."""
    batch_size: int = Field(default=64, ge=1)
    """Images a pretraining step."""
    closing_lessons: int = Field(default=8, ge=0)
    """Lessons in the steps of a one-page question at a picture that each alignment step adds to its batch."""
    pair_lessons: int = Field(default=24, ge=0)
    """Lessons in the steps of a two-page question at a picture that each alignment step adds."""
    reckoning_lessons: int = Field(default=32, ge=0)
    """Lessons in putting two values together, in words alone, that each alignment step adds."""
    arithmetic_lessons: int = Field(default=96, ge=0)
    """Lessons in sums and differences of bare numbers that each alignment step adds, where questions ask for them."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Peak learning rate of pretraining."""
    retriever_steps: int = Field(default=60, ge=1)
    """Contrastive steps of the late-interaction retriever."""

    def world(self) -> dict[str, Any]:
        """The part that shapes documents and questions; how long a model trains on them does not."""
        return self.model_dump(mode="json", include=set(WORLD))


WORLD = tuple(name for name in NanoConfig.model_fields if name not in (*BASE_TRAINING, "retriever_steps"))
"""Settings that shape documents and questions."""


class RivalBudget(Section):
    """Training steps of one strategy in the comparison."""

    sft_steps: int = Field(ge=1)
    """SFT steps."""
    grpo_steps: int = Field(ge=1)
    """GRPO steps."""


class StudyConfig(Section):
    """`visor nano study`: the comparison of strategies and the longer study."""

    rivals: tuple[str, ...] = (
        "visor", "full", "vrag", "react", "full-equal", "vrag-equal", "react-equal", "react-page",
    )  # fmt: skip
    """Strategies compared by `--rivals`, `visor` first; see `visor_core.nano.rivals`."""
    sft_steps: int | None = Field(default=None, ge=1)
    """SFT steps of `visor` in the comparison, from which the others' are calibrated; none means `sft.steps`."""
    grpo_steps: int | None = Field(default=None, ge=1)
    """GRPO steps of `visor` in the comparison; none means `grpo.steps`."""
    budgets: dict[str, RivalBudget] = Field(default_factory=dict)
    """Steps of equal time by strategy, as `--calibrate` measured them; empty means those kept in the study's folder."""
    neutral: dict[str, Any] = Field(default_factory=lambda: {"nano.closing_lessons": 0, "nano.pair_lessons": 0})
    """Settings by dotted key of the base model that all strategies of the comparison start from: by default one that
    has practised no strategy's turns. Reckoning in words alone stays, for all alike."""
    inference: tuple[str, ...] = (
        "trained", "window-1", "window-2", "window-3", "window-all", "no-evidence", "no-correction", "no-intent",
        "no-verification", "unidoc", "vrag", "react", "vanilla",
    )  # fmt: skip
    """Settings under which one checkpoint is played by `--ablations inference`, `trained` first; see
    `visor_core.nano.ablations`."""
    retrained: tuple[str, ...] = ("trained", "window-1", "no-evidence")
    """Settings under which a policy each is trained by `--ablations retrained`, `trained` first."""
    long: dict[str, Any] = Field(default_factory=dict)
    """Settings by dotted key that make the longer study of the core tier."""
    rich: dict[str, Any] = Field(default_factory=dict)
    """Settings by dotted key that make the study of the rich tier."""
    on_page: bool = False
    """Whether Dagster's page has the study's assets; else only `visor nano study` makes them."""
    final: bool = False
    """Whether a run of the study may read the test split, which is logged each time; set by `--final`."""
    variant: str = ""
    """Which variant of a study a profile is; set by the study (`visor_core.nano.study_variants`), empty elsewhere."""
    split: Literal["development", "test"] = "development"
    """The split a variant is measured on; set by the study."""
