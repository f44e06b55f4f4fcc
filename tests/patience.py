"""Limits of time that are long, so that a machine that stands still for some seconds fails no test.

What the relay promises its senders and asks of its store, it must keep within a second or two. Where a test is about
something else, a stall would fail it by chance: it would be told 503, as it should be. Each test that is about a limit
sets it itself, and those that are about all of them together are marked `real_limits`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest

from relay import dispatch, gateway, keyring, listening, logs
from relay.registration import provider
from relay.simulator import posting
from relay.sinks import http
from relay.sinks.slack import client
from relay.stores import postgres
from relay.stores.postgres import connection, pool
from relay.stores.sqlite import connection as sqlite

PATIENCE = 30.0
"""Seconds: three times what a machine has been seen to stand still."""
_SECONDS = (
    (gateway, ("HARD_END", "BODY_TIME", "KEY_TIME", "COMMIT_TIME", "MOST_LAG")),
    (listening, ("_HEADER_TIME", "_ANSWER_TIME")),
    (keyring, ("FETCH_TIMEOUT",)),
    (dispatch, ("_GIVE_BACK",)),
    (logs, ("_STOP_SECONDS",)),
    (provider, ("_CONNECT_SECONDS",)),
    (posting, ("SENDER_TIMEOUT",)),
    (http, ("CONNECT_TIME",)),
    (client, ("_CONNECT_SECONDS",)),
    (connection, ("CONNECT_SECONDS",)),
    (pool, ("_WAIT_SECONDS",)),
)
_MILLISECONDS = ((connection, ("_LOCK_MS", "_IDLE_MS")), (postgres, ("WRITING_MS",)), (sqlite, ("BUSY_TIMEOUT_MS",)))


@pytest.fixture(autouse=True)
def _patient(request: pytest.FixtureRequest) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        if request.node.get_closest_marker("real_limits") is None:
            for module, names in _SECONDS:
                for name in names:
                    patch.setattr(module, name, PATIENCE)
            for module, names in _MILLISECONDS:
                for name in names:
                    patch.setattr(module, name, int(PATIENCE * 1000))
            patch.setitem(cast("Any", connection.connect).__kwdefaults__, "statement_ms", int(PATIENCE * 1000))
        yield
