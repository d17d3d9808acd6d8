"""What the user named → files to read: paths, folders (without symlink loops) and remote addresses.

Each file is copied once into the corpus under the hash of its bytes, so that what is parsed is what was hashed,
whatever happens to the original meanwhile. A source that cannot be read is refused with its reason; the rest goes on.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import NamedTuple
from urllib.parse import SplitResult, parse_qsl, unquote, unquote_to_bytes, urlsplit

from visor_core.documents.formats import ATTACHED, CONVERTED, KINDS, SUFFIXES
from visor_core.errors import DocumentError
from visor_core.metadata import is_sidecar

_CHUNK = 1 << 20
_LONGEST_NAME = 160
_SIGNING = re.compile(
    r"x-(amz|goog)-.*|signature|expires|awsaccesskeyid|googleaccessid|key-pair-id|policy"
    r"|sig|se|st|sp|sv|sr|spr|sip|skoid|sktid|skt|ske|sks|skv",
    re.IGNORECASE,
)
"""Query parameters that sign an address (S3, CloudFront, Google, Azure)."""


@dataclass(frozen=True, slots=True)
class Source:
    """A document's origin. `path` is none for a remote source that is not fetched yet, from `address`.

    `uri` is its identity, fit to be stored and shown; the address may carry a signature.
    """

    uri: str
    filename: str
    path: Path | None
    partition: str = ""
    address: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Refused:
    """A source that did not become a document, and why."""

    uri: str
    filename: str
    reason: str


def is_remote(source: str) -> bool:
    """Whether a source is an address (`scheme://…`) rather than a path."""
    scheme, separator, _ = source.partition("://")
    return bool(separator) and scheme.isalnum() and scheme.lower() != "file"


def shown_address(address: str) -> str:
    """A remote address fit to be stored and shown: its query, which may be a signature, as a hash of 16 digits.

    Parameters that sign an address do not count, so that one signed anew stays the same source. An address with a name
    and a password keeps neither, one that cannot be parsed nothing but its scheme.
    """
    try:
        parts = urlsplit(address)
        parameters = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:
        return f"{address.partition('://')[0]}://…"
    netloc = f"…@{parts.netloc.rpartition('@')[2]}" if _has_login(parts) else parts.netloc
    meant = [(name, value) for name, value in parameters if not _SIGNING.fullmatch(name)]
    query = hashlib.sha256(repr(meant).encode()).hexdigest()[:16] if meant else ""
    fragment = "" if parts.scheme in ("http", "https") else parts.fragment  # of an object's name it is a part
    return parts._replace(netloc=netloc, query=query, fragment=fragment).geturl()


def _has_login(parts: SplitResult) -> bool:
    """Whether an address carries credentials; `container@account` of Azure is none."""
    login, at, _ = parts.netloc.rpartition("@")
    return bool(at) and (parts.scheme in ("http", "https") or ":" in login)


def _remote(address: str) -> Source:
    """A remote address as a source.

    Raises:
        DocumentError: if it cannot be parsed or carries a name and a password.
    """
    try:
        parts = urlsplit(address)
    except ValueError as error:
        raise DocumentError(f"the address cannot be parsed: {error}") from error
    if _has_login(parts):
        raise DocumentError("the address carries a name or password: use an address without, or a signed one")
    name = unquote(parts.path.rsplit("/", 1)[-1]) or parts.netloc
    return Source(shown_address(address), display_name(name), None, address=address)


def display_name(name: str) -> str:
    """A file name fit to be shown and stored: composed (NFC), no control, direction or separator characters, at most
    160 of them."""
    kept = "".join(
        c
        for c in unicodedata.normalize("NFC", name)
        if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") and c not in "/\\"
    )
    kept = " ".join(kept.split()).strip(". ") or "document"
    if len(kept) > _LONGEST_NAME:
        stem, dot, suffix = kept.rpartition(".")
        if not dot or len(suffix) > 5:
            return kept[: _LONGEST_NAME - 1] + "…"
        kept = f"{stem[: _LONGEST_NAME - len(suffix) - 2]}….{suffix}"
    return kept


def uri_of(path: Path) -> str:
    """A path as a URI: absolute, hostile characters percent-encoded."""
    return Path(os.path.abspath(path)).as_uri()  # noqa: PTH100 — `resolve` would follow symbolic links


def source_key(uri: str) -> str:
    """What two URIs of one local file have in common: the path with its letters composed (NFC).

    Archives made on a Mac name files in the decomposed form; taken out again elsewhere they may have the other one.
    Addresses stand for themselves.
    """
    if not uri.startswith("file://"):
        return uri
    path, attached, name = uri.partition(ATTACHED)
    return unicodedata.normalize("NFC", os.fsdecode(unquote_to_bytes(urlsplit(path).path))) + attached + name


def local_path(given: str | Path) -> Path:
    """The path that a source names which is no address: a path, with `~` for the home, or a `file://` URI.

    A `~` that begins a file's own name (`~$report.pdf`) stands for itself, as it does where nobody is called so.
    """
    text = str(given)
    if text.startswith("file://"):
        return Path(os.fsdecode(unquote_to_bytes(urlsplit(text).path)))
    path = Path(given)
    if not text.startswith("~") or (path.parts[0] != "~" and os.path.lexists(path)):
        return path
    try:
        return path.expanduser()
    except RuntimeError:
        return path


class Expanded(NamedTuple):
    """What sources stand for: files to read, what was refused, and files that are not looked at, each with why."""

    found: list[Source]
    refused: list[Refused]
    skipped: list[Refused]


def expand(sources: Sequence[str | Path], *, partition_of: Callable[[Path], str] | None = None) -> Expanded:
    """Files behind paths, folders and addresses, each once, in a stable order.

    A folder contributes the files under it with a known suffix, by name; symbolic links to folders are followed once.
    """
    found: dict[str, Source] = {}
    refused: list[Refused] = []
    skipped: list[Refused] = []
    for given in sources:
        if isinstance(given, str) and is_remote(given):
            try:
                source = _remote(given)
            except DocumentError as error:
                refused.append(Refused(shown_address(given), "address", str(error)))
            else:
                found.setdefault(source.uri, source)
            continue
        path = local_path(given)
        shown = display_name(path.name or str(path))
        try:
            if path.is_dir():
                unread: list[Refused] = []
                files = list(_walk(path, set(), unread, skipped))
                refused += unread
                if not files and not unread:
                    refused.append(Refused(uri_of(path), shown, "the folder holds no document"))
            elif path.is_file():
                files = [path]
            else:
                files = []
                refused.append(Refused(uri_of(path), shown, _no_file(path)))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            refused.append(Refused(uri_of(path), shown, f"the path cannot be read: {reason}"))
            continue
        for file in files:
            uri = uri_of(file)
            partition = partition_of(file) if partition_of else ""
            found.setdefault(uri, Source(uri, display_name(file.name), file, partition))
    passed = {item.uri: item for item in skipped if item.uri not in found}
    return Expanded(list(found.values()), refused, list(passed.values()))


def _no_file(path: Path) -> str:
    """Why a path is no file that can be read."""
    if not os.path.lexists(path):
        return "there is no such file or folder"
    if path.is_symlink() and not path.exists():
        return "it is a link to nothing, or a loop of links"
    return "it is not a regular file"


def _walk(folder: Path, seen: set[tuple[int, int]], unread: list[Refused], skipped: list[Refused]) -> Iterator[Path]:
    """Files under a folder in name order; a folder reached twice (a symlink loop) is entered once.

    What the system does not let be looked at, and what has the suffix of a document and is none, goes to `unread`,
    files of other kinds to `skipped`.
    """
    try:
        status = folder.stat()
        entries = sorted(folder.iterdir(), key=lambda p: os.fsencode(p.name))
    except OSError as error:
        unread.append(_unread(folder, error))
        return
    if (status.st_dev, status.st_ino) in seen:
        skipped.append(Refused(uri_of(folder), display_name(folder.name), "the folder is read by another path already"))
        return
    seen.add((status.st_dev, status.st_ino))
    for entry in entries:
        try:
            is_folder, is_file = entry.is_dir(), entry.is_file()
        except OSError as error:
            unread.append(_unread(entry, error))
            continue
        if is_folder:
            yield from _walk(entry, seen, unread, skipped)
        elif is_sidecar(entry.name):
            continue
        elif entry.name.startswith("~$"):
            why = "it is what an office program leaves of a document that is open"
            skipped.append(Refused(uri_of(entry), display_name(entry.name), why))
        elif entry.suffix.lower() in SUFFIXES:
            if is_file:
                yield entry
            else:
                unread.append(Refused(uri_of(entry), display_name(entry.name), _no_file(entry)))
        elif not is_file:
            skipped.append(Refused(uri_of(entry), display_name(entry.name), _no_file(entry)))
        else:
            skipped.append(Refused(uri_of(entry), display_name(entry.name), unread_kind(entry)))


def unread_kind(path: PurePath) -> str:
    """Why a file of a folder is not looked at."""
    suffix = display_name(path.suffix.lower()) if path.suffix else ""
    kind = f"files of the kind .{suffix}" if suffix else "files without a suffix"
    return f"{kind} are not read in a folder: {KINDS} are"


def _unread(path: Path, error: OSError) -> Refused:
    return Refused(uri_of(path), display_name(path.name), f"it cannot be read: {error.strerror or error}")


def is_gone(uri: str) -> bool:
    """Whether a local file is known not to be there; false if the system does not say (no permission, no answer)."""
    try:
        local_path(uri).stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def document_id_of(path: Path) -> str:
    """The id a file's bytes give its document: the first 32 hex digits of their SHA-256."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()[:32]


