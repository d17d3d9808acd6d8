"""Worker processes: a crash, a hang and a memory hog cost one task each, with the reason."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.processes import runs
from tests.visor_core.documents.writing import write_pdf
from visor_core.documents import pool as pool_module
from visor_core.documents import worker
from visor_core.documents.confinement import LANDLOCK, SECCOMP
from visor_core.documents.messages import (
    Failed,
    Finished,
    MalformedError,
    RenderedPage,
    Shelved,
    Validated,
    packed,
    unpacked,
)
from visor_core.documents.ocr import Recognised
from visor_core.documents.pool import WorkerPool, confinement_offered
from visor_core.documents.reader import Limits, OutlineEntry, PageSize, Word
from visor_core.documents.worker import Task, perform, render_page
from visor_core.geometry import FULL_PAGE, Box

LIMITS = Limits(max_bytes=10**8, max_pages=50, max_page_inches=120, max_page_pixels=4_000_000)

_TROUBLE = """
import os, signal, sys, time
import visor_core.documents.worker as worker
real = worker.perform
def perform(task, opened=None):
    if task.filename == "hang": time.sleep(60)
    if task.filename == "slow": time.sleep(0.6)
    if task.filename == "crash": signal.raise_signal(signal.SIGSEGV)
    if task.filename == "exit": os._exit(3)
    if task.filename == "torn":
        os.write(int(sys.argv[1]), (1000).to_bytes(4, "big") + b"half a message")
        os._exit(1)
    if task.filename == "hog":
        hog = bytearray(8 << 30)
    if task.filename == "network":
        import socket
        try:
            socket.create_connection(("127.0.0.1", 9))
        except PermissionError as error:
            yield worker.Failed(task.key, str(error))
            return
    yield from real(task, opened)
worker.perform = perform
worker.main()
"""


_BREAKOUT = """
import ctypes, errno, os, pickle, sys
import visor_core.documents.worker as worker
libc = ctypes.CDLL(None, use_errno=True)

def refused(result):
    return result < 0 and ctypes.get_errno() in (errno.EPERM, errno.EACCES)

def perform(task, opened=None):
    folder = os.path.dirname(task.path).encode()
    if task.filename == "opens":
        found = open(task.path, "rb").read(4) == b"%PDF"
    if task.filename == "writes":
        found = refused(libc.open(folder + b"/written", os.O_CREAT | os.O_WRONLY, 0o600))
    if task.filename == "overwrites":
        found = refused(libc.open(os.fsencode(task.path), os.O_WRONLY))
    if task.filename == "removes":
        found = refused(libc.unlink(os.fsencode(task.path)))
    if task.filename == "starts":
        found = refused(libc.execv(b"/bin/sh", (ctypes.c_char_p * 2)(b"sh", None)))
    if task.filename == "connects":
        found = refused(libc.socket(2, 1, 0))
    if task.filename == "signals":
        found = refused(libc.kill(os.getppid(), 0))
    if task.filename == "secrets":
        found = "A_TOKEN" not in os.environ and "PATH" in os.environ
    if task.filename == "pickles":
        class Bomb:
            def __reduce__(self):
                return os.mkdir, (os.fsdecode(folder) + "/unpickled",)
        connection = worker.Connection(int(sys.argv[1]))
        connection.send_bytes(pickle.dumps(Bomb()))
        connection.close()
    if task.filename == "impersonates":
        yield worker.Finished("another")
    yield worker.Failed(task.key, "refused" if found else "done")

