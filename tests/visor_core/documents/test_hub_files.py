"""Files of the hub by pinned commit, from a server on this machine that speaks its protocol."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from huggingface_hub import constants

from tests.visor_core.documents.hub_server import COMMIT, HubServer, hub_server
from visor_core.documents.hub import (
    PARTIAL,
    HubError,
    chosen,
    fetch,
    list_files,
    missing,
    require_commit,
    still_to_fetch,
)

REPOSITORY = "me/bench"
ROOT = Path(__file__).resolve().parents[3]


def _bytes(count: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(count)


def _files() -> dict[str, bytes]:
    return {
        "data/train.parquet": _bytes(300, 1),
        "documents/a b.pdf": _bytes(50_000, 2),
        "documents/c.pdf": b"c" * 9000,
    }


def _point_at(monkeypatch: pytest.MonkeyPatch, server: HubServer) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", server.url)


def test_a_commit_is_fetched_once_and_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with hub_server(REPOSITORY, _files()) as server:
        _point_at(monkeypatch, server)
        files = list_files(REPOSITORY, COMMIT)
        assert {file.path: file.size for file in files} == {name: len(data) for name, data in server.files.items()}
        wanted = chosen(files, ["documents/*.pdf"])
        assert still_to_fetch(wanted, tmp_path) == 59_000
        steps: list[tuple[int, int]] = []
        assert fetch(REPOSITORY, COMMIT, wanted, tmp_path, lambda done, of: steps.append((done, of))) == []
        assert steps[-1] == (59_000, 59_000)
        asked = len(server.asked)
        assert fetch(REPOSITORY, COMMIT, wanted, tmp_path) == []
        assert len(server.asked) == asked
    assert (tmp_path / "documents" / "a b.pdf").read_bytes() == server.files["documents/a b.pdf"]
    assert missing(wanted, tmp_path) == []
    assert list(tmp_path.rglob(f"*{PARTIAL}")) == []


@pytest.mark.parametrize("ranges", [True, False], ids=["the server gives ranges", "it begins anew"])
def test_a_broken_connection_goes_on_inside_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ranges: bool
) -> None:
    with hub_server(REPOSITORY, _files()) as server:
        _point_at(monkeypatch, server)
        server.cut, server.ranges = {"documents/a b.pdf": 20_480}, ranges
        steps: list[int] = []
        wanted = chosen(list_files(REPOSITORY, COMMIT), ["documents/a b.pdf"])
        assert fetch(REPOSITORY, COMMIT, wanted, tmp_path, lambda done, of: steps.append(done)) == []
    assert (tmp_path / "documents/a b.pdf").read_bytes() == server.files["documents/a b.pdf"]
    assert server.sent["documents/a b.pdf"] == (50_000 if ranges else 70_480)
    assert steps[-1] == 50_000


def test_a_bad_file_stops_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with hub_server(REPOSITORY, _files()) as server:
        _point_at(monkeypatch, server)
        server.wrong, server.gone = {"data/train.parquet", "documents/a b.pdf"}, set()
        files = list_files(REPOSITORY, COMMIT)
        failed = fetch(REPOSITORY, COMMIT, files, tmp_path)
        assert {each.path for each in failed} == server.wrong  # one is known by SHA-256, one by git's hash
        assert all("other bytes than its listing" in each.reason for each in failed)
        server.wrong, server.gone = set(), {"documents/a b.pdf"}
        (lost,) = fetch(REPOSITORY, COMMIT, files, tmp_path)
        assert lost.path == "documents/a b.pdf"
        assert "404" in lost.reason
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == ["c.pdf", "train.parquet"]


def test_what_the_hub_refuses_is_one_line_with_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with hub_server(REPOSITORY, _files()) as server:
        _point_at(monkeypatch, server)
        with pytest.raises(HubError, match=r"branch moves"):
            require_commit("main", REPOSITORY)
        with pytest.raises(HubError, match=r"has no me/bench at 7{40}"):
            list_files(REPOSITORY, "7" * 40)
        server.commit = "6" * 40
        with pytest.raises(HubError, match=f"with commit {'6' * 40}, not main"):
            list_files(REPOSITORY, "main")
        server.gated = True
        with pytest.raises(HubError, match=r"agree to its terms at http://127\S+/datasets/me/bench, then set HF_TOKEN"):
            list_files(REPOSITORY, COMMIT)
    with pytest.raises(HubError, match=r"does not answer for me/bench .*--from FOLDER"):
        list_files(REPOSITORY, COMMIT)


def test_a_path_that_leads_out_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    with hub_server(
        REPOSITORY, {"a/x.pdf": b"1", "../x.pdf": b"2", "/etc/x.pdf": b"3", "a/../../x.pdf": b"4"}
    ) as server:
        _point_at(monkeypatch, server)
        assert [file.path for file in chosen(list_files(REPOSITORY, COMMIT), ["*.pdf"])] == ["a/x.pdf"]


SCRIPT = """
import sys
from pathlib import Path
from visor_core.documents.hub import fetch, list_files
files = list_files("me/bench", sys.argv[1])
assert fetch("me/bench", sys.argv[1], files, Path(sys.argv[2])) == []
"""


def _at_rest(server: HubServer) -> int:
    """Bytes sent, once the server has noticed that nobody reads any more."""
    before = -1
    while before != server.sent["documents/big.pdf"]:
        before = server.sent["documents/big.pdf"]
        time.sleep(0.2)
    return before


def _kills(tmp_path: Path, kills: int) -> None:
    """A fetch that is killed in the middle of its file and started again asks for no byte twice but those in flight."""
    size = 400_000 * (kills + 1)
    with hub_server(REPOSITORY, {"documents/big.pdf": _bytes(size, 3)}) as server:
        server.slow = 0.01
        environment = {
            **os.environ,
            "HF_ENDPOINT": server.url,
            "PYTHONPATH": str(ROOT),
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }
        command = [sys.executable, "-c", SCRIPT, COMMIT, str(tmp_path)]
        for kill in range(1, kills + 1):
            running = subprocess.Popen(command, env=environment)
            while server.sent["documents/big.pdf"] < 300_000 * kill and running.poll() is None:
                time.sleep(0.01)
            running.kill()
            running.wait()
            assert not (tmp_path / "documents" / "big.pdf").exists()
            _at_rest(server)
        kept = (tmp_path / "documents" / f"big.pdf{PARTIAL}").stat().st_size
        before = _at_rest(server)
        server.slow = 0.0
        subprocess.run(command, env=environment, check=True)
        assert server.sent["documents/big.pdf"] - before == size - kept
    assert kept > 0
    assert (tmp_path / "documents" / "big.pdf").read_bytes() == server.files["documents/big.pdf"]


def test_a_killed_fetch_goes_on_where_it_was(tmp_path: Path) -> None:
    _kills(tmp_path, 1)


@pytest.mark.slow_walk
def test_a_fetch_killed_five_times_ends_with_the_same_bytes(tmp_path: Path) -> None:
    _kills(tmp_path, 5)
