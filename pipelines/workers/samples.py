"""What a person looks at after training: three sample episodes, in the build folder and in the MLflow run.

The asset shows the same files in its metadata, so that Dagster and MLflow agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from assets_defs.machinery.pictures import SAMPLES
from pipelines.workers.session import Session
from visor_core.trajectories.strip import draw_episode, three_samples

if TYPE_CHECKING:
    from visor_core.agent.trajectory import Trajectory
    from visor_core.policies.base import ImageLoader


def log_episodes(session: Session, episodes: Sequence[Trajectory], images: ImageLoader) -> list[Path]:
    """Draw three of the episodes and log them to the MLflow run; returns the files."""
    files = draw_episodes(session.folder / SAMPLES, episodes, images)
    session.artifacts(files, SAMPLES)
    return files


def draw_episodes(folder: Path, episodes: Sequence[Trajectory], images: ImageLoader) -> list[Path]:
    """Three of the episodes, each as a picture with its crops drawn and as a page of the viewer."""
    from visor_core.trajectories.viewer import episode_html

    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number, episode in enumerate(three_samples(episodes), start=1):
        picture, page = folder / f"episode-{number}.png", folder / f"episode-{number}.html"
        draw_episode(episode, images).quantize(128).save(picture, optimize=True)
        page.write_text(episode_html(episode, images), encoding="utf-8")
        files += [picture, page]
    return files
