"""`pip install` that says at the end how much it took; for the Makefile, with the standard library alone.

The arguments are pip's own. pip's progress is passed through; sizes are read from its lines: what is downloaded, and
what this machine already holds (pip's cache, local wheels), which another machine would download too.
"""

import re
import subprocess
import sys
import time
from pathlib import Path

UNITS = {"bytes": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}


def size_of(line: str) -> tuple[float, bool]:
    """Bytes of the package a line of pip names, 0 if it names none; and whether they come over the network."""
    found = re.search(r"(Downloading|Using cached) .*\(([\d.]+) (bytes|kB|MB|GB)\)", line)
    if found:
        return float(found[2]) * UNITS[found[3]], found[1] == "Downloading"
    local = re.match(r"\s*Processing (\S+\.(?:whl|tar\.gz))", line)
    if local and Path(local[1]).is_file():
        return float(Path(local[1]).stat().st_size), False
    return 0.0, False


def main() -> int:
    """Install; returns pip's exit status."""
    command = [sys.executable, "-m", "pip", "install", "--progress-bar", "off", *sys.argv[1:]]
    print("installing:", *sys.argv[1:], flush=True)
    began, totals, packages = time.monotonic(), {True: 0.0, False: 0.0}, 0
    pip = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert pip.stdout is not None
    for line in pip.stdout:
        size, remote = size_of(line)
        totals[remote] += size
        packages += size > 0
        if size:
            print(f"  {sum(totals.values()) / 1e6:8.1f} MB  {line.strip()[:110]}", flush=True)
        elif line.startswith(("Successfully installed", "ERROR", "error", "  error", "Building")):
            print(line.rstrip()[:400], flush=True)
    status = pip.wait()
    if status == 0:
        print(
            f"{sum(totals.values()) / 1e6:.0f} MB in {packages} packages, of which {totals[True] / 1e6:.0f} MB were "
            f"downloaded and the rest was on this machine; {time.monotonic() - began:.0f} s",
            flush=True,
        )
    return status


if __name__ == "__main__":
    sys.exit(main())
