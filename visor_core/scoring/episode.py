"""What the measures need to know of a finished episode, as structural types.

`visor_core.agent.trajectory.Trajectory` satisfies `Episode`; scoring stands below the agent and does not import it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from visor_core.geometry import Box
from visor_core.questions import Question


class OnPage(Protocol):
    """Anything tied to a page: a citation."""

    @property
    def page_id(self) -> str: ...


class Entry(OnPage, Protocol):
    """One line of the Evidence Space."""

    @property
    def observation(self) -> str: ...


class Chosen(OnPage, Protocol):
    """What a crop asked for."""

    @property
    def box(self) -> Box: ...


class Episode(Protocol):
    """A finished episode."""

    @property
    def question(self) -> Question: ...

    @property
    def answer(self) -> str: ...

    @property
    def chosen_regions(self) -> Sequence[Chosen | None]: ...

    @property
    def pages_looked_at(self) -> Sequence[str]: ...

    @property
    def citations(self) -> Sequence[OnPage]: ...

    @property
    def standing_evidence(self) -> Sequence[Entry]: ...

    @property
    def readings(self) -> Sequence[Entry]: ...
