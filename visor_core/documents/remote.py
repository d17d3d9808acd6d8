"""Remote sources: http(s) by httpx with every address checked, S3, GCS and Azure by fsspec; size and time limits.

A host is resolved once and the connection is made to the address that was checked, so that a second answer of the name
server cannot lead elsewhere; every redirect is checked again. Addresses that are not public (`network.is_public`) are
refused unless `documents.allow_private_addresses` is set. Where the environment names a proxy it is the proxy that
resolves and connects: the host is then checked as far as this machine can resolve it.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO
from urllib.parse import urljoin, urlsplit

from visor_core.config import DocumentsConfig
from visor_core.documents.formats import SUFFIXES
from visor_core.documents.patience import OverdueError, Patience
from visor_core.documents.sources import Refused, display_name, shown_address, unread_kind
from visor_core.errors import DocumentError
from visor_core.installation import install_command
from visor_core.network import client_options, is_public

_OBJECT_STORES = frozenset({"s3", "gs", "gcs", "az", "abfs", "abfss", "memory"})
_MAX_REDIRECTS = 5
_CHUNK = 1 << 18
_LOOKUP_SECONDS = 3.0
"""How long a host is looked up that a proxy will resolve anyway."""


def is_object_store(source: str) -> bool:
    """Whether a source is an address in S3, GCS or Azure."""
    scheme, separator, _ = source.partition("://")
    return bool(separator) and scheme.lower() in _OBJECT_STORES


def list_folders(
    sources: Sequence[str | Path], config: DocumentsConfig, patience: Patience
) -> tuple[list[str | Path], list[Refused], list[Refused]]:
    """The sources, with every bucket or folder of an object store replaced by the addresses of its documents by name.

    An address that ends like a document is one. A folder that cannot be listed in time, or holds no document, is
    refused. Objects of other kinds are skipped.

    Returns:
        sources, refused, skipped.
    """
    found: list[str | Path] = []
    refused: list[Refused] = []
    skipped: list[Refused] = []
    for source in sources:
        if not isinstance(source, str) or not is_object_store(source) or _is_document(source):
            found.append(source)
            continue
        try:
            documents, others = _objects_under(source, config, patience)
            found += documents
            for other in map(shown_address, others):
                name = PurePosixPath(other.partition("?")[0])
                skipped.append(Refused(other, display_name(name.name), unread_kind(name)))
        except DocumentError as error:
            shown = shown_address(source)
            refused.append(Refused(shown, display_name(shown.rstrip("/").rpartition("/")[2]), str(error)))
    return found, refused, skipped


def _is_document(name: str) -> bool:
    return not name.endswith("/") and PurePosixPath(name).suffix.lower() in SUFFIXES


def _objects_under(address: str, config: DocumentsConfig, patience: Patience) -> tuple[list[str], list[str]]:
    """The addresses of documents, and of other objects, under a folder of an object store; the address itself if it is
    none.

    Raises:
        DocumentError: if the store cannot be asked, or the folder holds no document.
    """
    import fsspec

    def listed() -> tuple[str, list[str] | None]:
        store, folder = fsspec.url_to_fs(address)
        store.invalidate_cache()  # a listing of an earlier run in this process is not the folder as it is
        return folder, (store.find(folder) if store.isdir(folder) else None)

    with _store_faults(address, "the listing", config):
        folder, found = patience.call(listed, config.download_timeout_seconds)
    if found is None:
        return [address], []
    if not any(map(_is_document, found)):
        raise DocumentError(f"{_shown(address)} holds no document")
    # Not put together from the names alone: an address may say more (the account, in Azure) than they do.
    whole = {name: f"{address.rstrip('/')}/{name[len(folder) :].lstrip('/')}" for name in sorted(found)}
    documents = [at for name, at in whole.items() if _is_document(name)]
    return documents, [at for name, at in whole.items() if not _is_document(name)]


@contextmanager
def _store_faults(address: str, what: str, config: DocumentsConfig) -> Iterator[None]:
    """Whatever an object store's library raises, of whichever family, as a DocumentError that names the address.

    Raises:
        DocumentError: in its place.
        OSError: if this machine's disk is full, which is no fault of the address.
    """
    if "::" in address:
        raise DocumentError(f"{_shown(address)} is a chain of file systems (::), which is not read")
    try:
        yield
    except DocumentError:
        raise
    except OverdueError as error:
        raise _overdue(what, config) from error
    except ImportError as error:
        raise DocumentError(f"{_shown(address)} needs the extra `remote`: `{install_command('remote')}`") from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise
        raise DocumentError(_failure(address, error)) from error


@contextmanager
def fetch(address: str, config: DocumentsConfig, folder: Path, patience: Patience) -> Iterator[Path]:
    """Download a remote source to a temporary file under `folder`, removed at the end.

    Raises:
        DocumentError: if the address is malformed, refused or unknown, or a limit is exceeded.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f".fetch.{os.getpid()}.partial"
    scheme = address.partition("://")[0].lower()
    try:
        if scheme in ("http", "https"):
            _fetch_http(address, target, config, patience)
        elif scheme in _OBJECT_STORES:
            _fetch_object(address, target, config, patience)
        else:
            raise DocumentError(f"addresses of kind {scheme}:// are not read: use http(s), s3, gs, az or a path")
        yield target
    finally:
        target.unlink(missing_ok=True)


