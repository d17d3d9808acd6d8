"""Section `checks`: what the asset checks demand. A threshold decides no output, so it is part of no fingerprint."""

from __future__ import annotations

from pydantic import Field

from visor_core.config.base import Section


class ChecksConfig(Section):
    """Thresholds of the asset checks. A build is judged again, not built again, when one of its own is changed."""

    quarantined_share: float = Field(default=0.5, ge=0, le=1)
    """Documents: most of the sources that may be unreadable; what is readable is indexed without them."""
    own_words_found: float = Field(default=0.8, ge=0, le=1)
    """Page index: least share of pages that a search for their own rarest words finds among the first ten."""
    approximate_recall: float = Field(default=0.95, ge=0, le=1)
    """Page index: least recall@10 of approximate against exhaustive vector search."""
    loss_ratio: float = Field(default=1.0, gt=0)
    """Training by a loss: its mean over the last steps must be below this many times that over the first steps."""
    teacher_kept: float = Field(default=0.5, ge=0, le=1)
    """Teacher: least share of its episodes that pass the filters."""
    useful_groups: float = Field(default=0.05, ge=0, le=1)
    """GRPO: least share of groups whose rollouts earned different rewards; at least one group must, unless it is 0."""
    retriever_accuracy: float = Field(default=0.5, ge=0, le=1)
    """Retriever, a warning only: least share of queries that rank their own page first in the batch."""
    sft_gain: float = Field(default=0.05, ge=0, le=1)
    """Benchmark, a warning only: least gain of the warm start in supported success over the untrained model."""
