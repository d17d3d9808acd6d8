"""What was paid for is printed before a disk can lose it: full, read-only, and without file locks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.pipelines.chat_server import scripted_reader, serving
from tests.pipelines.conftest import Outcome, Visor
from tests.pipelines.test_cli_corpus import write_pdf

ROOT = Path(__file__).resolve().parents[2]
NO_LOCKS = "#include <errno.h>\nint flock(int fd, int op) { errno = ENOLCK; return -1; }\n"
NO_ROOM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
ssize_t write(int fd, const void *data, size_t size) {
  char link[40], path[4096] = {0};
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const char *full = getenv("FULL_DISK");
  if (full && readlink(link, path, sizeof path - 1) > 0 && !strncmp(path, full, strlen(full))) {
    errno = ENOSPC;
    return -1;
  }
  ssize_t (*real)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
  return real(fd, data, size);
}
"""


@pytest.fixture
def corpus(visor: Visor, tmp_path: Path) -> Path:
    """A home with one ingested document."""
    write_pdf(tmp_path / "coast.pdf", ("English Channel coast areas: Kent, Normandy", "Nothing of note"))
    assert visor("ingest", str(tmp_path / "coast.pdf"), "--set", "documents.ocr=never").code == 0
    return tmp_path / "home"


def _preloaded(source: str, folder: Path) -> list[str]:
    """Runs a command with a C function in place of the system's."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("no C compiler to stand in for such a file system")
    (folder / "ailing.c").write_text(source, encoding="utf-8")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", folder / "ailing.so", folder / "ailing.c"], check=True)
    return ["env", f"LD_PRELOAD={folder / 'ailing.so'}"]


def _full(home: Path, folder: Path) -> list[str]:
    """A disk with no room left: files can be made and not filled."""
    return [*_preloaded(NO_ROOM, folder), f"FULL_DISK={home}"]


def _read_only(home: Path, folder: Path) -> list[str]:
    """Folders that may not be written, met without root's power to write them anyway."""
    if os.getuid() == 0 and not shutil.which("setpriv"):
        pytest.skip("root writes everywhere and there is no setpriv to give that up")
    for inside in (home, *(p for p in home.rglob("*") if p.is_dir())):
        inside.chmod(0o555)
    powers = "-dac_override,-dac_read_search"
    drop = ["setpriv", f"--bounding-set={powers}", f"--inh-caps={powers}", "--no-new-privs"]
    return drop if os.getuid() == 0 else []


def _without_locks(home: Path, folder: Path) -> list[str]:
    """A file system whose `flock` refuses, as some network ones do."""
    return _preloaded(NO_LOCKS, folder)


def _run(prefix: list[str], home: Path, *arguments: str) -> Outcome:
    command = [*prefix, sys.executable, "-c", "from pipelines.cli import main; main()", "--home", str(home), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return Outcome(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(
    ("ailing", "reason"),
    [(_full, "No space left on device"), (_read_only, "Permission denied"), (_without_locks, "no file locks")],
)
def test_the_answer_is_printed_before_it_is_kept(
    corpus: Path, tmp_path: Path, ailing: Callable[[Path, Path], list[str]], reason: str
) -> None:
    prefix = ailing(corpus, tmp_path)
    with serving(scripted_reader) as url:
        asked = _run(prefix, corpus, "ask", "Which areas?", "--endpoint", url, "--model", "scripted")
    assert "Kent, Normandy" in asked.out.splitlines()
    assert "coast.pdf, page 1, box " in asked.out
    assert asked.code == 2
    *notes, line = asked.err.strip().splitlines()
    assert all(note.startswith("note: what the endpoint costs is not counted: ") for note in notes)
    assert line.startswith(f"visor: the answer stands above, but {corpus} could not keep the episode (")
    assert reason in line


def test_figures_are_printed_before_they_are_kept(corpus: Path, tmp_path: Path) -> None:
    questions = tmp_path / "questions.json"
    item = '{"doc_id": "coast.pdf", "question": "Which areas%d?", "answer": "Kent, Normandy", "evidence_pages": "[1]",'
    item += ' "evidence_sources": "[]", "answer_format": "Str"}'
    questions.write_text(f"[{', '.join(item % number for number in range(3))}]", encoding="utf-8")
    command = ["eval", "--benchmark", "mmlongbench", "--questions", str(questions), "--corpus", "documents"]
    with serving(scripted_reader) as url:
        found = _run(_full(corpus, tmp_path), corpus, *command, "--endpoint", url, "--model", "scripted")
    assert "1.000" in found.out
    assert found.code == 2
    warning, line = found.err.strip().splitlines()
    assert warning.startswith("warning: MLflow did not take all of it: ")
    assert line.startswith(
        f"visor: the figures stand above, but {corpus} could not keep 3 episodes (No space left on device)"
    )


def test_what_the_machine_refuses_is_one_line(visor: Visor, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    outcome = visor("nano", "--output", str(tmp_path / "file" / "world"), "--questions", "1")
    assert outcome.code == 2
    (line,) = outcome.err.strip().splitlines()
    assert str(tmp_path / "file") in line
