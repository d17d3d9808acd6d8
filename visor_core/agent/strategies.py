"""Strategies as presets of the same parts, so that rivals and ablations are configurations, never other code.

`visor` is the base as configured. `unidoc` (UniDoc-RL, arXiv 2604.14967): candidates and selection, full history.
`vrag` (VRAG-RL, arXiv 2505.22019): full history with crops. `react`: full history, search and answer only. `vanilla`:
top-k pages, one completion. Rivals keep the base's engine-side options: wording, coordinates, image sizes, turn limit.
"""

from visor_core.config.agent import preset
from visor_core.config.strategies import STRATEGIES, VANILLA_PAGES

__all__ = ["STRATEGIES", "VANILLA_PAGES", "preset"]
