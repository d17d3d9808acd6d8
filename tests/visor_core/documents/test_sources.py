"""Expanding paths, hostile names, copies by content hash, remote addresses."""

from __future__ import annotations

import hashlib
import http.server
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visor_core.config import DocumentsConfig
from visor_core.documents.remote import checked_address, fetch
from visor_core.documents.sources import display_name, document_id_of, expand, keep_copy
from visor_core.errors import DocumentError


def test_folders_are_walked_once_in_name_order_and_loops_end(tmp_path: Path) -> None:
    for name in ("b.pdf", "sub/a.PNG", "sub/notes.txt", "A.PDF"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "sub" / "loop").symlink_to(tmp_path)
    found, refused = expand([tmp_path], partition_of=lambda p: p.parent.name if p.parent != tmp_path else "")
    assert [(s.filename, s.partition) for s in found] == [("A.PDF", ""), ("b.pdf", ""), ("a.PNG", "sub")]
    assert refused == []


def test_what_is_not_there_is_refused_and_the_rest_goes_on(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.pdf").write_bytes(b"x")
    os.mkfifo(tmp_path / "pipe")
    found, refused = expand(
        [tmp_path / "missing.pdf", tmp_path / "empty", tmp_path / "a.pdf", tmp_path / "pipe", "a\0b"]
    )
    assert [s.filename for s in found] == ["a.pdf"]
    reasons = {r.filename: r.reason for r in refused}
    assert reasons["missing.pdf"] == "there is no such file or folder"
    assert reasons["empty"] == "the folder holds no PDF and no picture"
    assert reasons["pipe"] == "it is not a regular file"
    assert len(refused) == 4


@given(st.text(max_size=400))
def test_display_names_are_short_and_harmless(name: str) -> None:
    shown = display_name(name)
    assert 1 <= len(shown) <= 160
    assert not set(shown) & set("/\\\n\r\t\0\u202e\u200f")
    assert shown not in (".", "..")


def test_long_names_keep_their_suffix() -> None:
    assert display_name("x" * 300 + ".pdf").endswith("….pdf")
    assert display_name("a\u202efdp.pdf") == "afdp.pdf"


def test_a_copy_lies_under_the_hash_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(b"hello")
    document_id, path, size = keep_copy(tmp_path / "a.pdf", tmp_path / "sources", 100)
    assert document_id == hashlib.sha256(b"hello").hexdigest()[:32] == document_id_of(tmp_path / "a.pdf")
    assert path.read_bytes() == b"hello"
    assert size == 5
    with pytest.raises(DocumentError, match=r"5 bytes, more than documents\.max_bytes = 4"):
        keep_copy(tmp_path / "a.pdf", tmp_path / "sources", 4)


def test_a_file_that_keeps_changing_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(b"0")

    def hash_and_grow(file: Path) -> str:
        found = document_id_of(file)
        with file.open("ab") as handle:
            handle.write(b"1")
        return found

    monkeypatch.setattr("visor_core.documents.sources.document_id_of", hash_and_grow)
    with pytest.raises(DocumentError, match="keeps changing while it is read"):
        keep_copy(path, tmp_path / "sources", 100)
    assert not list((tmp_path / "sources").rglob("*.partial"))


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "10.0.0.1", "169.254.169.254", "::1", "0.0.0.0", "::ffff:10.0.0.1"]
)
def test_private_addresses_are_refused(host: str) -> None:
    with pytest.raises(DocumentError, match="private or local address"):
        checked_address(host, 80, allow_private=False)


class _Server(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/redirect":
            self.send_response(302)
            self.send_header("Location", "/file.pdf")
            self.end_headers()
        elif self.path == "/loop":
            self.send_response(302)
            self.send_header("Location", "/loop")
            self.end_headers()
        elif self.path == "/away":
            self.send_response(302)
            self.send_header("Location", "file:///etc/passwd")
            self.end_headers()
        elif self.path == "/file.pdf":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"%PDF" + b"x" * 1000)
        else:
            self.send_error(404)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@contextmanager
def _serving() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Server)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_http_sources(tmp_path: Path) -> None:
    allowed = DocumentsConfig(allow_private_addresses=True)
    with _serving() as base:
        with fetch(f"{base}/redirect", allowed, tmp_path) as path:
            assert path.read_bytes().startswith(b"%PDF")
        assert not list(tmp_path.glob("*.partial"))
        assert not list(tmp_path.glob(".*.partial"))
        for address, config, reason in (
            (f"{base}/file.pdf", DocumentsConfig(), "private or local address"),
            (f"{base}/loop", allowed, "redirects more than"),
            (f"{base}/away", allowed, "not http"),
            (f"{base}/none", allowed, "answered 404"),
            (f"{base}/file.pdf", DocumentsConfig(allow_private_addresses=True, max_bytes=100), "max_bytes = 100"),
            ("http://host.invalid/a.pdf", allowed, "cannot be resolved"),
            ("ftp://host/a.pdf", allowed, "not read"),
        ):
            with pytest.raises(DocumentError, match=reason), fetch(address, config, tmp_path):
                pass


def test_object_stores_by_fsspec(tmp_path: Path) -> None:
    with fsspec.open("memory://bucket/a.pdf", "wb") as file:
        file.write(b"%PDF-1.4")
    with fetch("memory://bucket/a.pdf", DocumentsConfig(), tmp_path) as path:
        assert path.read_bytes() == b"%PDF-1.4"
    with (
        pytest.raises(DocumentError, match="cannot be fetched"),
        fetch("memory://no/a.pdf", DocumentsConfig(), tmp_path),
    ):
        pass
