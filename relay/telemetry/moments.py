"""Log records of what happens thousands of times a second, without what no line of ours shows.

`Logger.info` looks up file, line, function, thread and process for each record, which costs more than the line itself.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from time import time

_UNKNOWN: Mapping[str, object] = vars(logging.makeLogRecord({"args": ()}))
"""What every record has, for formatters that are not ours."""


class Moment(logging.LogRecord):
    """A record with a level, a time, the moment's name, and its context as attributes (as `extra` gives them)."""

    def __init__(self, logger: logging.Logger, level: int, moment: str, context: Mapping[str, object]) -> None:
        # Not the base class's, which would find all of it out.
        self.__dict__.update(_UNKNOWN)
        self.__dict__.update(context)
        self.name = logger.name
        self.msg = moment
        self.levelno = level
        self.levelname = logging.getLevelName(level)
        self.created = time()


def tell(logger: logging.Logger, moment: str, context: Mapping[str, object]) -> None:
    """Log it at INFO. The caller has asked the logger whether that is wanted: a context is not made for nothing."""
    logger.handle(Moment(logger, logging.INFO, moment, context))
