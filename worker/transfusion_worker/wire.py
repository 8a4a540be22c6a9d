"""Messages between a supervisor and its child: JSON over a pipe, never pickle."""

import json
import threading
from multiprocessing.connection import Connection
from typing import Any


class Wire:
    """One end. Sending is safe from several threads; receiving belongs to one."""

    def __init__(self, connection: "Connection[Any, Any] | Any") -> None:
        self.connection = connection
        self._sending = threading.Lock()

    def send(self, message: dict[str, Any]) -> None:
        """Send one message. OSError where the other end is gone, ValueError for numbers that JSON has not."""
        data = json.dumps(message, allow_nan=False).encode()
        with self._sending:
            self.connection.send_bytes(data)

    def receive(self) -> dict[str, Any]:
        """Wait for the next message. EOFError or OSError where the other end is gone."""
        message: dict[str, Any] = json.loads(self.connection.recv_bytes())
        return message

    def waiting(self) -> bool:
        """Whether there is something to receive, be it the end."""
        return bool(self.connection.poll(0))

    def close(self) -> None:
        """Close this end."""
        self.connection.close()
