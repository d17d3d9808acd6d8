"""The worker that draws: a hang, a crash and a memory hog cost one picture each, and the next one is drawn."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.visor_core.documents.writing import write_pdf
from visor_core.documents import pool as pool_module
from visor_core.documents.drawer import Drawer
from visor_core.documents.drawings import Drawing, Drawings, drawn
from visor_core.documents.mupdf import MuPDFDocument
from visor_core.documents.reader import OpenDocument, open_document
from visor_core.errors import DocumentError
from visor_core.geometry import Box

BOX = Box(0.05, 0.1, 0.6, 0.4)

_TROUBLE = """
import os, signal, socket, time
import visor_core.documents.worker as worker
class Drawings(worker.Drawings):
    def _document(self, drawing):
        kind = drawing.key
        if kind == "hang": time.sleep(60)
        if kind == "slow": time.sleep(0.5)
        if kind == "crash": signal.raise_signal(signal.SIGSEGV)
        if kind == "exit": os._exit(3)
        if kind == "once" and self._open: os._exit(3)
        if kind == "network": socket.create_connection(("127.0.0.1", 9))
        if kind == "hog": bytes(8 << 30)
        return super()._document(drawing)
worker.Drawings = Drawings
worker.main()
"""


@pytest.fixture
def drawer() -> Iterator[Drawer]:
    made = Drawer()
    yield made
    made.close()


@pytest.fixture
def troubled(monkeypatch: pytest.MonkeyPatch, drawer: Drawer) -> Drawer:
    monkeypatch.setattr(pool_module, "_SERVE", _TROUBLE)
    return drawer


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_pdf(tmp_path / "a.pdf", ["one", "two"])


def drawing(source: Path, key: str = "a", *, owner: int = 0, page: int = 1, most_open: int = 8) -> Drawing:
    return Drawing(
        owner, key, str(source), "pymupdf", page, 120, 90, BOX.as_tuple(), 2**30, 10**7, most_open, password=""
    )


def here(source: Path, page: int = 1) -> bytes:
    """The same picture, drawn in this process."""
    document = open_document(source)
    pixels = document.render(page, 120, 90, BOX).tobytes()
    document.close()
    return pixels


def test_a_picture_is_what_it_is_drawn_in_process(drawer: Drawer, source: Path) -> None:
    for page in (1, 2, 1):
        assert drawer.pixels(drawing(source, page=page), 30) == here(source, page)
    with pytest.raises(DocumentError, match=r"^page 3 does not exist: the document has 2 pages$"):
        drawer.pixels(drawing(source, page=3), 30)
    source.with_name("b.pdf").write_bytes(b"%PDF-1.4 hostile")
    with pytest.raises(DocumentError, match="damaged"):
        drawer.pixels(drawing(source.with_name("b.pdf"), "b"), 30)
    with pytest.raises(DocumentError, match="the file cannot be read: No such file"):
        drawer.pixels(drawing(source.with_name("c.pdf"), "c"), 30)


def test_trouble_costs_one_picture(troubled: Drawer, source: Path) -> None:
    told = {
        "hang": "it took longer than documents.picture_seconds = 0.3: it was stopped",
        "crash": "the renderer crashed while reading it (SIGSEGV)",
        "exit": "the renderer gave up while reading it (exit code 3); it may need more than "
        "documents.memory_bytes = 1,073,741,824",
        "hog": "it needs more than documents.memory_bytes = 1,073,741,824",
        "network": "PermissionError a document worker tried socket.getaddrinfo",
    }
    assert troubled.pixels(drawing(source), 30) == here(source)
    for kind, reason in told.items():
        with pytest.raises(DocumentError) as raised:
            troubled.pixels(drawing(source, kind), 0.3 if kind == "hang" else 30)
        assert str(raised.value) == f"page 1 cannot be drawn at 120 × 90 pixels: {reason}"
        if kind in ("hang", "network"):
            assert troubled.pixels(drawing(source), 30) == here(source)


def test_what_was_drawn_before_does_not_decide(troubled: Drawer, source: Path) -> None:
    assert troubled.pixels(drawing(source), 30) == here(source)
    assert troubled.pixels(drawing(source, "once"), 30) == here(source)  # its worker died of the document held
    assert troubled._worker is not None
    troubled._worker.process.kill()
    troubled._worker.process.wait()
    assert troubled.pixels(drawing(source), 30) == here(source)


def test_one_hanging_picture_does_not_spoil_those_of_other_threads(troubled: Drawer, source: Path) -> None:
    found: list[object] = []

    def draw(kind: str, page: int) -> None:
        try:
            found.append(
                troubled.pixels(drawing(source, kind, page=page), 30 if kind == "a" else 0.3) == here(source, page)
            )
        except DocumentError as error:
            found.append(str(error).partition(": ")[2])

    threads = [threading.Thread(target=draw, args=("hang" if n == 3 else "a", 1 + n % 2)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, found)) == ["True"] * 11 + [
        "it took longer than documents.picture_seconds = 0.3: it was stopped"
    ]


def test_an_interrupted_request_leaves_no_answer_to_the_next(troubled: Drawer, source: Path) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        assert troubled.pixels(drawing(source), 30) == here(source)
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        with pytest.raises(KeyboardInterrupt):
            troubled.pixels(drawing(source, "slow"), 30)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert troubled.pixels(drawing(source, page=2), 30) == here(source, 2)


def test_a_stopped_and_continued_process_does_not_lose_its_picture(source: Path) -> None:
    script = (
        "import sys\n"
        "from visor_core.documents import drawer, pool\n"
        "from visor_core.documents.drawings import Drawing\n"
        "pool._SERVE, drawer._SLICE, made = sys.argv[1], 0.1, drawer.Drawer()\n"
        "asked = Drawing(0, 'slow', sys.argv[2], 'pymupdf', 1, 20, 20, (0, 0, 1, 1), 2**30, 10**7, 8, '')\n"
        "made.pixels(asked._replace(key='a'), 30)\n"
        "print('go', flush=True)\n"
        "print(len(made.pixels(asked, 1.5)), flush=True)\n"
        "made.close()\n"
    )
    command = [sys.executable, "-c", script, _TROUBLE, str(source)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "go\n"
        os.killpg(process.pid, signal.SIGSTOP)
        time.sleep(2)
        os.killpg(process.pid, signal.SIGCONT)
        assert process.stdout.readline() == "1200\n"
    assert process.returncode == 0


def test_closing_leaves_neither_process_nor_file(source: Path) -> None:
    before = set(Path("/proc/self/fd").iterdir())
    drawer = Drawer()
    drawer.close()
    for _ in range(2):
        drawer.pixels(drawing(source), 30)
        assert drawer._worker is not None
        process = drawer._worker.process
        drawer.close()
        assert process.returncode == -signal.SIGKILL
    assert set(Path("/proc/self/fd").iterdir()) == before


def test_a_system_without_files_in_memory_draws_through_one_on_disk(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = set(Path("/proc/self/fd").iterdir())
    monkeypatch.delattr(os, "memfd_create")
    drawer = Drawer()
    assert drawer.pixels(drawing(source), 30) == here(source)
    drawer.close()
    assert set(Path("/proc/self/fd").iterdir()) == before


def test_a_large_picture_does_not_keep_its_memory(drawer: Drawer, source: Path) -> None:
    large = drawing(source)._replace(width=4000, height=3000)
    assert len(drawer.pixels(large, 60)) == 3 * 4000 * 3000
    assert drawer._worker is not None
    assert os.fstat(drawer._worker.shared).st_size == 0
    assert drawer.pixels(drawing(source), 30) == here(source)


def test_a_process_ends_without_its_worker_and_without_a_warning(source: Path) -> None:
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from visor_core.documents.crops import CropRenderer\n"
        "crops = CropRenderer({'a': Path(sys.argv[1])}, None, 'pymupdf')\n"
        "crops.picture('a', 1, 20, 20)\n"
        "print(crops._drawer._worker.process.pid)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", "-c", script, str(source)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert not Path(f"/proc/{int(done.stdout)}").exists()


def test_documents_stay_open_up_to_a_number_and_until_their_owner_retires(source: Path) -> None:
    drawings = Drawings()
    for key in "abc":
        drawings.pixels(drawing(source, key, most_open=2))
    drawings.pixels(drawing(source, "b", owner=1, most_open=3))
    assert list(drawings._open) == [(0, "b"), (0, "c"), (1, "b")]
    drawings.pixels(drawing(source, "d", owner=2)._replace(retired=(0, 7)))
    assert list(drawings._open) == [(1, "b"), (2, "d")]
    drawings.close()
    assert not drawings._open


@pytest.mark.parametrize("fault", [AttributeError("no attribute\nthis"), ZeroDivisionError("zero")])
def test_whatever_a_parser_raises_is_the_documents_fault(
    source: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    drawings = Drawings()
    assert drawings.pixels(drawing(source)) == here(source)
    tried: list[int] = []

    def fail(*_: object) -> None:
        tried.append(len(drawings._open))
        raise fault

    with monkeypatch.context() as patch:
        patch.setattr(MuPDFDocument, "render", fail)
        told = drawn(drawing(source, "b"), drawings, -1).decode()
    assert told.startswith(f"page 1 cannot be drawn at 120 × 90 pixels: {type(fault).__name__} ")
    assert "\n" not in told
    assert tried == [2, 1]  # once beside the other document, once alone
    assert drawings.pixels(drawing(source)) == here(source)
    drawings.close()


def test_memory_that_other_documents_hold_is_given_back(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawings = Drawings()
    drawings.pixels(drawing(source))
    real = MuPDFDocument.render

    def short(document: OpenDocument, *arguments: object) -> object:
        if len(drawings._open) > 1:
            raise MemoryError
        return real(document, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(MuPDFDocument, "render", short)
    assert drawings.pixels(drawing(source, "b")) == here(source)
    drawings.close()
