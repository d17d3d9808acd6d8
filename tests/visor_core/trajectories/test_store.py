"""The store: nothing finished is lost, nothing damaged is believed, Parquet gives back what went in."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from tests.visor_core.trajectories.episodes import episodes
from visor_core.agent.trajectory import Trajectory, Turn
from visor_core.errors import DataError
from visor_core.trajectories import store
from visor_core.trajectories.store import (
    TrajectoryWriter,
    compact,
    current_tables,
    read_sample,
    read_trajectories,
    trajectories_version,
)


def test_what_goes_in_comes_out_before_and_after_compaction(tmp_path: Path) -> None:
    made = episodes(3)
    with TrajectoryWriter(tmp_path) as writer:
        for trajectory in made:
            writer.append(trajectory)
    assert read_trajectories(tmp_path) == made
    with pytest.raises(DataError, match="holds no tables: compact the store first"):
        current_tables(tmp_path)
    assert compact(tmp_path) == made
    assert compact(tmp_path) == made
    tables = current_tables(tmp_path)
    assert read_trajectories(tmp_path) == made
    assert not list((tmp_path / "segments").iterdir())
    turns = pl.read_parquet(tables / "turns.parquet")
    assert turns.height == sum(len(t.turns) for t in made)
    assert turns["token_ids"][0].to_list() == list(made[0].turns[0].completion.token_ids)
    assert turns["logprobs"][0].to_list() == list(made[0].turns[0].completion.logprobs)
    row = pl.read_parquet(tables / "episodes.parquet").row(0, named=True)
    assert (row["outcome"], row["answer"], row["num_turns"], row["prompt_tokens"]) == ("answered", "47", 4, 12)


def test_a_sample_is_evenly_spaced_and_whole(tmp_path: Path) -> None:
    made = episodes(7)
    with TrajectoryWriter(tmp_path) as writer:
        for trajectory in made:
            writer.append(trajectory)
    with pytest.raises(DataError, match="holds no tables: compact the store first"):
        read_sample(tmp_path, 3)
    compact(tmp_path)
    assert read_sample(tmp_path, 3) == [made[0], made[2], made[4]]
    assert read_sample(tmp_path, 50) == made


def test_compaction_adds_later_segments_and_counts_an_episode_once(tmp_path: Path) -> None:
    made = episodes(4)
    for part in (made[:2], made[1:3], made[3:]):
        with TrajectoryWriter(tmp_path) as writer:
            for trajectory in part:
                writer.append(trajectory)
        compact(tmp_path)
    assert read_trajectories(tmp_path) == made
    assert [p.name for p in (tmp_path / "tables").iterdir()] == ["000003"]


def test_an_episode_written_again_supersedes_the_earlier_one(tmp_path: Path) -> None:
    first, other = episodes(2)
    again = replace(first, answer="48")
    for part in ([first, other], [again]):
        with TrajectoryWriter(tmp_path) as writer:
            for trajectory in part:
                writer.append(trajectory)
    assert read_trajectories(tmp_path) == [other, again]
    compact(tmp_path)
    assert read_trajectories(tmp_path) == [other, again]
    with TrajectoryWriter(tmp_path) as writer:
        writer.append(first)
    assert read_trajectories(tmp_path) == [other, first]


def test_compaction_leaves_the_segment_of_a_living_writer_alone(tmp_path: Path) -> None:
    made = episodes(3)
    living = TrajectoryWriter(tmp_path)
    living.append(made[0])
    with TrajectoryWriter(tmp_path) as finished:
        finished.append(made[1])
    compact(tmp_path)
    living.append(made[2])
    living.close()
    assert {t.trajectory_id for t in read_trajectories(tmp_path)} == {t.trajectory_id for t in made}
    assert len(list((tmp_path / "segments").iterdir())) == 1


def test_a_compaction_during_a_read_costs_the_reader_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = episodes(3)
    with TrajectoryWriter(tmp_path) as writer:
        for trajectory in made:
            writer.append(trajectory)
    compaction = threading.Thread(target=compact, args=(tmp_path,))
    read_tables = store._read_tables

    def interrupted(folder: Path) -> Iterator[Trajectory]:
        yield from read_tables(folder)
        if threading.current_thread() is not compaction:
            compaction.start()
            compaction.join(timeout=0.5)

    monkeypatch.setattr(store, "_read_tables", interrupted)
    assert read_trajectories(tmp_path) == made
    compaction.join()
    assert not list((tmp_path / "segments").iterdir())
    monkeypatch.undo()
    assert read_trajectories(tmp_path) == made


def test_tables_are_on_the_disk_before_segments_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with TrajectoryWriter(tmp_path) as writer:
        writer.append(episodes(1)[0])
    (segment,) = (tmp_path / "segments").iterdir()
    safe: list[str] = []
    monkeypatch.setattr(store.os, "fsync", lambda n: safe.append(Path(f"/proc/self/fd/{n}").readlink().name))
    unlink = Path.unlink

    def checked(path: Path, missing_ok: bool = False) -> None:
        if path == segment:
            assert sorted(safe[:2]) == ["episodes.parquet", "turns.parquet"]
            assert safe[2:] == ["000001.partial", "tables"]
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", checked)
    compact(tmp_path)
    assert not segment.exists()
    assert safe


def test_compactions_of_the_ledger_are_counted(tmp_path: Path) -> None:
    made = [*episodes(1), *episodes(1, evidence={"max_tokens": 70})]
    with TrajectoryWriter(tmp_path) as writer:
        for trajectory in made:
            writer.append(trajectory)
    compact(tmp_path)
    counted = pl.read_parquet(current_tables(tmp_path) / "episodes.parquet")["evidence_compactions"].to_list()
    assert counted == [0, 1]  # the three lines cost 25, 36 and 15 tokens: the third passes the budget


def test_an_unfinished_line_is_left_out_and_a_damaged_one_is_an_error(tmp_path: Path) -> None:
    made = episodes(2)
    with TrajectoryWriter(tmp_path) as writer:
        for trajectory in made:
            writer.append(trajectory)
    (segment,) = (tmp_path / "segments").iterdir()
    whole = segment.read_bytes()
    segment.write_bytes(whole[:-10])
    assert read_trajectories(tmp_path) == made[:1]
    segment.write_bytes(whole.replace(b"staff", b"stuff", 1))
    with pytest.raises(DataError, match="line 1 is damaged"):
        read_trajectories(tmp_path)
    with pytest.raises(DataError, match="no trajectories at"):
        read_trajectories(tmp_path / "nothing")


def test_the_version_ignores_order_and_time(tmp_path: Path) -> None:
    made = episodes(2)
    assert trajectories_version(made) == trajectories_version(made[::-1])
    assert trajectories_version(made) != trajectories_version(made[:1])

    def slower(turn: Turn) -> Turn:
        completion, observation = replace(turn.completion, seconds=9.0), replace(turn.observation, seconds=9.0)
        return replace(turn, completion=completion, observation=observation)

    later = [replace(t, seconds=9.0, turns=tuple(map(slower, t.turns))) for t in made]
    assert trajectories_version(later) == trajectories_version(made)
    with TrajectoryWriter(tmp_path) as writer:
        writer.append(later[0])
    assert read_trajectories(tmp_path)[0].turns[0].observation.seconds == 9.0


def test_a_kill_during_a_rollout_loses_no_finished_episode(tmp_path: Path) -> None:
    script = textwrap.dedent(
        f"""
        import sys, time
        from pathlib import Path
        from tests.visor_core.trajectories.episodes import INDEX, CountingPolicy, write
        from visor_core.agent.environment import Environment
        from visor_core.agent.episode import run_reference
        from visor_core.config import AgentConfig
        from visor_core.questions import Question
        from visor_core.trajectories.store import TrajectoryWriter

        writer = TrajectoryWriter(Path({str(tmp_path)!r}))
        def finished(t):
            writer.append(t)
            print(t.trajectory_id, flush=True)
        questions = [Question(f"q{{i}}", "acme staff", ("47",)) for i in range(100_000)]
        run_reference(Environment(INDEX, AgentConfig(window=4)), CountingPolicy(write), questions, batch_size=2,
                      on_finished=finished)
        """
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=Path.cwd())
    assert process.stdout is not None
    reported = [process.stdout.readline().strip() for _ in range(25)]
    os.kill(process.pid, signal.SIGKILL)
    reported += [line.strip() for line in process.stdout.read().splitlines() if len(line.strip()) == 16]
    process.wait()
    process.stdout.close()
    stored = {t.trajectory_id for t in read_trajectories(tmp_path)}
    assert set(reported) <= stored
    compact(tmp_path)
    assert {t.trajectory_id for t in read_trajectories(tmp_path)} == stored
