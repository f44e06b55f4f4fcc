"""What comes together goes together: a group grows while each turn of the loop adds to it, within bounds."""

from __future__ import annotations

import pytest

from relay.stores.gathering import Gathering
from tests.fakes.loop_time import LoopTime, turns

LARGEST = 64


class Groups(list[list[int]]):
    """Those that were handed on."""

    def __init__(self, *, largest: int = LARGEST) -> None:
        super().__init__()
        self.gathering = Gathering(self.append, largest=largest)


async def test_one_alone_goes_within_two_turns() -> None:
    groups = Groups()
    groups.gathering.add(1)
    assert not groups
    await turns(2)
    assert groups == [[1]]
    assert not groups.gathering


async def test_a_group_grows_while_each_turn_adds_to_it() -> None:
    groups = Groups()
    for number in range(10):
        groups.gathering.add(number)
        await turns(1)
        assert not groups, number
    await turns(2)
    assert groups == [list(range(10))]


async def test_it_grows_no_longer_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    time, groups = LoopTime(monkeypatch), Groups()
    groups.gathering.add(1)
    time._ahead += 1.0
    groups.gathering.add(2)
    await turns(1)
    assert groups == [[1, 2]], "although the turn has added to it"


async def test_it_grows_no_larger_than_it_may() -> None:
    groups = Groups(largest=3)
    for number in range(7):
        groups.gathering.add(number)
    assert groups == [[0, 1, 2], [3, 4, 5]]
    await turns(2)
    assert groups[2:] == [[6]]


async def test_what_is_there_can_be_called_for() -> None:
    groups = Groups()
    groups.gathering.flush()
    assert not groups, "nothing is no group"
    groups.gathering.add(1)
    groups.gathering.flush()
    await turns(3)
    assert groups == [[1]], "once"
