"""The pictures of the README, made by the project itself: the asset graph from the definitions, an episode from a run.

`make pictures` writes `docs/asset-graph.png`, and where a run has left a champion `docs/episode.png` and, with a
Chromium, screenshots of the pages over it (`docs/page-*.png`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets_defs.machinery.builds import find_record
from assets_defs.machinery.stage import Node
from pipelines.instance import prepare_process
from visor_core.config import Home
from visor_core.config.policies import REINFORCED, WARM_STARTED
from visor_core.files import whole_file

if TYPE_CHECKING:
    from visor_core.agent.trajectory import Trajectory

DOCS = Path(__file__).resolve().parents[1] / "docs"
COLOURS = {"nano": "#f4e3c1", "corpus": "#cfe3f7", "training": "#d8ecd2", "evaluation": "#eadcf2"}
INK = "#1b2733"
LINE = "#6b7a89"
COLUMNS = 6
"""Columns before the drawing goes on in the next row."""


def layers(parents: dict[str, set[str]]) -> list[list[str]]:
    """Assets by their longest distance from a source, sources first."""
    depth: dict[str, int] = {}

    def of(name: str) -> int:
        if name not in depth:
            depth[name] = 1 + max((of(parent) for parent in parents[name]), default=-1)
        return depth[name]

    for name in parents:
        of(name)
    return [sorted(n for n in parents if depth[n] == level) for level in range(max(depth.values()) + 1)]


def essential(parents: dict[str, set[str]]) -> dict[str, set[str]]:
    """The same graph without edges that a longer path implies."""
    ancestors: dict[str, set[str]] = {}

    def above(name: str) -> set[str]:
        if name not in ancestors:
            ancestors[name] = set().union(*({p} | above(p) for p in parents[name])) if parents[name] else set()
        return ancestors[name]

    return {
        name: {p for p in direct if not any(p in above(other) for other in direct - {p})}
        for name, direct in parents.items()
    }


def draw_asset_graph(path: Path) -> None:
    """The assets of `pipelines.definitions` with their groups and dependencies, left to right."""
    from matplotlib.figure import Figure
    from matplotlib.patches import FancyBboxPatch, Patch

    from pipelines.definitions import defs

    graph = defs.resolve_asset_graph()
    keys = {key.to_user_string(): key for key in graph.get_all_asset_keys()}
    parents = {name: {parent.to_user_string() for parent in graph.get(key).parent_keys} for name, key in keys.items()}
    group_of = {name: str(graph.get(key).group_name) for name, key in keys.items()}
    place: dict[str, tuple[float, float]] = {}
    for x, column in enumerate(layers(parents)):
        for y, name in enumerate(sorted(column, key=lambda n: (list(COLOURS).index(group_of[n]), n))):
            place[name] = (x % COLUMNS * 2.35, (len(column) - 1) / 2 - y - 2.1 * (x // COLUMNS))
    figure = Figure(figsize=(1.62 * COLUMNS, 3.0), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    axes.set_axis_off()
    for name, direct in essential(parents).items():
        for parent in sorted(direct):
            _arrow(axes, place[parent], place[name])
    for name, (x, y) in place.items():
        colour = COLOURS[group_of[name]]
        axes.add_patch(FancyBboxPatch((x - 0.92, y - 0.2), 1.84, 0.4, boxstyle="round,pad=0.03", fc=colour, ec=LINE))
        axes.text(x, y, name, ha="center", va="center", fontsize=7, color=INK)
    axes.legend(
        handles=[Patch(fc=colour, ec=LINE, label=group) for group, colour in COLOURS.items()],
        loc="lower right",
        ncols=4,
        fontsize=7,
        frameon=False,
    )
    axes.set_xlim(-1.1, 2.35 * (COLUMNS - 1) + 1.1)
    axes.set_ylim(-3.4, 0.9)
    _save(figure, path)


def _arrow(axes: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    """From the right side of a box to the left side of the next; into the next row, from below to above."""
    from matplotlib.patches import FancyArrowPatch

    (x0, y0), (x1, y1) = start, end
    turns_back = x1 < x0
    axes.add_patch(
        FancyArrowPatch(
            (x0, y0 - 0.24) if turns_back else (x0 + 0.95, y0),
            (x1, y1 + 0.24) if turns_back else (x1 - 0.95, y1),
            arrowstyle="-|>",
            mutation_scale=9,
            color=LINE,
            connectionstyle="arc3",
        )
    )


def _save(figure: Any, path: Path) -> None:
    with whole_file(path) as partial:
        figure.savefig(partial, format="png", facecolor="white", metadata={"Software": None})
    print(path)


def telling(trajectories: Sequence[Trajectory]) -> Trajectory | None:
    """The episode worth a picture: right with all its evidence, over the most pages, with a crop, of few turns."""
    from visor_core.scoring.facts import supported

    right = [
        t for t in trajectories if supported(t) and t.well_formed and any(x.action.kind == "crop" for x in t.turns)
    ]
    return min(right, key=lambda t: (-t.question.hops, len(t.turns), t.trajectory_id), default=None)


def main() -> None:
    """Draw what can be drawn."""
    prepare_process()
    draw_asset_graph(DOCS / "asset-graph.png")
    home = Home(Path(os.environ.get("VISOR_HOME") or ".visor"))
    rollouts = find_record(home, Node(REINFORCED.stage))
    benchmark = find_record(home, Node("benchmark_results"))
    if rollouts is None or benchmark is None:
        print("no episode is drawn: `make run` makes some")
        return
    from visor_core.index import PageIndex
    from visor_core.trajectories.store import read_trajectories
    from visor_core.trajectories.strip import draw_episode

    episodes = [
        trajectory
        for folder in sorted((benchmark.build_folder(home) / "episodes").iterdir())
        for trajectory in read_trajectories(folder)
        if trajectory.policy == REINFORCED.stage
    ]
    chosen = telling(episodes)
    if chosen is None:
        print("no episode is drawn: none of the last run has a supported answer and a crop")
        return
    picture = draw_episode(chosen, PageIndex.open(home.corpus(chosen.corpus), chosen.index_tag))
    picture.save(DOCS / "episode.png")
    print(DOCS / "episode.png")
    draw_pages(home)


def draw_pages(home: Home) -> None:
    """Screenshots of Dagster's and MLflow's pages, and of the champion's lineage."""
    from pipelines.cli.lineage import lineage_of, write_page
    from pipelines.screenshots import browser, pages, take
    from visor_core.tracking import Tracker, project_name

    chromium = browser()
    if chromium is None:
        print("no page is drawn: that needs Chromium")
        return
    take(write_page(home, lineage_of(home, "champion")).as_uri(), DOCS / "page-lineage.png", chromium)
    experiment = Tracker(home, project_name("nano")).experiment_id
    with pages(home) as (dagster, mlflow):
        for name, address in (
            ("asset", f"{dagster}/assets/{WARM_STARTED.stage}"),
            ("automation", f"{dagster}/automation"),
            ("mlflow", f"{mlflow}/#/experiments/{experiment}/runs"),
        ):
            take(address, DOCS / f"page-{name}.png", chromium)
            print(DOCS / f"page-{name}.png")


if __name__ == "__main__":
    main()
