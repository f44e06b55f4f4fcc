"""Which worker has which lane, and what each may take in."""

from __future__ import annotations

from collections import Counter
from typing import Any

from relay.config import Config
from relay.gateway.options import GatewayOptions
from relay.share import deal, lanes_of


def config(**sinks: dict[str, Any]) -> Config:
    return Config.model_validate({"sinks": sinks})


def http(**more: Any) -> dict[str, Any]:
    return {"type": "http", "url": "https://crm.example/", **more}


def slack(channel: str) -> dict[str, Any]:
    return {"type": "slack", "token": "xoxb-1", "channel": channel}


def test_sinks_are_dealt_evenly() -> None:
    seven = config(**{f"sink-{number}": http() for number in range(7)})
    lanes = lanes_of(seven, deal(seven, {}, workers=3))
    assert sorted(Counter(lanes.values()).items()) == [(1, 3), (2, 2), (3, 2)]
    assert lanes.keys() == seven.sinks.keys()


def test_sinks_of_one_place_share_their_pace_and_so_their_worker() -> None:
    posts = config(one=slack("C1"), crm=http(), other=slack("C2"), two=slack("C1"))
    lanes = lanes_of(posts, deal(posts, {}, workers=3))
    assert lanes["one"] == lanes["two"]
    assert len({lanes["one"], lanes["crm"], lanes["other"]}) == 3


def test_a_sink_stays_where_it_was_and_a_new_one_goes_where_there_is_least() -> None:
    first = config(a=http(), b=http(), c=http(), d=http())
    before = deal(first, {}, workers=2)
    then = config(new=http(), d=http(), b=http(), newer=http())
    after = deal(then, before, workers=2)
    assert before == {"a": 1, "b": 2, "c": 1, "d": 2}
    assert after == {"b": 2, "d": 2, "new": 1, "newer": 1}


def test_a_disabled_sink_has_no_lane() -> None:
    some = config(off=http(enabled=False), on=http())
    assert lanes_of(some, deal(some, {}, workers=2)) == {"on": 1}


def test_the_limits_of_the_gateway_hold_for_all_workers_together() -> None:
    options = GatewayOptions(max_inflight=1000, max_connections=5, workers=2)
    share = options.shared_out(2)
    assert (share.max_inflight, share.max_connections, share.max_body) == (500, 3, options.max_body)
    assert GatewayOptions(max_inflight=1).shared_out(4).max_inflight == 1
