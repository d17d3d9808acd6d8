"""Training curves as a picture."""

from __future__ import annotations

import numpy as np

from visor_core.training.curves import curve_image


def test_a_plot_a_quantity_and_a_line_a_phase() -> None:
    rows = [
        {"phase": p, "step": s, "loss": 2.0 - s / 10, "note": "text"}
        for p in ("vision", "alignment")
        for s in (1, 2, 3)
    ]
    image = curve_image(rows, ("loss", "note", "missing"))
    assert image is not None
    assert image.size == (320, 240)
    both = curve_image([{**row, "accuracy": 0.5} for row in rows], ("loss", "accuracy"))
    assert both is not None
    assert both.width == 640
    colours = {tuple(c) for c in np.asarray(image).reshape(-1, 3).tolist()}
    assert (30, 110, 220) in colours
    assert (194, 87, 26) in colours


def test_nothing_recorded_is_no_picture() -> None:
    assert curve_image([], ("loss",)) is None
    assert curve_image([{"step": 1, "other": 1.0}], ("loss",)) is None


def test_the_objective_of_reinforcement_learning_is_no_curve() -> None:
    """Its value says nothing: with an imitation term it is −2.8 where the policy is at its best."""
    rows = [{"step": s, "loss": -2.8, "reward": 0.9} for s in (1, 2)]
    assert curve_image(rows, ("loss",)) is None
    shown = curve_image(rows, ("loss", "reward"))
    assert shown is not None
    assert shown.width == 320
