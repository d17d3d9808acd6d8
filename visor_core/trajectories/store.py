"""Where trajectories live: append-only checksummed segments while they are made, Parquet by polars once compacted.

    folder/segments/000001.jsonl     one line an episode: sha256 of the JSON, a space, the JSON
    folder/tables/000001/            episodes.parquet (one row an episode), turns.parquet (one row a turn)

A finished episode is on disk when `append` returns. A kill leaves at most one unfinished last line, which readers leave
out; a finished line whose checksum does not hold is an error. Compaction writes new tables, publishes them by a rename
and, once both are on the disk itself, removes what they replace, so neither a kill nor a power cut in between costs
anything. An episode found twice counts once, as it was written last: a run that repeats what a kill cut short
supersedes it. Reading and compaction exclude each other; appending goes on meanwhile.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import polars as pl

from visor_core.agent.trajectory import Trajectory
from visor_core.errors import DataError
from visor_core.files import flush, is_locked
from visor_core.trajectories.codec import decode_trajectory, encode_episode, encode_trajectory, encode_turn
from visor_core.trajectories.replay import evidence_compactions

_DIGEST = 64

_EPISODES: dict[str, Any] = {
    "trajectory_id": pl.String,
    "question_id": pl.String,
    "group_id": pl.String,
    "strategy": pl.String,
    "policy": pl.String,
    "checkpoint": pl.String,
    "corpus": pl.String,
    "index_tag": pl.String,
    "seed": pl.Int64,
    "benchmark": pl.String,
    "split": pl.String,
    "question": pl.String,
    "answer": pl.String,
    "outcome": pl.String,
    "well_formed": pl.Boolean,
    "num_turns": pl.Int64,
    "prompt_tokens": pl.Int64,
    "image_tokens": pl.Int64,
    "completion_tokens": pl.Int64,
    "evidence_compactions": pl.Int64,
    "seconds": pl.Float64,
    "reward": pl.Float64,
    "rewards": pl.String,
    "error": pl.String,
    "record": pl.String,
}

_TURNS: dict[str, Any] = {
    "trajectory_id": pl.String,
    "question_id": pl.String,
    "group_id": pl.String,
    "turn": pl.Int64,
    "strategy": pl.String,
    "policy": pl.String,
    "checkpoint": pl.String,
    "corpus": pl.String,
    "index_tag": pl.String,
    "seed": pl.Int64,
    "context": pl.String,
    "response": pl.String,
    "prompt_ids": pl.List(pl.Int64),
    "token_ids": pl.List(pl.Int64),
    "logprobs": pl.List(pl.Float64),
    "action": pl.String,
    "verdict": pl.String,
    "forced": pl.Boolean,
    "observation": pl.String,
    "fault": pl.String,
    "evidence_added": pl.Int64,
    "prompt_tokens": pl.Int64,
    "image_tokens": pl.Int64,
    "completion_tokens": pl.Int64,
    "cached_tokens": pl.Int64,
    "seconds": pl.Float64,
    "record": pl.String,
}


class TrajectoryWriter:
    """Appends finished episodes to a segment of its own; several writers may share a folder.

    Args:
        folder: the store; made if missing.
        durable: whether every append waits for the disk (`fsync`); without it a power cut, not a kill, may lose some.
    """

    def __init__(self, folder: Path, *, durable: bool = False) -> None:
        self.folder = folder
        self._durable = durable
        self._file: BinaryIO | None = None

    def append(self, trajectory: Trajectory) -> None:
        """Write one finished episode; on return a kill can no longer lose it."""
        if self._file is None:
            self._file = _new_segment(self.folder)
        body = json.dumps(encode_trajectory(trajectory), separators=(",", ":")).encode("ascii")
        self._file.write(_digest(body) + b" " + body + b"\n")
        self._file.flush()
        if self._durable:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Release the segment, so that `compact` may take it in."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> TrajectoryWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_trajectories(folder: Path) -> list[Trajectory]:
    """All episodes of a store, in the order they were written; an episode found twice counts as it was written last.

    Raises:
        DataError: if the folder holds no store, or a finished record is damaged.
    """
    if not (folder / "segments").is_dir() and not (folder / "tables").is_dir():
        raise DataError(f"no trajectories at {folder}: run the asset or command that makes them first")
    # A compaction between the two would move episodes from the segments, not read yet, to tables read already.
    with _locked(folder, shared=True):
        return _read(folder, _segments(folder))


def read_sample(folder: Path, count: int) -> list[Trajectory]:
    """At most `count` episodes of the current tables, evenly spaced in their order, without decoding the others.

    Raises:
        DataError: if the store was never compacted, or a table is damaged.
    """
    with _locked(folder, shared=True):
        current_tables(folder)
        return list(_read_tables(folder, count))


def read_segment(path: Path) -> Iterator[Trajectory]:
    """The finished episodes of one segment; an unfinished last line (a kill) is left out.

    Raises:
        DataError: naming file and line if a finished line is damaged.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            digest, body = line[:_DIGEST], line[_DIGEST + 1 : -1]
            if _digest(body) != digest:
                raise DataError(f"{path.name}, line {number} is damaged (checksum): restore {path} or delete it")
            yield decode_trajectory(json.loads(body))


