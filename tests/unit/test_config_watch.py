"""When a change of the configuration's files is taken: once, whole, and in whatever way the file was replaced."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from relay.config import Watch, check
from tests.running import write_config


@pytest.fixture
def file(tmp_path: Path) -> Path:
    found = tmp_path / "relay.yaml"
    found.write_text("one")
    return found


def test_what_stays_as_it_is_has_not_changed(file: Path) -> None:
    watch = Watch([file])
    assert [watch.changed() for _ in range(3)] == [False] * 3


def test_a_change_is_taken_when_it_stands_still(file: Path) -> None:
    watch = Watch([file])
    file.write_text("half")
    assert not watch.changed(), "somebody may still be writing"
    file.write_text("half and half")
    assert not watch.changed()
    assert watch.changed()


def test_a_change_that_is_taken_back_in_time_is_none(file: Path) -> None:
    watch, before = Watch([file]), file.stat()
    file.write_text("two")
    watch.changed()
    file.write_text("one")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert [watch.changed() for _ in range(2)] == [False, False]


@pytest.mark.parametrize("how", ["renamed over", "removed", "linked elsewhere", "same size and time"])
def test_any_way_of_replacing_it_is_seen(file: Path, how: str) -> None:
    watch, other = Watch([file]), file.with_name("other")
    other.write_text("two")
    if how == "same size and time":
        before = file.stat()
        os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    match how:
        case "removed":
            file.unlink()
        case "linked elsewhere":
            file.unlink()
            file.symlink_to(other)
        case _:
            other.rename(file)
    assert [watch.changed() for _ in range(2)] == [False, True]


def test_the_target_of_a_link_counts_not_the_link(tmp_path: Path, file: Path) -> None:
    link = tmp_path / "link.yaml"
    link.symlink_to(file)
    watch = Watch([link])
    file.write_text("two!")
    assert [watch.changed() for _ in range(2)] == [False, True]


def test_a_file_that_comes_into_play_is_watched_from_then_on(tmp_path: Path, file: Path) -> None:
    watch, secret = Watch([file]), tmp_path / "secret"
    secret.write_text("a")
    watch.follow([file, secret])
    assert [watch.changed() for _ in range(2)] == [False, False]
    secret.write_text("ab")
    assert [watch.changed() for _ in range(2)] == [False, True]


def test_a_change_before_others_come_into_play_is_not_forgotten(tmp_path: Path, file: Path) -> None:
    watch, secret = Watch([file]), tmp_path / "secret"
    file.write_text("two!")
    watch.follow([file, secret])
    assert watch.changed()


def test_a_check_names_the_file_and_those_that_its_variables_name(tmp_path: Path) -> None:
    sinks = {"crm": {"type": "http", "url": "https://crm.example", "secret": "${file:here}"}}
    written = write_config(tmp_path, sinks=sinks)
    absent = check(written, {})
    assert absent.config is None
    assert absent.files == {written, tmp_path / "here"}, "it may come yet"
    assert check(write_config(tmp_path, sinks={}), {}).files == {written}