def checked_address(host: str, port: int, *, allow_private: bool) -> str:
    """One address of a host that may be connected to.

    Raises:
        DocumentError: if the host is unknown or any of its addresses is private and that is not allowed.
    """
    try:
        answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, ValueError) as error:
        raise DocumentError(f"the host {host!r} cannot be resolved") from error
    addresses = [str(answer[4][0]).partition("%")[0] for answer in answers]
    for text in addresses:
        if not allow_private and not is_public(text):
            raise DocumentError(
                f"the host {host!r} has the private or local address {text}: "
                "set documents.allow_private_addresses to read from it"
            )
    return addresses[0]


def _fetch_http(address: str, target: Path, config: DocumentsConfig, patience: Patience) -> None:
    import httpx

    deadline = time.monotonic() + config.download_timeout_seconds
    for _ in range(_MAX_REDIRECTS + 1):
        try:
            found = _request(address, target, config, deadline, patience)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            # ValueError: what the standard library says of an address or host that is none.
            raise DocumentError(_failure(address, error)) from error
        if found is None:
            return
        address = found
    raise DocumentError(f"the address redirects more than {_MAX_REDIRECTS} times")


def _request(address: str, target: Path, config: DocumentsConfig, deadline: float, patience: Patience) -> str | None:
    """One request; the address it redirects to, or None once the file is saved."""
    import httpx

    parts = urlsplit(address)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    if not parts.hostname:
        raise DocumentError(f"the address {_shown(address)} names no host")
    options = client_options(address)
    # A compressed answer would be inflated before its size is known.
    headers = {"Accept-Encoding": "identity"}
    extensions: dict[str, Any] = {}
    if options["proxy"] is None:
        checked = _resolved(parts.hostname, port, config, deadline, patience)
        literal = f"[{checked}]" if ":" in checked else checked
        headers["Host"] = parts.hostname if parts.port is None else f"{parts.hostname}:{parts.port}"
        extensions["sni_hostname"] = parts.hostname
        target_address = parts._replace(netloc=f"{literal}:{port}").geturl()
    else:
        _check_behind_proxy(parts.hostname, port, config, deadline, patience)
        target_address = address
    limit = httpx.Timeout(max(0.1, min(20.0, deadline - time.monotonic())))
    with (
        httpx.Client(timeout=limit, follow_redirects=False, **options) as client,
        client.stream("GET", target_address, headers=headers, extensions=extensions) as reply,
    ):
        if reply.is_redirect:
            following = urljoin(address, reply.headers.get("location", ""))
            if urlsplit(following).scheme not in ("http", "https"):
                raise DocumentError(f"the address redirects to {_shown(following)}, which is not http(s)")
            return following
        if reply.status_code != 200:
            raise DocumentError(f"the server answered {reply.status_code} for {_shown(address)}")
        encoding = reply.headers.get("content-encoding", "identity")
        if encoding.lower() != "identity":
            raise DocumentError(f"the server sent {_shown(address)} compressed ({encoding[:40]}), unasked")
        # Without a chunk size: a chunk is what came, so that the deadline is looked at however slowly it comes.
        with target.open("wb") as file:
            _save(reply.iter_raw(), file, config, deadline)
    return None


def _resolved(host: str, port: int, config: DocumentsConfig, deadline: float, patience: Patience) -> str:
    """The address of a host that may be connected to, looked up before the deadline."""
    resolved = partial(checked_address, host, port, allow_private=config.allow_private_addresses)
    try:
        return patience.call(resolved, deadline - time.monotonic())
    except OverdueError as error:
        raise _overdue("looking up the host", config) from error


def _check_behind_proxy(host: str, port: int, config: DocumentsConfig, deadline: float, patience: Patience) -> None:
    """Refuse a host that this machine knows as private; behind a proxy it need not know public ones at all.

    Raises:
        DocumentError: if it is private and that is not allowed.
    """
    try:
        known = patience.call(
            partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM),
            min(_LOOKUP_SECONDS, deadline - time.monotonic()),
        )
    except (OSError, ValueError, OverdueError):
        return
    if known:
        _resolved(host, port, config, deadline, patience)


def _fetch_object(address: str, target: Path, config: DocumentsConfig, patience: Patience) -> None:
    import fsspec

    deadline = time.monotonic() + config.download_timeout_seconds

    def download(file: BinaryIO) -> None:
        with fsspec.open(address, "rb") as remote:
            _save(iter(lambda: remote.read(_CHUNK), b""), file, config, deadline)

    # The file is opened here and closed for a download that is given up: it cannot write into the next one's.
    with _store_faults(address, "the download", config), target.open("wb") as file:
        patience.call(lambda: download(file), config.download_timeout_seconds)


def _shown(address: str) -> str:
    return shown_address(address)[:200]


def _failure(address: str, error: Exception) -> str:
    """Why an address could not be fetched, in one line without its query, which libraries repeat."""
    told = " ".join(str(error).replace(address, "").split())
    query = address.partition("?")[2]
    if query:
        told = told.replace(query, "…")
    return f"{_shown(address)} cannot be fetched: {type(error).__name__} {told}".strip()[:300]


def _overdue(what: str, config: DocumentsConfig) -> DocumentError:
    seconds = config.download_timeout_seconds
    return DocumentError(f"{what} took longer than documents.download_timeout_seconds = {seconds:g}")


def _save(chunks: Iterator[bytes], file: BinaryIO, config: DocumentsConfig, deadline: float) -> None:
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > config.max_bytes:
            raise DocumentError(f"the file has more bytes than documents.max_bytes = {config.max_bytes:,}")
        if time.monotonic() > deadline:
            raise _overdue("the download", config)
        file.write(chunk)