def compact(folder: Path) -> list[Trajectory]:
    """Take finished segments and older tables into new Parquet tables; segments a writer still holds are left alone.

    Returns:
        What the tables hold, in the order it was written.
    """
    with _locked(folder):
        taken = [s for s in _segments(folder) if not is_locked(s)]
        old = _table_folders(folder)
        trajectories = _read(folder, taken)
        if not taken and old:
            return trajectories
        number = int(old[-1].name) + 1 if old else 1
        target = folder / "tables" / f"{number:06d}"
        partial = target.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        write_tables(partial, trajectories)
        for written in (*partial.iterdir(), partial):
            flush(written)
        partial.rename(target)
        flush(target.parent)
        for segment in taken:
            segment.unlink()
        for folder_ in old:
            shutil.rmtree(folder_)
        return trajectories


def current_tables(folder: Path) -> Path:
    """The folder of the current tables (`episodes.parquet`, `turns.parquet`).

    Raises:
        DataError: if the store was never compacted.
    """
    tables = _table_folders(folder)
    if not tables:
        raise DataError(f"{folder} holds no tables: compact the store first")
    return tables[-1]


def write_tables(folder: Path, trajectories: Sequence[Trajectory]) -> None:
    """Write `episodes.parquet` and `turns.parquet` into a folder."""
    episodes_frame(trajectories).write_parquet(folder / "episodes.parquet", compression="zstd")
    turns_frame(trajectories).write_parquet(folder / "turns.parquet", compression="zstd")


def episodes_frame(trajectories: Iterable[Trajectory]) -> pl.DataFrame:
    """One row an episode; `record` holds it without loss, the other columns are for looking and filtering."""
    rows = [
        {
            **_identity(t),
            "benchmark": t.question.benchmark,
            "split": t.question.split,
            "question": t.question.question.encode("utf-8", "replace").decode(),
            "answer": t.answer,
            "outcome": t.outcome,
            "well_formed": t.well_formed,
            "num_turns": len(t.turns),
            **t.tokens(),
            "evidence_compactions": evidence_compactions(t),
            "seconds": t.seconds,
            "reward": t.reward,
            "rewards": json.dumps(t.rewards, sort_keys=True),
            "error": t.error,
            "record": json.dumps(encode_episode(t)),
        }
        for t in trajectories
    ]
    return pl.DataFrame(rows, schema=_EPISODES)


def turns_frame(trajectories: Iterable[Trajectory]) -> pl.DataFrame:
    """One row a turn. `context` is the prompt with references for pictures; `record` the rest without loss."""
    rows = []
    for t in trajectories:
        for turn in t.turns:
            record = encode_turn(turn)
            completion = record["completion"]
            context = record.pop("prompt")
            ids = {key: completion.pop(key) for key in ("prompt_ids", "token_ids", "logprobs")}
            rows.append(
                {
                    **_identity(t),
                    "turn": turn.index,
                    "context": json.dumps(context),
                    "response": completion.pop("text"),
                    **ids,
                    "action": turn.action.kind,
                    "verdict": turn.action.verdict,
                    "forced": turn.forced,
                    "observation": turn.observation.kind,
                    "fault": turn.observation.fault,
                    "evidence_added": len(turn.evidence_added),
                    "prompt_tokens": turn.completion.prompt_tokens,
                    "image_tokens": turn.completion.image_tokens,
                    "completion_tokens": turn.completion.tokens_out,
                    "cached_tokens": turn.completion.cached_tokens,
                    "seconds": turn.completion.seconds,
                    "record": json.dumps(record),
                }
            )
    return pl.DataFrame(rows, schema=_TURNS)


