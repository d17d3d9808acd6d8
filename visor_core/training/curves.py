"""Training curves as one picture: a small plot a quantity over the steps, one line a phase of training."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from visor_core.tracking import meaningful

if TYPE_CHECKING:
    from PIL import Image

CURVES = ("reward", "loss", "supported", "accuracy", "kl", "entropy", "grad_norm", "learning_rate")
"""What is drawn of a training, as far as it was reported; all steps, those before an interruption included."""
COLOURS = ("#1e6edc", "#c2571a", "#2b8a57", "#8a3ea8")


def curve_image(rows: Sequence[Mapping[str, object]], names: Sequence[str]) -> Image.Image | None:
    """Plots of `names` over `step`; names that no row carries are left out, None if nothing is left.

    The objective of reinforcement learning is no curve (`tracking.meaningful`).

    Args:
        rows: one mapping a step, with `step` and, where training has several phases, `phase`.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from PIL import Image

    series: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for row in map(meaningful, rows):
        for name in names:
            step, value = row.get("step"), row.get(name)
            if isinstance(step, int | float) and isinstance(value, int | float):
                phases = series.setdefault(name, {})
                phases.setdefault(str(row.get("phase", "")), []).append((float(step), float(value)))
    shown = [name for name in names if name in series]
    if not shown:
        return None
    with mpl.rc_context({"font.size": 8}):
        figure = Figure(figsize=(3.2 * len(shown), 2.4), dpi=100, layout="constrained")
        for axes, name in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
            for number, (phase, points) in enumerate(series[name].items()):
                axes.plot(*zip(*points, strict=True), color=COLOURS[number % len(COLOURS)], label=phase, lw=1)
            axes.set_title(name)
            axes.set_xlabel("step")
            axes.grid(alpha=0.3)
            if len(series[name]) > 1:
                axes.legend()
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
    picture: Image.Image = Image.open(buffer).convert("RGB")
    return picture