worker.perform = perform
worker.main()
"""


def task(path: Path, name: str = "a.pdf", pages: tuple[int, ...] | None = None) -> Task:
    return Task(name, path, name, "pymupdf", LIMITS, memory_bytes=2**30, pages=pages, dpi=72)


def test_pages_come_back_as_rendered_in_process(tmp_path: Path) -> None:
    path = write_pdf(tmp_path / "a.pdf", ["one", "two"])
    with WorkerPool(2) as pool:
        assert [type(m) for m in pool.run([(task(path), 30.0)])] == [Validated, Finished]
        found = [m for m in pool.run([(task(path, pages=(1, 2)), 30.0)]) if isinstance(m, RenderedPage)]
    here = [m for m in perform(task(path, pages=(1, 2))) if isinstance(m, RenderedPage)]
    assert [m.content_hash for m in found] == [m.content_hash for m in here]
    assert [m.word_texts for m in here] == [("one",), ("two",)]
    assert (here[0].image_width, here[0].image_height, here[0].text_source) == (400, 300, "layer")


def test_trouble_costs_one_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "_SERVE", _TROUBLE)
    path = write_pdf(tmp_path / "a.pdf", ["one"])
    names = ["good", "crash", "torn", "hang", "exit", "hog", "network", "good too"]
    start = time.monotonic()
    with WorkerPool(2) as pool:
        tasks = [(task(path, name), 2.0 if name == "hang" else 60.0) for name in names]
        # A failed document's other tasks are not started.
        messages = list(pool.run([*tasks, (task(path, "crash", pages=(1,)), 60.0)]))
    assert time.monotonic() - start < 45
    reasons = {m.key: m.reason for m in messages if isinstance(m, Failed)}
    assert reasons == {
        "crash": "the renderer crashed while reading it (SIGSEGV)",
        "hang": "reading it took longer than its time limit of 2 s (documents.timeout_seconds): it was stopped",
        "exit": "the renderer gave up while reading it (exit code 3); it may need more than documents.memory_bytes = "
        "1,073,741,824",
        "torn": "the renderer gave up while reading it (exit code 1); it may need more than documents.memory_bytes = "
        "1,073,741,824",
        "hog": reasons["hog"],
        "network": "a document worker tried socket.getaddrinfo",
    }
    assert "documents.memory_bytes" in reasons["hog"]
    assert {m.key for m in messages if isinstance(m, Finished)} == {"good", "good too"}
    assert sum(isinstance(m, Failed) and m.key == "crash" for m in messages) == 2


def test_the_time_limit_is_the_documents_however_many_tasks_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "_SERVE", _TROUBLE)
    path = write_pdf(tmp_path / "a.pdf", ["one"])
    slow = [(task(path, "slow", pages=(1,)), 3.0) for _ in range(12)]
    for workers in (1, 2):
        start = time.monotonic()
        with WorkerPool(workers) as pool:
            messages = list(pool.run([*slow, (task(path, "good", pages=(1,)), 3.0)]))
            spent = pool.spent
        # Twelve tasks of 0.6 s each are within any limit of their own; the document has 3 s for all of them.
        assert time.monotonic() - start < 6
        assert 3.0 <= spent["slow"] < 4.5
        assert spent["good"] < 3.0
        ends = [m for m in messages if isinstance(m, Failed | Finished) and m.key == "slow"]
        assert len(ends) == 12
        failed = [m.reason for m in ends if isinstance(m, Failed)]
        assert len(failed) >= 7
        assert set(failed) == {
            "reading it took longer than its time limit of 3 s (documents.timeout_seconds): it was stopped"
        }
        assert [m.key for m in messages if isinstance(m, Finished)][-1] == "good"


def test_the_pool_leaves_no_process_behind(tmp_path: Path) -> None:
    path = write_pdf(tmp_path / "a.pdf", ["one"])
    with WorkerPool(1) as pool:
        list(pool.run([(task(path), 30.0)]))
        process = pool._workers[0].process
    assert process.poll() == -signal.SIGKILL


def test_a_worker_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    script = (
        "import sys, time\n"
        "from visor_core.documents.pool import start_worker\n"
        "worker = start_worker()\n"
        "print(worker.process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    for _ in range(100):
        if not runs(pid):
            break
        time.sleep(0.1)
    else:
        pytest.fail("the worker outlived its parent by ten seconds")


def test_a_defect_of_a_parser_is_told_as_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_pdf(tmp_path / "a.pdf", ["one"])

    def fail(*_: object, **__: object) -> None:
        raise KeyError(f"no object 7 in {path}")

    monkeypatch.setattr(worker, "open_document", fail)
    assert list(perform(task(path))) == [Failed("a.pdf", "reading it failed: KeyError 'no object 7 in a.pdf'")]


class _OnePage:
    """A page whose text layer is the given words."""

    num_pages, title = 1, ""

    def __init__(self, text: str) -> None:
        self._text = text

    def page_size(self, page: int) -> PageSize:
        return PageSize(72, 72)

    def outline(self) -> list[OutlineEntry]:
        return []

    def words(self, page: int) -> list[list[Word]]:
        return [[Word(self._text, 0.1, 0.1, 0.9, 0.2)]]

    def render(self, page: int, width: int, height: int, box: Box = FULL_PAGE) -> Image.Image:
        return Image.new("RGB", (width, height))

    def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize(
    ("layer", "read", "expected"),
    [
        ("\ue001" * 90, "Revenue 4711", ("Revenue 4711", "ocr")),
        ("\ue001" * 90, "", ("", "none")),
        ("a text layer that says quite enough to be kept", "Revenue 4711", ("a text layer that says quite", "layer")),
    ],
)
def test_ocr_takes_the_place_of_an_unusable_layer_however_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layer: str, read: str, expected: tuple[str, str]
) -> None:
    found = Recognised([[Word(read, 0.1, 0.1, 0.9, 0.2)]] if read else [], turned=False)
    monkeypatch.setattr("visor_core.documents.ocr.recognise", lambda image: found)
    page = render_page(_OnePage(layer), replace(task(tmp_path / "a.pdf"), ocr="auto"), 1)
    assert page.text.startswith(expected[0])
    assert page.text_source == expected[1]


def test_a_run_that_was_left_before_its_end_leaves_no_message_to_the_next(tmp_path: Path) -> None:
    paths = {name: write_pdf(tmp_path / f"{name}.pdf", [name] * 6) for name in ("a", "b")}
    with WorkerPool(2) as pool:
        run = pool.run([(task(paths["a"], "a", pages=(1, 2, 3, 4, 5, 6)), 60.0)])
        assert isinstance(next(run), RenderedPage)
        run.close()
        found = [m for m in pool.run([(task(paths["b"], "b", pages=(1, 2)), 60.0)]) if isinstance(m, RenderedPage)]
    assert [(m.key, m.page, m.word_texts) for m in found] == [("b", 1, ("b",)), ("b", 2, ("b",))]


def test_pictures_of_one_task_do_not_lie_over_those_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = "import visor_core.documents.worker as worker; worker.KEPT_BYTES = 1000; worker.main()"
    monkeypatch.setattr(pool_module, "_SERVE", few)
    path = write_pdf(tmp_path / "a.pdf", [f"page {n} " * n for n in range(1, 9)])
    tasks = [(replace(task(path, pages=(n, n + 1)), image_format="png"), 60.0) for n in (7, 1, 3, 5)]
    with WorkerPool(1) as pool:
        found = {m.page: m for m in pool.run(tasks) if isinstance(m, RenderedPage)}
    here = {m.page: m for t, _ in tasks for m in perform(t) if isinstance(m, RenderedPage)}
    assert {n: m.image for n, m in found.items()} == {n: m.image for n, m in here.items()}
    assert sorted(found) == list(range(1, 9))


@pytest.mark.skipif(
    confinement_offered() != [LANDLOCK, SECCOMP], reason="this kernel offers neither Landlock nor seccomp filters"
)
def test_a_worker_that_is_taken_over_can_read_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "_SERVE", _BREAKOUT)
    monkeypatch.setenv("A_TOKEN", "secret")
    path = write_pdf(tmp_path / "a.pdf", ["one"])
    deeds = ["opens", "writes", "overwrites", "removes", "starts", "connects", "signals", "secrets"]
    said = ["pickles", "impersonates"]
    before = path.read_bytes()
    with WorkerPool(1) as pool:
        messages = list(pool.run([(task(path, name), 30.0) for name in (*deeds, *said)]))
    reasons = {m.key: m.reason for m in messages if isinstance(m, Failed)}
    no_message = "the worker that read it answered with what is no message: it was stopped"
    assert reasons == {**dict.fromkeys(deeds, "refused"), **dict.fromkeys(said, no_message)}
    assert [file.name for file in tmp_path.iterdir()] == ["a.pdf"]
    assert path.read_bytes() == before


def _page(tmp_path: Path) -> Shelved:
    path = write_pdf(tmp_path / "a.pdf", ["one two"])
    (page, _) = perform(task(path, pages=(1,)))
    assert isinstance(page, RenderedPage)
    return Shelved(replace(page, image=b""), 3, 9)


def test_messages_come_out_as_they_went_in(tmp_path: Path) -> None:
    shelved = _page(tmp_path)
    found = unpacked(packed(shelved), "a.pdf", (1, 2))
    assert isinstance(found, Shelved)
    assert (found.offset, found.size) == (3, 9)
    assert np.array_equal(found.page.word_boxes, shelved.page.word_boxes)
    plain = {"word_boxes": None}
    assert replace(found.page, **plain) == replace(shelved.page, **plain)  # type: ignore[arg-type]
    failed = Failed("a.pdf", "lone \udc80 surrogates", by_secret=True)
    assert unpacked(packed(failed), "a.pdf", None) == failed
    validated = Validated("a.pdf", 3, "title")
    assert unpacked(packed(validated), "a.pdf", None) == validated


@pytest.mark.parametrize(
    ("key", "pages", "change"),
    [
        ("b.pdf", (1,), {}),
        ("a.pdf", (2,), {}),
        ("a.pdf", None, {}),
        ("a.pdf", (1,), {"page": True}),
        ("a.pdf", (1,), {"page": "1"}),
        ("a.pdf", (1,), {"text": None}),
        ("a.pdf", (1,), {"headings": (1, 2)}),
        ("a.pdf", (1,), {"word_texts": ("one",)}),
        ("a.pdf", (1,), {"word_boxes": np.full((2, 4), np.nan, np.float32)}),
        ("a.pdf", (1,), {"image_width": 2**40}),
        ("a.pdf", (1,), {"dpi": float("inf")}),
        ("a.pdf", (1,), {"text": "lone \udc80"}),
        ("a.pdf", (1,), {"word_texts": ("one", "\udc80")}),
    ],
)
def test_what_is_no_message_on_the_task_is_refused(
    key: str, pages: tuple[int, ...] | None, change: dict[str, Any], tmp_path: Path
) -> None:
    shelved = _page(tmp_path)
    with pytest.raises(MalformedError):
        unpacked(packed(replace(shelved, page=replace(shelved.page, **change))), key, pages)


@pytest.mark.parametrize(("offset", "size"), [(-1, 9), (0, -1), (0, 2**40), (2**70, 9)])
def test_a_picture_is_no_larger_than_a_message(offset: int, size: int, tmp_path: Path) -> None:
    """The parent would take memory for whatever it is told."""
    with pytest.raises(MalformedError):
        unpacked(packed(replace(_page(tmp_path), offset=offset, size=size)), "a.pdf", (1,))


@pytest.mark.parametrize(
    "data", [b"", b"\x04\x00\x00\x00null", b"\xff\xff\xff\xff", b"\x02\x00\x00\x00[]", b"[" * 10**5]
)
def test_bytes_that_are_no_message_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        unpacked(data, "a.pdf", None)
