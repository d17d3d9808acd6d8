"""Section `rebuild`: what may be built again unasked where its files are lost. It decides no output."""

from __future__ import annotations

from pydantic import Field

from visor_core.config.base import Section


class RebuildConfig(Section):
    """Building again what was finished and is lost: a deleted checkpoint, a corpus that is gone."""

    confirm_gpu_hours: float | None = Field(default=1.0, ge=0)
    """GPU hours, by the estimate of `visor run --dry-run`, above which a lost build is built again only on request.
    None lets everything be built unasked; `visor run --rebuild-lost` does so for one run."""
