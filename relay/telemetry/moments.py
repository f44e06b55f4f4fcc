"""Log records of what happens thousands of times a second, without what no line of ours shows.

`Logger.info` looks up file, line, function, thread and process for each record, which costs more than the line itself.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from time import time


class Moment(logging.LogRecord):
    """A record with a level, a time, the moment's name, and its context as attributes (as `extra` gives them)."""

    args = ()
    exc_info = exc_text = stack_info = None
    pathname = filename = module = ""
    thread = threadName = process = processName = funcName = None  # type: ignore[assignment]  # noqa: N815
    lineno = 0
    msecs = relativeCreated = 0.0  # noqa: N815

    def __init__(self, logger: logging.Logger, level: int, moment: str, context: Mapping[str, object]) -> None:
        # Not the base class's: all that it would find out stands above, as nothing.
        self.__dict__.update(context)
        self.name = logger.name
        self.msg = moment
        self.levelno = level
        self.levelname = logging.getLevelName(level)
        self.created = time()


def tell(logger: logging.Logger, moment: str, context: Mapping[str, object]) -> None:
    """Log it at INFO. The caller has asked the logger whether that is wanted: a context is not made for nothing."""
    logger.handle(Moment(logger, logging.INFO, moment, context))
