"""Expanding paths, hostile names, copies by content hash, remote addresses."""

from __future__ import annotations

import contextlib
import errno
import gzip
import hashlib
import http.server
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visor_core.config import DocumentsConfig
from visor_core.documents import remote
from visor_core.documents.formats import KINDS
from visor_core.documents.patience import Patience
from visor_core.documents.remote import checked_address, fetch, list_folders
from visor_core.documents.sources import Refused, display_name, document_id_of, expand, keep_copy
from visor_core.errors import DocumentError


def test_folders_are_walked_once_in_name_order_and_loops_end(tmp_path: Path) -> None:
    for name in ("b.pdf", "sub/a.PNG", "sub/notes.txt", "A.PDF"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "sub" / "loop").symlink_to(tmp_path)
    found, refused, _ = expand([tmp_path], partition_of=lambda p: p.parent.name if p.parent != tmp_path else "")
    assert [(s.filename, s.partition) for s in found] == [("A.PDF", ""), ("b.pdf", ""), ("a.PNG", "sub")]
    assert refused == []


def test_what_is_not_there_is_refused_and_the_rest_goes_on(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.pdf").write_bytes(b"x")
    os.mkfifo(tmp_path / "pipe")
    found, refused, _ = expand(
        [tmp_path / "missing.pdf", tmp_path / "empty", tmp_path / "a.pdf", tmp_path / "pipe", "a\0b"]
    )
    assert [s.filename for s in found] == ["a.pdf"]
    reasons = {r.filename: r.reason for r in refused}
    assert reasons["missing.pdf"] == "there is no such file or folder"
    assert reasons["empty"] == "the folder holds no document"
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
    "host",
    [
        "127.0.0.1",
        "localhost",
        "10.0.0.1",
        "169.254.169.254",
        "::1",
        "0.0.0.0",
        "224.0.0.1",
        "240.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::10.0.0.1",
        "64:ff9b:1::1",
        "2002:0a00:0001::",
        "2001:0:7f00:1::",
        "::10.0.0.1",
        "::8.8.8.8",
        "fec0::1",
        "fe80::1",
        "fc00::1",
        "ff02::1",
        "ff0e::1",
        "2001:db8::1",
        "100::1",
    ],
)
def test_private_addresses_are_refused(host: str) -> None:
    with pytest.raises(DocumentError, match="private or local address"):
        checked_address(host, 80, allow_private=False)


@pytest.mark.parametrize(
    "host", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:0808:0808::1"]
)
def test_public_addresses_are_read_in_whatever_clothes(host: str) -> None:
    assert checked_address(host, 80, allow_private=False)


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
        elif self.path == "/malformed":
            self.send_response(302)
            self.send_header("Location", "http://[")
            self.end_headers()
        elif self.path == "/private":
            self.send_response(302)
            self.send_header("Location", f"http://127.0.0.1:{self.server.server_address[1]}/file.pdf")
            self.end_headers()
        elif self.path == "/gzip":
            self.send_response(200)
            self.send_header("Content-Encoding", "gzip")
            self.end_headers()
            self.wfile.write(gzip.compress(b"%PDF" + b"x" * 1_000_000))
        elif self.path == "/drip":
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(ConnectionError):  # the client hangs up, which is what is tested
                for _ in range(50):
                    self.wfile.write(b"x")
                    time.sleep(0.1)
        elif self.path.startswith("/file.pdf"):
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
        with fetch(f"{base}/redirect", allowed, tmp_path, Patience()) as path:
            assert path.read_bytes().startswith(b"%PDF")
        assert not list(tmp_path.glob("*.partial"))
        assert not list(tmp_path.glob(".*.partial"))
        for address, config, reason in (
            (f"{base}/file.pdf", DocumentsConfig(), "private or local address"),
            (f"{base}/loop", allowed, "redirects more than"),
            (f"{base}/away", allowed, "not http"),
            (f"{base}/none", allowed, "answered 404"),
            (f"{base}/malformed", allowed, "cannot be fetched: ValueError Invalid IPv6 URL"),
            (f"{base}/gzip", allowed, r"compressed \(gzip\), unasked"),
            ("http://[", allowed, "Invalid IPv6 URL"),
            ("http://a\0b/a.pdf", allowed, "cannot be resolved|InvalidURL|ValueError"),
            ("http://a:99999/a.pdf", allowed, "Port out of range"),
            (f"{base}/a\x01.pdf", allowed, "InvalidURL"),
            (f"{base}/file.pdf", DocumentsConfig(allow_private_addresses=True, max_bytes=100), "max_bytes = 100"),
            ("http://host.invalid/a.pdf", allowed, "cannot be resolved"),
            ("ftp://host/a.pdf", allowed, "not read"),
        ):
            with pytest.raises(DocumentError, match=reason), fetch(address, config, tmp_path, Patience()):
                pass


def test_a_dripping_server_meets_the_deadline(tmp_path: Path) -> None:
    config = DocumentsConfig(allow_private_addresses=True, download_timeout_seconds=0.5)
    start = time.monotonic()
    with (
        _serving() as base,
        pytest.raises(DocumentError, match=r"longer than documents\.download_timeout_seconds = 0\.5"),
        fetch(f"{base}/drip", config, tmp_path, Patience()),
    ):
        pass
    assert time.monotonic() - start < 3


