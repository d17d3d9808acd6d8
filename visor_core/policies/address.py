"""Where an endpoint is: the address requests go to, which may hold a login or a key, and how it may be shown."""

from __future__ import annotations

import unicodedata
from urllib.parse import parse_qsl, unquote, urlsplit

import httpx
from pydantic import SecretStr

from visor_core.errors import PolicyError
from visor_core.network import has_secret, without_secrets

_SHORTEST = 4
"""Letters below which a secret is not looked for in a text: it would be found everywhere."""
_QUOTED = 6
"""Letters from which the beginning or end of a key is not shown either."""


class Address:
    """The chat completions of the server at `base_url` (up to and including `/v1`, a query after it).

    Attributes:
        url: where requests go, secrets included.
        shown, base: the same and `base_url` without secrets, to be printed and stored.
        server: `base` without the place of a login: which server it is, whoever asks.
        secret: whether there is anything to hide.

    Raises:
        PolicyError: if `base_url` is not http(s), or names no host or no port there is.
    """

    def __init__(self, base_url: str) -> None:
        self.base = without_secrets(base_url).rstrip("/")
        try:
            parts = urlsplit(base_url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
            httpx.URL(base_url)
        except (ValueError, httpx.InvalidURL):
            usable = False
        if not usable:
            raise PolicyError(f"the endpoint {self.base!r} is no address: give it as http(s)://host:port/v1")
        self._parts = parts
        shown = urlsplit(self.base)
        self.server = shown._replace(netloc=shown.netloc.rpartition("@")[2], fragment="").geturl()
        url = self.at("chat/completions")
        self.url = SecretStr(url)
        self.shown = without_secrets(url)
        self.secret = has_secret(url)

    def at(self, path: str) -> str:
        """The address of another route under `base_url`, secrets included."""
        return self._parts._replace(path=f"{self._parts.path.rstrip('/')}/{path}", fragment="").geturl()

    def masked(self, text: str, key: str = "") -> str:
        """A text in which neither a key nor what is secret in the address stands."""
        url = self.url.get_secret_value()
        parts = urlsplit(url)
        text = text.replace(url, self.shown)
        secrets = [key, parts.netloc.rpartition("@")[0], parts.password or ""]
        if self.secret:
            secrets += [value for _, value in parse_qsl(parts.query) if value not in self.shown]
        for found in {*secrets, *map(unquote, secrets)}:
            if len(found) >= _SHORTEST:
                text = text.replace(found, "…")
        # Some servers quote the beginning or the end of a key.
        for n in range(len(key) - 1, _QUOTED - 1, -1):
            text = text.replace(key[:n], "…").replace(key[-n:], "…")
        # Control characters of a server's words would reach the terminal.
        return "".join(" " if unicodedata.category(c) == "Cc" else c for c in text)
