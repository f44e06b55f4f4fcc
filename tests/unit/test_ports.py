"""The ports of the tests are nobody else's."""

from __future__ import annotations

import socket
import sys

import pytest

from tests import ports


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere any that is free will do")
def test_a_port_is_none_that_the_system_gives_nor_one_that_another_process_has() -> None:
    port = ports.free_port()
    assert port < ports._first_ephemeral()
    assert not ports._marked(port), "whoever comes to it by chance goes on"
    with socket.socket() as listening:
        listening.bind((ports.HOST, port))
        assert not ports._is_free(port)