def test_a_redirect_to_a_private_host_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def public_once(host: str, port: int, *, allow_private: bool) -> str:
        return "127.0.0.1" if host == "public.test" else checked_address(host, port, allow_private=allow_private)

    monkeypatch.setattr(remote, "checked_address", public_once)
    with _serving() as base:
        public = base.replace("127.0.0.1", "public.test")
        with fetch(f"{public}/file.pdf", DocumentsConfig(), tmp_path, Patience()) as path:
            assert path.read_bytes().startswith(b"%PDF")
        with (
            pytest.raises(DocumentError, match=r"'127\.0\.0\.1' has the private or local address"),
            fetch(f"{public}/private", DocumentsConfig(), tmp_path, Patience()),
        ):
            pass


def test_no_secret_of_an_address_is_stored_or_shown(tmp_path: Path) -> None:
    signed = "https://host/a.pdf?id=7&X-Amz-Signature=geheim"
    again = signed.replace("geheim", "heimlich")
    other = signed.replace("id=7", "id=8")
    found, refused, _ = expand(
        [
            signed,
            again,
            other,
            "https://host/a.pdf",
            "https://me:geheim@host/b.pdf",
            "http://[geheim",
            "abfs://c@x/d.pdf",
        ]
    )
    # Signed anew an address is the same source; another query is another one.
    assert [s.address for s in found] == [signed, other, "https://host/a.pdf", "abfs://c@x/d.pdf"]
    assert [found[2].uri, found[3].uri] == ["https://host/a.pdf", "abfs://c@x/d.pdf"]
    assert [r.uri for r in refused] == ["https://…@host/b.pdf", "http://…"]
    assert "geheim" not in f"{found} {refused}"
    with _serving() as base:
        for address in (f"{base}/none?token=geheim", "memory://none?token=geheim", "http://[?token=geheim"):
            with (
                pytest.raises(DocumentError) as raised,
                fetch(address, DocumentsConfig(allow_private_addresses=True), tmp_path, Patience()),
            ):
                pass
            assert "geheim" not in str(raised.value)


def test_object_stores_by_fsspec(tmp_path: Path) -> None:
    with fsspec.open("memory://bucket/a.pdf", "wb") as file:
        file.write(b"%PDF-1.4")
    with fetch("memory://bucket/a.pdf", DocumentsConfig(), tmp_path, Patience()) as path:
        assert path.read_bytes() == b"%PDF-1.4"
    with (
        pytest.raises(DocumentError, match="cannot be fetched"),
        fetch("memory://no/a.pdf", DocumentsConfig(), tmp_path, Patience()),
    ):
        pass


def test_a_folder_of_an_object_store_is_its_documents(tmp_path: Path) -> None:
    for name in ("b.pdf", "sub/a.PNG", "sub/notes.txt", "sub/other/c#1.tiff"):
        with fsspec.open(f"memory://shelf/{name}", "wb") as file:
            file.write(b"%PDF-1.4")
    kind = f"files of the kind .txt are not read in a folder: {KINDS} are"
    skipped = [Refused("memory://shelf/sub/notes.txt", "notes.txt", kind)]
    below = ["memory://shelf/sub/a.PNG", "memory://shelf/sub/other/c#1.tiff"]
    for folder in ("memory://shelf/sub", "memory://shelf/sub/"):
        assert list_folders([folder, tmp_path], DocumentsConfig(), Patience()) == ([*below, tmp_path], [], skipped)
    assert list_folders(["memory://shelf"], DocumentsConfig(), Patience()) == (
        ["memory://shelf/b.pdf", *below],
        [],
        skipped,
    )
    # What is no folder is a document, there or not.
    single = ["memory://shelf/sub/notes.txt", "memory://shelf/none.pdf", "memory://shelf/none", "https://host/a/"]
    assert list_folders(single, DocumentsConfig(), Patience()) == (single, [], [])
    fsspec.filesystem("memory").mkdirs("/shelf/bare", exist_ok=True)
    found, refused, _ = list_folders(
        ["memory://shelf/bare?token=geheim", "memory://shelf/bare", "s3://a::file:///etc"],
        DocumentsConfig(),
        Patience(),
    )
    assert found == ["memory://shelf/bare?token=geheim"]
    assert [(r.uri, r.filename) for r in refused] == [("memory://shelf/bare", "bare"), ("s3://a::file:///etc", "etc")]
    assert refused[0].reason == "memory://shelf/bare holds no document"
    assert "chain of file systems" in refused[1].reason
    with fetch(below[1], DocumentsConfig(), tmp_path, Patience()) as path:
        assert path.read_bytes() == b"%PDF-1.4"


def test_a_full_disk_is_no_fault_of_an_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with fsspec.open("memory://bucket/a.pdf", "wb") as file:
        file.write(b"%PDF-1.4")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(remote, "_save", full)
    with (
        pytest.raises(OSError, match="No space left"),
        fetch("memory://bucket/a.pdf", DocumentsConfig(), tmp_path, Patience()),
    ):
        pass
