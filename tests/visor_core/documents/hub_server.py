"""A server on this machine that speaks the hub's protocol for datasets: listing with hashes, redirect, byte ranges."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "5" * 40
BRANCH = "main"


@dataclass
class HubServer:
    """What is offered, and how: `cut` files break off after so many bytes, once; `wrong` ones have other bytes than
    their listing; `gone` ones answer 404. `sent` counts the bytes of each, `slow` are seconds of pause after 4 KiB.
    """

    repository: str
    files: dict[str, bytes]
    commit: str = COMMIT
    cut: dict[str, int] = field(default_factory=dict)
    wrong: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    ranges: bool = True
    gated: bool = False
    slow: float = 0.0
    url: str = ""
    sent: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    asked: list[str] = field(default_factory=list)
    large: int = 1000
    """Bytes from which a file is one of LFS, listed by SHA-256; a smaller one is listed by git's blob hash."""

    def listing(self) -> dict[str, object]:
        """The answer of `/api/datasets/…/revision/…?blobs=true`."""
        siblings = []
        for path, data in self.files.items():
            blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            sibling: dict[str, object] = {"rfilename": path, "size": len(data), "blobId": blob}
            if len(data) >= self.large:
                sibling["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
            siblings.append(sibling)
        return {"id": self.repository, "sha": self.commit, "private": False, "gated": False, "siblings": siblings}


@contextmanager
def hub_server(repository: str, files: dict[str, bytes]) -> Iterator[HubServer]:
    """The server, on a free port of 127.0.0.1."""
    offered = HubServer(repository, files)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0"

        def log_message(self, format: str, *args: object) -> None:
            """Nothing is printed."""

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, *, body: bool) -> None:
            path = unquote(urlsplit(self.path).path)
            offered.asked.append(f"{self.command} {path} {self.headers.get('Range', '')}".strip())
            if offered.gated:
                self._send(401, b"{}", {"X-Error-Code": "GatedRepo", "X-Error-Message": "ask for access"})
            elif path.startswith(f"/api/datasets/{repository}/revision/"):
                known = path.rpartition("/")[2] in (offered.commit, BRANCH)
                if known:
                    self._send(200, json.dumps(offered.listing()).encode(), {"Content-Type": "application/json"})
                else:
                    self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            elif path.startswith(f"/datasets/{repository}/resolve/{offered.commit}/"):
                name = path.partition(f"/resolve/{offered.commit}/")[2]
                if name in offered.files and name not in offered.gone:
                    # Large files lie elsewhere, as on the hub.
                    self._send(302, b"", {"Location": f"{offered.url}/cdn/{name}", "X-Repo-Commit": offered.commit})
                else:
                    self._send(404, b"{}", {"X-Error-Code": "EntryNotFound"})
            elif path.startswith("/cdn/"):
                self._file(path.removeprefix("/cdn/"), body=body)
            else:
                self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})

        def _file(self, name: str, *, body: bool) -> None:
            data = offered.files[name]
            data = bytes(reversed(data)) if name in offered.wrong else data
            begin = 0
            if offered.ranges and (asked := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))):
                begin = int(asked[1])
            self.send_response(206 if begin else 200)
            if begin:
                self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
            self.send_header("Content-Length", str(len(data) - begin))
            self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
            self.end_headers()
            if not body:
                return
            stop = offered.cut.pop(name, len(data))
            for at in range(begin, stop, 4096):
                piece = data[at : min(at + 4096, stop)]
                self.wfile.write(piece)
                offered.sent[name] += len(piece)
                if offered.slow:
                    self.wfile.flush()
                    time.sleep(offered.slow)
            if stop < len(data):
                self.close_connection = True

        def _send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(data)

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that was killed is no fault of the server's."""

    server = Server(("127.0.0.1", 0), Handler)
    offered.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield offered
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
