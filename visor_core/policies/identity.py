"""What decides a policy's replies, as one digest: what is stored of it is found again by this and by nothing else.

An identity is a JSON object. Of a local checkpoint it holds a digest of the files that transformers reads, so that a
folder may be moved, and one whose weights were replaced is another policy. What a policy only reports stands under
`recorded` and is not digested. Left out: the machine, on which results agree up to rounding.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from visor_core.code_version import code_behind, code_version
from visor_core.errors import PolicyError
from visor_core.files import whole_file

Identity = dict[str, Any]

READ = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken", "*/*.jinja")
"""What transformers, its tokenizers and its processors may read of a checkpoint folder."""
NOTES = frozenset({"lineage.json", "trainer_state.json", "stage.json", "README.txt", "LICENSE.txt", "requirements.txt"})
"""Files of such a name that only tell about a checkpoint."""

_FileState = tuple[str, int, int, int]


def digest_of(identity: Identity) -> str:
    """The digest (16 hex digits) of an identity without what is `recorded`."""
    decides = {key: value for key, value in identity.items() if key != "recorded"}
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]


@cache
def policy_code(module: str) -> str:
    """The code version of a policy's module and of what it imports of its package."""
    return code_version(*code_behind(module, within=("visor_core.policies",)))


def checkpoint_digest(checkpoint: Path | str, known: Path | None = None) -> str:
    """The digest (16 hex digits) of a checkpoint's files: names and contents, not the folder's own name nor any time.

    Args:
        checkpoint: a Hugging Face folder, or a hub id whose snapshot was downloaded.
        known: a file that keeps the hashes of files by path, size and time, so that a large one is read once.

    Raises:
        PolicyError: if there is no such folder, or a file cannot be read.
    """
    folder = _folder_of(checkpoint)
    files = sorted({path for pattern in READ for path in folder.glob(pattern) if path.is_file()})
    hashes = _Hashes(known)
    digest = hashlib.sha256()
    try:
        for path in files:
            if path.name not in NOTES:
                digest.update(f"{path.relative_to(folder).as_posix()} {hashes.of(path)}\n".encode())
    except OSError as error:
        raise PolicyError(f"the checkpoint {checkpoint} cannot be read: {error}") from error
    hashes.keep()
    return digest.hexdigest()[:16]


def _folder_of(checkpoint: Path | str) -> Path:
    """The folder of a checkpoint: itself, or the downloaded snapshot of a hub id, which is named after its commit."""
    folder = Path(checkpoint)
    if folder.is_dir():
        return folder
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(str(checkpoint), "config.json")
    if not isinstance(found, str):
        raise PolicyError(f"no checkpoint at {checkpoint}, and no download of that name: which weights are meant?")
    return Path(found).parent


class _Hashes:
    """SHA-256 of files, remembered by path, size and times of change, in a JSON file if one is given."""

    def __init__(self, known: Path | None) -> None:
        self._path = known
        self._new: dict[_FileState, str] = {}
        self._known: dict[_FileState, str] = _remembered(known) if known is not None else {}

    def of(self, path: Path) -> str:
        """The hash of a file's content."""
        resolved = path.resolve()
        status = resolved.stat()
        # The time of the last change of the inode tells a copy that was given the old one's time of modification.
        state = (str(resolved), status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        if state not in self._known:
            with resolved.open("rb") as handle:
                self._known[state] = self._new[state] = hashlib.file_digest(handle, "sha256").hexdigest()
        return self._known[state]

    def keep(self) -> None:
        """Add what was hashed to the file, and leave out what is no longer as it was."""
        if self._path is None or not self._new:
            return
        current = {state: value for state, value in (_remembered(self._path) | self._new).items() if _holds(state)}
        try:
            with whole_file(self._path, several_writers=True) as partial:
                partial.write_text(json.dumps([[*state, value] for state, value in current.items()]), encoding="utf-8")
        except OSError:
            # Only time is lost: what cannot be kept is hashed again by the next command.
            return


def _remembered(path: Path) -> dict[_FileState, str]:
    """The hashes a file keeps; none of a missing or damaged one."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return {(str(name), int(size), int(time), int(change)): str(value) for name, size, time, change, value in rows}
    except (OSError, ValueError, TypeError):
        return {}


def _holds(state: _FileState) -> bool:
    """Whether a file is still as it was when it was hashed."""
    name, size, modified, changed = state
    try:
        status = Path(name).stat()
    except OSError:
        return False
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns) == (size, modified, changed)