def trajectories_version(trajectories: Iterable[Trajectory]) -> str:
    """Content hash of a set of episodes (16 hex digits), independent of order, of when they ended and of time taken."""
    digests = []
    for t in trajectories:
        record = encode_trajectory(t)
        record["seconds"] = 0.0
        del record["created"]
        for turn in record["turns"]:
            turn["completion"]["seconds"] = 0.0
            del turn["observation"]["seconds"]
        digests.append(_digest(json.dumps(record, sort_keys=True).encode("ascii")))
    return hashlib.sha256(b"".join(sorted(digests))).hexdigest()[:16]


def _identity(t: Trajectory) -> dict[str, Any]:
    return {
        "trajectory_id": t.trajectory_id,
        "question_id": t.question.question_id,
        "group_id": t.group_id,
        "strategy": t.strategy,
        "policy": t.policy,
        "checkpoint": t.checkpoint,
        "corpus": t.corpus,
        "index_tag": t.index_tag,
        "seed": t.seed,
    }


def _read(folder: Path, segments: Iterable[Path]) -> list[Trajectory]:
    """The episodes of the current tables and of some segments, each once and where it was written last."""
    found: dict[str, Trajectory] = {}
    for trajectory in chain(_read_tables(folder), *map(read_segment, segments)):
        found.pop(trajectory.trajectory_id, None)
        found[trajectory.trajectory_id] = trajectory
    return list(found.values())


def _read_tables(folder: Path, sample: int | None = None) -> Iterator[Trajectory]:
    """Episodes of the current tables, or so many of them evenly spaced."""
    tables = _table_folders(folder)
    if not tables:
        return
    try:
        episodes = pl.read_parquet(tables[-1] / "episodes.parquet", columns=["trajectory_id", "record"], glob=False)
        turns = pl.scan_parquet(tables[-1] / "turns.parquet", glob=False)
        if sample is not None:
            episodes = episodes.gather_every(max(1, episodes.height // sample)).head(sample)
            turns = turns.filter(pl.col("trajectory_id").is_in(episodes["trajectory_id"].to_list()))
        rows = turns.collect()
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(f"{tables[-1]} cannot be read ({error}): restore it or make the trajectories again") from error
    by_episode: dict[str, list[dict[str, Any]]] = {}
    for row in rows.iter_rows(named=True):
        turn = json.loads(row["record"])
        turn["prompt"] = json.loads(row["context"])
        turn["completion"]["text"] = row["response"]
        for key in ("prompt_ids", "token_ids", "logprobs"):
            turn["completion"][key] = row[key]
        by_episode.setdefault(row["trajectory_id"], []).append(turn)
    for record in episodes["record"]:
        data = json.loads(record)
        data["turns"] = sorted(by_episode.get(data["trajectory_id"], []), key=lambda turn: turn["index"])
        yield decode_trajectory(data)


def _segments(folder: Path) -> list[Path]:
    return sorted((folder / "segments").glob("*.jsonl"))


def _table_folders(folder: Path) -> list[Path]:
    return sorted(p for p in (folder / "tables").glob("*") if p.name.isdigit())


def _new_segment(folder: Path) -> BinaryIO:
    """A segment nobody else writes, locked for as long as it is open."""
    with _locked(folder):
        segments = folder / "segments"
        segments.mkdir(parents=True, exist_ok=True)
        number = max((int(p.stem) for p in _segments(folder) if p.stem.isdigit()), default=0) + 1
        file = (segments / f"{number:06d}.jsonl").open("xb")
        fcntl.flock(file, fcntl.LOCK_EX)
        return file


@contextmanager
def _locked(folder: Path, *, shared: bool = False) -> Iterator[None]:
    """One compaction or segment creation at a time in a folder, or any number of readers (`shared`)."""
    if shared and not os.access(folder, os.W_OK):
        yield  # nobody compacts a store that cannot be written, and it may hold no lock file
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode("ascii")
