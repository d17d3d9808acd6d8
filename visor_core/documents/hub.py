"""Files of a dataset of the Hugging Face hub, by a pinned revision: listed with sizes, and fetched so that a kill costs
little.

The hub's own client lists a revision and says who may read it (`HF_TOKEN`, `HF_ENDPOINT`). It begins an interrupted
file from its start; here a file goes on from where it was, by a range request, and takes its name only when its bytes
have the hash of the listing. The commit is asked for by its 40 digits: what was half fetched stays the same file.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from visor_core.errors import ConfigError, DocumentError
from visor_core.network import client_options

_CHUNK = 1 << 18
_ATTEMPTS = 4
_PATIENCE = 30.0
"""Seconds without a byte after which a connection is given up."""
_IN_A_ROW = 5
"""Files that fail one after the other before the hub is taken to be away."""
PARTIAL = ".part"


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file of a revision. `sha256` is known of large files, `blob` (git's SHA-1) of the others."""

    path: str
    size: int
    sha256: str = ""
    blob: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """A file that could not be fetched, and why."""

    path: str
    reason: str


class HubError(ConfigError):
    """The hub cannot be used as asked; the message says what to do."""


def require_commit(revision: str, repository: str) -> str:
    """A revision that names a commit and nothing that moves.

    Raises:
        HubError: if it is none.
    """
    if re.fullmatch(r"[0-9a-f]{40}", revision):
        return revision
    raise HubError(
        f"--revision {revision!r} of {repository} is no commit of 40 digits: a branch moves; its page on the hub names"
        " the commits under `History`"
    )


def list_files(repository: str, revision: str) -> list[HubFile]:
    """The files of a dataset at a commit.

    Raises:
        HubError: if it does not exist, may not be read, or the hub does not answer.
    """
    import huggingface_hub
    from huggingface_hub import constants, errors

    endpoint = constants.ENDPOINT
    # Its own errors, and those of the client that this version of the hub's tools uses.
    unanswered: tuple[type[BaseException], ...] = (errors.HfHubHTTPError, *errors.HfHubHTTPError.__bases__)
    page = f"{endpoint}/datasets/{repository}"
    try:
        info = huggingface_hub.HfApi(endpoint=endpoint).dataset_info(
            repository, revision=revision, files_metadata=True, timeout=_PATIENCE
        )
    except errors.GatedRepoError as error:
        raise HubError(f"{repository} asks for consent: agree to its terms at {page}, then set HF_TOKEN") from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise HubError(f"the hub has no {repository} at {revision}, or HF_TOKEN may not read it: see {page}") from error
    except unanswered as error:
        reason = " ".join(str(error).split())[:200]
        raise HubError(
            f"the hub does not answer for {repository} ({reason}): run again, or give --from FOLDER with its files"
        ) from error
    if info.sha != revision:
        raise HubError(f"the hub answers for {repository} with commit {info.sha}, not {revision}")
    return [
        HubFile(
            path=each.rfilename,
            size=int(each.size or 0),
            sha256=str(each.lfs.sha256) if each.lfs else "",
            blob="" if each.lfs else str(each.blob_id or ""),
        )
        for each in info.siblings or ()
    ]


def chosen(files: Sequence[HubFile], patterns: Sequence[str]) -> list[HubFile]:
    """The files whose path fits one of the patterns and leads out of no folder, by path."""
    return sorted(
        (f for f in files if any(fnmatch(f.path, pattern) for pattern in patterns) and _stays_inside(f.path)),
        key=lambda file: file.path,
    )


def _stays_inside(path: str) -> bool:
    parts = path.replace("\\", "/").split("/")
    return not path.startswith("/") and all(part not in ("", ".", "..") for part in parts)


def missing(files: Sequence[HubFile], folder: Path) -> list[HubFile]:
    """Those that are not in the folder yet."""
    return [file for file in files if not _is_here(file, folder)]


def _is_here(file: HubFile, folder: Path) -> bool:
    path = folder / file.path
    return path.is_file() and path.stat().st_size == file.size


def still_to_fetch(files: Sequence[HubFile], folder: Path) -> int:
    """Bytes that are not here yet."""
    left = 0
    for file in missing(files, folder):
        part = folder / (file.path + PARTIAL)
        left += max(0, file.size - (part.stat().st_size if part.is_file() else 0))
    return left


