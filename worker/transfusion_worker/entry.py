"""Where a child process begins. Free of torch, since the supervisor imports it to name it."""

from typing import Any

OUTPUT = "output.txt"
"""In the scratch folder: what the child and its libraries print, for the log if it crashes."""


def main(connection: Any, kinds_module: str, kind: str) -> None:
    """Do one job of this kind; the rest comes over the connection."""
    from importlib import import_module

    from transfusion_worker import child

    child.main(connection, lambda: import_module(kinds_module).KINDS[kind])


def nothing() -> None:
    """The first child: once it has been, the fork server is ready."""