def keep_copy(path: Path, folder: Path, max_bytes: int) -> tuple[str, Path, int]:
    """Copy a file into `folder` under the hash of its bytes; nothing is written if it is there already, undamaged.

    Returns:
        document id, path of the copy, size in bytes.

    Raises:
        DocumentError: if the file is too large, cannot be read, or changes while it is read (after three tries).
    """
    for _ in range(3):
        try:
            before = path.stat()
            if before.st_size > max_bytes:
                raise DocumentError(
                    f"the file has {before.st_size:,} bytes, more than documents.max_bytes = {max_bytes:,}"
                )
            document_id = document_id_of(path)
            target = stored_path(folder, document_id)
            if not target.exists() or document_id_of(target) != document_id:
                copied = _copy(path, target, max_bytes)
                if copied != document_id:
                    continue
            after = path.stat()
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise  # not the file's fault: the run ends
            raise DocumentError(f"the file cannot be copied: {error.strerror or error}") from error
        if (before.st_size, before.st_mtime_ns, before.st_ino) == (after.st_size, after.st_mtime_ns, after.st_ino):
            return document_id, target, after.st_size
    raise DocumentError("the file keeps changing while it is read: ingest it again when it is complete")


def stored_path(folder: Path, document_id: str) -> Path:
    """Where a document's bytes lie under a corpus's sources folder."""
    return folder / document_id[:2] / document_id


def converted_path(folder: Path, document_id: str) -> Path:
    """Where the PDF lies that was made of a document of another kind."""
    return folder / document_id[:2] / f"{document_id}.pdf"


def readable_path(folder: Path, document_id: str, media_type: str) -> Path:
    """What a document's pages are read from: its bytes, or the PDF that was made of them."""
    return (converted_path if media_type in CONVERTED else stored_path)(folder, document_id)


def _copy(path: Path, target: Path, max_bytes: int) -> str:
    """Copy by a partial file and an atomic rename; the id of the bytes that were copied."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("rb") as source, partial.open("wb") as file:
            while chunk := source.read(_CHUNK):
                size += len(chunk)
                if size > max_bytes:
                    raise DocumentError(f"the file grew beyond documents.max_bytes = {max_bytes:,} while it was read")
                digest.update(chunk)
                file.write(chunk)
        if digest.hexdigest()[:32] == target.name:
            partial.rename(target)
    finally:
        partial.unlink(missing_ok=True)
    return digest.hexdigest()[:32]