def fetch(
    repository: str,
    revision: str,
    files: Sequence[HubFile],
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
) -> list[Failed]:
    """Fetch files into a folder, under their paths; those that are here are not asked for.

    A file that cannot be had is named and the others go on, unless one after the other fails.

    Args:
        progress: called with (bytes here, bytes wanted).

    Raises:
        HubError: if the hub is away, or the disk has no room.
    """
    from huggingface_hub import constants
    from huggingface_hub.utils._headers import build_hf_headers

    endpoint = constants.ENDPOINT
    wanted, left = sum(file.size for file in files), still_to_fetch(files, folder)
    folder.mkdir(parents=True, exist_ok=True)
    if left > (free := shutil.disk_usage(folder).free):
        raise HubError(f"{left:,} bytes are to be fetched and {free:,} are free at {folder}: make room")
    here, failed, in_a_row = wanted - left, list[Failed](), 0
    with httpx.Client(
        **client_options(endpoint), headers=build_hf_headers(), follow_redirects=True, timeout=_PATIENCE
    ) as client:
        for file in missing(files, folder):
            url = f"{endpoint}/datasets/{repository}/resolve/{revision}/{quote(file.path)}"
            try:
                for arrived in _fetched(client, url, file, folder / file.path):
                    here += arrived
                    if progress:
                        progress(here, wanted)
                in_a_row = 0
            except DocumentError as error:
                failed.append(Failed(file.path, str(error)))
                in_a_row += 1
                if in_a_row == _IN_A_ROW:
                    raise HubError(
                        f"{_IN_A_ROW} files of {repository} failed one after the other, the last: {file.path}: {error};"
                        " what is here is kept: run again later"
                    ) from error
    return failed


def _fetched(client: httpx.Client, url: str, file: HubFile, target: Path) -> Iterator[int]:
    """Fetch one file, going on from what is here of it; yields how many bytes arrived, less those that were in vain.

    Raises:
        DocumentError: if it cannot be had, or its bytes are not those of the listing.
    """
    part = target.with_name(target.name + PARTIAL)
    part.parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            yield from _rest(client, url, file, part)
            break
        except (httpx.HTTPError, DocumentError) as error:
            final = isinstance(error, DocumentError) or attempt == _ATTEMPTS
            if final:
                raise DocumentError(f"it cannot be fetched: {' '.join(str(error).split())[:200]}") from error
            time.sleep(0.2 * 2**attempt)
    if not _is_as_listed(file, part):
        yield -part.stat().st_size
        part.unlink()
        raise DocumentError("the hub serves other bytes than its listing says: left out")
    part.replace(target)


def _rest(client: httpx.Client, url: str, file: HubFile, part: Path) -> Iterator[int]:
    """The bytes of a file that are not here, written behind those that are."""
    have = part.stat().st_size if part.is_file() else 0
    if have > file.size:
        yield -have
        part.unlink()
        have = 0
    if part.is_file() and have == file.size:
        return
    ranged = {"Range": f"bytes={have}-"} if have else {}
    with client.stream("GET", url, headers={**ranged, "Accept-Encoding": "identity"}) as response:
        if response.status_code in (401, 403):
            raise DocumentError("it may not be read: agree to the dataset's terms on the hub, then set HF_TOKEN")
        if 400 <= response.status_code < 500 and response.status_code not in (408, 416, 429):
            raise DocumentError(f"the hub answers {response.status_code}")
        response.raise_for_status()
        goes_on = response.status_code == 206 and _begins_at(response, have)
        if have and not goes_on:
            yield -have
        with part.open("ab" if goes_on else "wb") as out:
            for chunk in response.iter_raw():  # as it comes: a chunk of a set size would be lost with the connection
                out.write(chunk)
                yield len(chunk)
    if part.stat().st_size != file.size:
        raise httpx.ReadError(f"{part.stat().st_size:,} of {file.size:,} bytes arrived")


def _begins_at(response: httpx.Response, offset: int) -> bool:
    """Whether a partial answer begins where it was asked to."""
    return response.headers.get("content-range", "").startswith(f"bytes {offset}-")


def _is_as_listed(file: HubFile, path: Path) -> bool:
    """Whether a file has the hash that the hub lists for it; one without a hash has its size alone."""
    digest: Any = hashlib.sha256() if file.sha256 else hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)
    with path.open("rb") as handle:
        while chunk := handle.read(_CHUNK):
            digest.update(chunk)
    wanted = file.sha256 or file.blob
    return path.stat().st_size == file.size and wanted in ("", digest.hexdigest())
