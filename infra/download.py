"""`pip install` that says at the end how much it downloaded; for the Makefile, with the standard library alone.

The arguments are pip's own. pip's progress is passed through; sizes are read from its "Downloading … (1.2 MB)" lines.
"""

import re
import subprocess
import sys
import time

UNITS = {"bytes": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}


def size_of(line: str) -> float:
    """Bytes named by a "Downloading … (12.3 MB)" line of pip, else 0."""
    found = re.search(r"Downloading .*\(([\d.]+) (bytes|kB|MB|GB)\)", line)
    return float(found[1]) * UNITS[found[2]] if found else 0.0


def main() -> int:
    """Install; returns pip's exit status."""
    command = [sys.executable, "-m", "pip", "install", "--progress-bar", "off", *sys.argv[1:]]
    print("installing:", *sys.argv[1:], flush=True)
    began, total, packages = time.monotonic(), 0.0, 0
    pip = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert pip.stdout is not None
    for line in pip.stdout:
        size = size_of(line)
        total += size
        packages += size > 0
        if line.startswith(("Successfully installed", "ERROR", "Building")):
            print(line.rstrip()[:160], flush=True)
        elif size:
            print(f"  {total / 1e6:8.1f} MB  {line.strip()[:110]}", flush=True)
    status = pip.wait()
    if status == 0:
        print(f"downloaded {total / 1e6:.0f} MB in {packages} packages, {time.monotonic() - began:.0f} s", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
