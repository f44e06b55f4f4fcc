"""Ports that stay free until a test listens on them. Standard library only."""

from __future__ import annotations

import socket
import sys
from collections import deque
from pathlib import Path
from random import SystemRandom

HOST = "127.0.0.1"
_LOWEST = 10_000
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_REMEMBERED = 100
_DICE = SystemRandom()
_taken: deque[socket.socket] = deque()


def free_port() -> int:
    """A TCP port on loopback that nobody listens on, nor will before the caller does: also not for a while after he has
    stopped to, and will again.

    It is none of those that the system gives to whoever asks for any, as all other tests do all the time. Nor has it
    been given to another process of the tests: each marks what is its own by an abstract socket, which ends with it.
    """
    while sys.platform == "linux":
        port = _DICE.randrange(_LOWEST, _first_ephemeral())
        if _marked(port) and _is_free(port):
            return port
    return _bound(0)


def _first_ephemeral() -> int:
    """The first one that the system gives."""
    return int(_EPHEMERAL.read_text().split()[0])


def _marked(port: int) -> bool:
    mark = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        mark.bind(f"\0relay-test-port-{port}")
    except OSError:
        mark.close()
        return False
    _taken.append(mark)
    if len(_taken) > _REMEMBERED:
        _taken.popleft().close()
    return True


def _is_free(port: int) -> bool:
    try:
        return _bound(port) == port
    except OSError:
        return False


def _bound(port: int) -> int:
    """The port that was got, which is free again."""
    with socket.socket() as probe:
        probe.bind((HOST, port))
        got: int = probe.getsockname()[1]
        return got
