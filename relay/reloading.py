"""Reads the configuration again while the relay runs: when it is asked to, and when its files have changed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from relay.config import Config, InvalidConfig, Report, Watch, check
from relay.errors import ConfigError
from relay.waiting import happens

log = logging.getLogger("relay")

_LOOK_EVERY = 1.0
"""Seconds between looks at the files; a change is taken when two looks in a row find the same."""


class Reloadable(Protocol):
    """A relay that runs, in one process or in several."""

    @property
    def config(self) -> Config:
        """The configuration in force."""

    async def reload(self, config: Config) -> None:
        """Put another one in force. Raises ConfigError where that cannot be; nothing was changed then."""

    def refuse(self, problem: str) -> None:
        """Say that a new one was refused."""


class Reloader:
    """Keeps a relay's configuration that of its file. One that is wrong changes nothing; the old one stays in force."""

    def __init__(
        self, app: Reloadable, path: Path, env: Mapping[str, str], *, asked: asyncio.Event, watch: bool
    ) -> None:
        """`asked` is set by whoever wants the file to be read now, changed or not."""
        self._app = app
        self._path = path
        self._env = env
        self._asked = asked
        self._watch = watch

    async def run(self) -> None:
        """Follow the file, for ever."""
        files = Watch([self._path])
        if await self._changed_since_the_start(files):
            await self._reload(files)
        while True:
            if await self._wanted(files):
                # Taken anew before the file is read, so that what changes meanwhile is found at the next look.
                files = await asyncio.to_thread(Watch, files.files)
                await self._reload(files)

    async def _changed_since_the_start(self, files: Watch) -> bool:
        """Whether the file is another already than the relay has read; also finds what else is to be watched."""
        report = await asyncio.to_thread(check, self._path, self._env)
        await asyncio.to_thread(files.follow, report.files)
        same = report.config is not None and report.config.hash == self._app.config.hash
        if same:
            _tell_warnings(report)
        return self._watch and not same

    async def _wanted(self, files: Watch) -> bool:
        """Wait until somebody asks, or for a moment; whether the file is to be read again."""
        asked = await happens(self._asked, within=_LOOK_EVERY)
        self._asked.clear()
        return asked or (self._watch and await asyncio.to_thread(files.changed))

    async def _reload(self, files: Watch) -> None:
        try:
            report = await asyncio.to_thread(check, self._path, self._env)
            await asyncio.to_thread(files.follow, report.files)
            await self._app.reload(_valid(report))
            _tell_warnings(report)
        except ConfigError as error:
            self._app.refuse(str(error))
        except Exception as error:  # ours, and before anything changed: the relay goes on as it was
            log.exception("config.reload_crashed")
            self._app.refuse(f"{type(error).__name__} inside the relay; see the log")


def _valid(report: Report) -> Config:
    if report.config is None:
        raise InvalidConfig(report.errors)
    return report.config


def _tell_warnings(report: Report) -> None:
    """Whoever never runs `relay check` has the log only."""
    for problem in report.warnings:
        log.warning("config.warned", extra={"detail": str(problem)})
