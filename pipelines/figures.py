"""Numbers that remember the sum they are, so that what an estimate prints beside a figure is how it was computed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """A value and its arithmetic; `kind` says which parts need brackets in a further one."""

    value: float = 0.0
    text: str = ""
    kind: str = "number"

    def __add__(self, other: Figure) -> Figure:
        if not self.text or not other.text:
            return self if self.text else other
        return Figure(self.value + other.value, f"{self.text} + {other.text}", "sum")

    def __mul__(self, other: Figure) -> Figure:
        return Figure(self.value * other.value, f"{self.factor} × {other.factor}", "product")

    def __truediv__(self, other: Figure) -> Figure:
        divisor = f"({other.text})" if other.kind != "number" else other.text
        return Figure(self.value / other.value, f"{self.factor} ÷ {divisor}", "product")

    def __bool__(self) -> bool:
        return bool(self.value)

    @property
    def factor(self) -> str:
        """The arithmetic as a part of a product."""
        return f"({self.text})" if self.kind == "sum" else self.text


NOTHING = Figure()


def number(value: float, unit: str = "") -> Figure:
    """A count or unit cost as it enters a sum; large ones in thousand millions or in millions of millions."""
    if value >= 1e13:
        shown = f"{value / 1e12:,.4g}e12"
    elif value >= 1e9:
        shown = f"{value / 1e9:,.4g}e9"
    elif value == int(value) or value >= 1000:
        shown = f"{value:,.0f}"
    else:
        shown = f"{value:.4g}"
    return Figure(float(value), f"{shown} {unit}".strip())
