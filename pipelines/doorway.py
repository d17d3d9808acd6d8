"""Where the links of a home lead while its `visor ui` is open: to the pages of Dagster and MLflow, and to its reports.

Metadata and MLflow's notes keep a link for ever, and the ports of the pages change from one `visor ui` to the next. So
links name the port that the home keeps (`assets_defs.machinery.links`), and this sends them on: `/mlflow/…` and
`/dagster/…` to the pages of now, `/files/…` to reports, episode pages, pictures and logs. It listens on this machine
alone, hands out no other file, and answers to its own name only, so that no page from elsewhere can read through it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from assets_defs.machinery.links import ADDRESS, FILES
from visor_core.config import Home

KINDS = {
    ".html": "text/html; charset=utf-8",
    ".png": "image/png",
    ".log": "text/plain; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".json": "application/json",
}
"""Files that are handed out, and as what."""
PLACES = ("assets", "evaluations", "reports")
"""Folders of the home that they lie in."""


class Doorway:
    """A server of redirects and files in a thread of its own, from its making until `close`."""

    def __init__(self, home: Home, port: int, pages: Mapping[str, str]) -> None:
        """Begin to listen.

        Args:
            pages: addresses of the pages of now, by the first part of the paths that lead there.

        Raises:
            OSError: if the port is taken.
        """

        class Handler(_Handler):
            place, leads = home, pages

        self._server = ThreadingHTTPServer((ADDRESS, port), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    """One request."""

    place: Home
    leads: Mapping[str, str]
    server_version = "visor"

    def do_GET(self) -> None:
        """Answer with a redirect, a file, or why there is none."""
        host = (self.headers.get("Host") or "").rpartition(":")[0]
        if host not in (ADDRESS, "localhost"):
            self._say(HTTPStatus.FORBIDDEN, f"this answers to {ADDRESS} only")
            return
        parts = urlsplit(self.path)
        first, _, rest = parts.path.lstrip("/").partition("/")
        if page := self.leads.get(first):
            # A browser takes the part after # along, which names the run on MLflow's page.
            query = f"?{parts.query}" if parts.query else ""
            self._send(HTTPStatus.FOUND, {"Location": f"{page}/{rest}{query}"}, b"")
        elif first == FILES and (path := file_of(self.place, unquote(rest))) is not None:
            self._send(HTTPStatus.OK, {"Content-Type": KINDS[path.suffix]}, path.read_bytes())
        elif first == FILES:
            self._say(HTTPStatus.NOT_FOUND, f"no page, picture or log at {unquote(rest)} in this VISOR_HOME")
        else:
            self._say(HTTPStatus.NOT_FOUND, f"links of {self.place.root} begin with {', '.join((*self.leads, FILES))}")

    def _say(self, status: HTTPStatus, text: str) -> None:
        self._send(status, {"Content-Type": KINDS[".txt"]}, f"{text}\n".encode())

    def _send(self, status: HTTPStatus, headers: Mapping[str, str], content: bytes) -> None:
        self.send_response(status)
        told = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
        for name, value in {**headers, **told, "Content-Length": str(len(content))}.items():
            self.send_header(name, "".join(value.splitlines()))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the terminal is that of `visor ui`."""


def file_of(home: Home, name: str) -> Path | None:
    """The file of a home that may be handed out under a name; None for every other."""
    root = home.root.resolve()
    try:
        path = (root / name).resolve()
        inside = path.relative_to(root).parts
    except (ValueError, OSError):  # another place, or no name of a file
        return None
    allowed = len(inside) > 1 and inside[0] in PLACES and path.suffix in KINDS and path.is_file()
    return path if allowed else None
