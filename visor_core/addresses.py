"""Folders as the libraries below want them named: a path is never pasted into an address.

Lance encodes letters beyond ASCII, `#`, `?` and `%` in some of the paths it writes, and not in others. SQLAlchemy takes
`?` for the start of its options and decodes `%20`; Dagster and MLflow paste the same path into its address and into
folders they make, so that no spelling is right for both. Each function here gives one of them an address that means
the folder asked for, whatever its name.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path
from urllib.parse import quote

from visor_core.errors import ConfigError


def lance_address(folder: Path) -> str:
    """LanceDB's address of a folder: its path, or an address of the scheme whose paths Lance decodes throughout.

    >>> lance_address(Path("/data/corpus"))
    '/data/corpus'
    >>> lance_address(Path("/data/ä"))
    'file-object-store:///data/%C3%A4'
    """
    absolute = folder.absolute()
    if re.fullmatch(r"[A-Za-z0-9 /._~+=,@()-]*", str(absolute)):
        return str(folder)
    return f"file-object-store://{quote(os.fsencode(absolute))}"


def pasteable(folder: Path) -> Path:
    """A path of a folder that may be pasted into an address: its own, or that of a link in the temporary folder.

    The link is made anew where it is missing. It belongs to this user alone and its name is a hash of the folder's.

    Raises:
        ConfigError: if the folder for links belongs to somebody else.
    """
    if not re.search(r"[%?#]", str(folder)):
        return folder
    links = Path(tempfile.gettempdir()) / f"visor-links-{os.getuid()}"
    try:
        links.mkdir(mode=0o700, exist_ok=True)
        held = links.lstat()
        if held.st_uid != os.getuid() or held.st_mode & 0o022 or links.is_symlink():
            raise ConfigError(f"{links} belongs to somebody else: remove it, or set TMPDIR to a folder of your own")
        link = links / hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
        if not (link.is_symlink() and link.readlink() == folder):
            fresh = link.with_name(f"{link.name}.{os.getpid()}")
            fresh.symlink_to(folder, target_is_directory=True)
            fresh.replace(link)
    except OSError as error:
        raise ConfigError(f"{links} cannot be written: {error.strerror or error}; set TMPDIR to a folder") from error
    return link
