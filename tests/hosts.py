"""Simulated hosts: network namespaces that reach this machine over one link each, which can be cut and mended."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from servers import missing_server

BRIDGE = "tf-hosts"
HERE = "10.213.7.1"
"""Where the hosts find what listens on the bridge."""


class Host:
    """One of them."""

    def __init__(self, stack: ExitStack, number: int) -> None:
        self.name, self._link = f"tf-host-{number}", f"tf-link-{number}"
        _ip("netns", "add", self.name)
        stack.callback(_ip, "netns", "delete", self.name)
        _ip("link", "add", self._link, "type", "veth", "peer", "name", "out", "netns", self.name)
        _ip("link", "set", self._link, "master", BRIDGE, "up")
        _ip("-n", self.name, "address", "add", f"10.213.7.{10 + number}/24", "dev", "out")
        for link in ("lo", "out"):
            _ip("-n", self.name, "link", "set", link, "up")

    def command(self, *arguments: str) -> list[str]:
        """What runs a command there; its process id is the command's own."""
        return ["ip", "netns", "exec", self.name, *arguments]

    def cut(self) -> None:
        """Whatever is sent from now on arrives nowhere, and nobody is told."""
        _ip("link", "set", self._link, "down")

    def mend(self) -> None:
        """It is there again."""
        _ip("link", "set", self._link, "up")


@contextmanager
def hosts(count: int) -> Iterator[list[Host]]:
    """So many hosts. The test is skipped where namespaces may not be made, not where only the program is missing."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("simulated hosts need Linux and root")
    if shutil.which("ip") is None:
        missing_server("no ip is installed (iproute2)")
    with ExitStack() as stack:
        try:
            _ip("link", "add", BRIDGE, "type", "bridge")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no network namespaces may be made here: {error.stderr.strip()}")
        stack.callback(_ip, "link", "delete", BRIDGE)
        _ip("address", "add", f"{HERE}/24", "dev", BRIDGE)
        _ip("link", "set", BRIDGE, "up")
        yield [Host(stack, number) for number in range(count)]


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True, timeout=30)
