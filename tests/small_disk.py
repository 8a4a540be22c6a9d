"""A file system of a few megabytes that a test can fill to the brim."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class SmallDisk:
    """A folder that is a file system of its own."""

    folder: Path

    def fill(self, *, leave_bytes: int = 0) -> Path:
        """The file that takes what is free, but so much; without it there is space again."""
        filler = self.folder / "filler"
        with filler.open("wb") as file:
            left = os.statvfs(self.folder).f_bavail * os.statvfs(self.folder).f_frsize - leave_bytes
            file.write(b"\0" * max(left, 0))
        return filler


@contextmanager
def small_disk(folder: Path, *, size_bytes: int) -> Iterator[SmallDisk]:
    """A tmpfs at this folder. Skips, and says why, where this process may not mount one."""
    folder.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no small file system to fill: {mounted.stderr.strip()}")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
