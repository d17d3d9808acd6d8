"""`visor replay`: rebuilds the contexts of stored trajectories, and writes their pages and a gallery."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pipelines.cli.asking import SETTINGS, agent_profile
from pipelines.cli.session import console, errors, home_of, open_index
from pipelines.indexes import OpenIndexes
from visor_core.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

    from visor_core.agent.trajectory import Trajectory
    from visor_core.config import Home, Profile
    from visor_core.index import PageIndex
    from visor_core.policies.base import ImageRef
    from visor_core.trajectories.replay import Encode, ReplayReport


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(replay)


def replay(
    context: typer.Context,
    folder: Path | None = typer.Argument(None, help="Trajectory store.", show_default="the episodes of visor ask"),
    checkpoint: Path | None = typer.Option(None, "--checkpoint", help="Also compare token ids under this processor."),
    corpus: str = typer.Option("", "--corpus", help="Play them on this corpus.", show_default="each on its own"),
    profile: str = typer.Option("", "--profile", help="Profile with passwords.", show_default="the checkpoint's own"),
    settings: list[str] = SETTINGS,
    html: Path | None = typer.Option(None, "--html", help="Also write a page an episode and a gallery to this folder."),
    limit: int = typer.Option(0, "--limit", min=0, help="Only the first trajectories; 0 is all."),
) -> None:
    """Rebuild every context of stored trajectories and compare it with what the policy was given.

    Each episode is played again on the corpus, the index tag and the settings that it names; token ids are compared
    under --checkpoint. Where a corpus is gone, the contexts alone are compared.
    """
    from visor_core.trajectories.store import read_trajectories
    from visor_core.trajectories.viewer_gallery import write_viewer

    home = home_of(context)
    episodes = read_trajectories(folder or home.asset("asked"))[: limit or None]
    indexes = Indexes(home, corpus, agent_profile(profile, settings, "", checkpoint), settings)
    encode = _encoder(checkpoint, indexes) if checkpoint else None
    reports = [_replayed(episode, indexes, encode) for episode in episodes]
    if html:
        written = write_viewer(html, episodes, indexes, title="Episodes", address_of=indexes.address_of)
        console.print(f"gallery: {written}", soft_wrap=True)
    unplayed = [episode for episode in episodes if indexes.of(episode) is None]
    if unplayed:
        names = ", ".join(sorted({episode.corpus or "(not named)" for episode in unplayed}))
        errors.print(
            f"{len(unplayed)} of {len(episodes)} trajectories not played again, their contexts alone compared: no"
            f" corpus {names} with their index tag under {home.root}; --corpus NAME plays them on another one",
            soft_wrap=True,
        )
    tokens, turns = sum(found.tokens_compared for found in reports), sum(found.turns for found in reports)
    by_token = f"{tokens} prompt tokens compared" if tokens else "tokens not compared"
    if not tokens:
        by_token += ": none were recorded" if checkpoint else ": give --checkpoint"
    same = sum(found.identical for found in reports)
    console.print(
        f"{same} of {len(episodes)} trajectories identical ({turns} contexts rebuilt, {by_token})", soft_wrap=True
    )
    if same < len(episodes):
        raise DataError(f"{len(episodes) - same} of {len(episodes)} trajectories do not replay: see the lines above")


class Indexes:
    """The indexes that trajectories were played on, each opened once. A `corpus` given stands in for all others.

    Draws the pages of all of them: a page's id holds the hash of its document.
    """

    def __init__(self, home: Home, corpus: str, profile: Profile, settings: list[str]) -> None:
        self._home, self._corpus, self._profile, self._settings = home, corpus, profile, settings
        self._open: dict[tuple[str, str, tuple[str, ...]], PageIndex | None] = {}
        self._shelf = OpenIndexes([home])

    def of(self, episode: Trajectory) -> PageIndex | None:
        """The index of an episode; None if its corpus or tag is not here.

        Raises:
            SearchIndexError: if the corpus that was given, or its tag, does not exist.
        """
        corpus, tag = self._corpus or episode.corpus, episode.index_tag
        # What it was given to see is the episode's: with more it would find other pages.
        access = tuple(json.loads(episode.index_config or "{}").get("access", ()))
        key = (corpus, tag, access)
        if key not in self._open:
            there = (self._home.corpus(corpus) / "tags" / f"{tag}.json").is_file()
            wanted = bool(self._corpus) or (bool(corpus) and there)
            from visor_core.config import derived

            profile = derived(self._profile, {"index.access": list(access)}, "visor replay")
            index = open_index(self._home, corpus, tag, profile, self._settings) if wanted else None
            if index is not None:
                self._shelf.hold(index)
            self._open[key] = index
        return self._open[key]

    def required(self, episode: Trajectory) -> PageIndex:
        """The index of an episode.

        Raises:
            DataError: if it is not here.
        """
        index = self.of(episode)
        if index is None:
            raise DataError(
                f"trajectory {episode.trajectory_id} was played on corpus {episode.corpus!r} at tag"
                f" {episode.index_tag}, which is not here: give --corpus NAME to replay on another one"
            )
        return index

    def __call__(self, ref: ImageRef) -> Image.Image:
        """A page or crop, from whichever of the opened indexes has its document.

        Raises:
            SearchIndexError: if none has.
            DocumentError: if it cannot be drawn.
        """
        return self._shelf(ref)

    def address_of(self, page_id: str) -> str:
        """Where a person opens a page of its document; "" where nowhere."""
        return self._shelf.address_of(page_id)


def _replayed(episode: Trajectory, indexes: Indexes, encode: Callable[[Trajectory], Encode] | None) -> ReplayReport:
    """One episode compared with its record; what differs is printed."""
    from visor_core.trajectories.replay import environment_of, replay

    index = indexes.of(episode)
    environment = None if index is None else environment_of(episode, index)
    found = replay(episode, encode=encode(episode) if encode else None, environment=environment)
    if not found.identical:
        errors.print(
            f"{found.trajectory_id}: contexts differ at turns {list(found.different_contexts)}, tokens at"
            f" {list(found.different_tokens)}, observations at {list(found.different_observations)}",
            soft_wrap=True,
        )
    return found


def _encoder(checkpoint: Path, indexes: Indexes) -> Callable[[Trajectory], Encode]:
    """Trajectory → (prompt → token ids) under a checkpoint's processor, with the pictures of the trajectory's index."""
    from transformers import AutoProcessor

    from visor_core.policies.encoding import Encoder

    processor = AutoProcessor.from_pretrained(checkpoint)
    encoders: dict[int, Encoder] = {}

    def of(episode: Trajectory) -> Encode:
        index = indexes.required(episode)
        encoder = encoders.setdefault(id(index), Encoder(processor, index))
        return lambda prompt: encoder.encode(prompt).input_ids

    return of
