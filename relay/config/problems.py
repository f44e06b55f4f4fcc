"""What is wrong with a relay.yaml: one value per problem, all of them collected, none of them showing a secret."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TypeAlias

from relay.errors import ConfigError
from relay.model import value

Path: TypeAlias = tuple[str | int, ...]
"""Where something stands in the file: keys and list positions, from the top."""

_MAX_SHOWN = 64  # characters of a name that a message repeats
_MAX_KEPT = 500  # problems that are kept; past them the file is no configuration
_MAX_CANDIDATES = 200  # names that are compared to find what was meant
_MAX_SUGGESTIONS = 50  # so that a file of nothing but mistakes is refused as fast as any other


@value
class Place:
    """A position in the file, both counted from one; line 0 means the file as a whole."""

    line: int
    column: int


WHOLE_FILE = Place(line=0, column=0)


@value
class Problem:
    """One thing that is wrong, or a warning: where, what, and what to do about it."""

    file: str
    line: int
    """Counted from one; 0: the file as a whole."""
    column: int
    key: str
    """For instance `sinks.crm.url`; empty where no key is to blame."""
    message: str
    mend: str = ""

    def __str__(self) -> str:
        """`relay.yaml:14: sinks.crm.url: is missing; add …`: one line, as editors and terminals link it."""
        where = f"{self.file}:{self.line}" if self.line else self.file
        return ": ".join(filter(None, (where, self.key, self.message))) + (f"; {self.mend}" if self.mend else "")


class InvalidConfig(ConfigError):
    """A relay.yaml with problems; `str()` of it has one line for each."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


@dataclass
class Findings:
    """Collects what the steps of a check find, each with its place."""

    file: str
    _errors: list[Problem] = field(default_factory=list)
    _warnings: list[Problem] = field(default_factory=list)
    _left_out: int = 0
    _suggestions: int = 0

    def error(self, place: Place, path: Path, message: str, mend: str = "") -> None:
        """Something that keeps the relay from starting."""
        if len(self._errors) >= _MAX_KEPT:
            self._left_out += 1
            return
        self._errors.append(self._problem(place, path, message, mend))

    def warn(self, place: Place, path: Path, message: str, mend: str = "") -> None:
        """Something that is allowed, and hardly meant."""
        if len(self._warnings) < _MAX_KEPT:
            self._warnings.append(self._problem(place, path, message, mend))

    def suggest(self, word: str, known: Iterable[str]) -> str:
        """`did you mean …?`, or nothing where no known name is near."""
        self._suggestions += 1
        if self._suggestions > _MAX_SUGGESTIONS or len(word) > _MAX_SHOWN:
            return ""
        candidates = [name for name in known if len(name) <= _MAX_SHOWN][:_MAX_CANDIDATES]
        folded = {name.lower(): name for name in reversed(candidates)}
        near = get_close_matches(word.lower(), folded, n=1, cutoff=0.6)
        return f"did you mean `{shown(folded[near[0]])}`?" if near else ""

    @property
    def errors(self) -> Sequence[Problem]:
        """In the order of the file."""
        found = sorted(self._errors, key=_position)
        if self._left_out:
            found.append(self._problem(WHOLE_FILE, (), f"has {self._left_out} more problems", "mend these first"))
        return tuple(found)

    @property
    def warnings(self) -> Sequence[Problem]:
        """In the order of the file."""
        return tuple(sorted(self._warnings, key=_position))

    def _problem(self, place: Place, path: Path, message: str, mend: str) -> Problem:
        return Problem(
            file=self.file, line=place.line, column=place.column, key=key_of(path), message=message, mend=mend
        )


def key_of(path: Path) -> str:
    """`routes[0].to[1]` and the like."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{shown(step)}" for step in path)
    return "".join(steps).removeprefix(".")


def shown(text: str) -> str:
    """A name from the file as a message may repeat it: short, on one line, printable."""
    printable = text if text.isprintable() else ascii(text)
    return printable if len(printable) <= _MAX_SHOWN else printable[: _MAX_SHOWN - 1] + "…"


def listed(names: Iterable[str], *, last: str = "or") -> str:
    """`a`, `b` or `c`; of a long list only the start."""
    quoted = [f"`{shown(name)}`" for name in names]
    if len(quoted) > 12:
        return ", ".join(quoted[:12]) + ", …"
    return f" {last} ".join(filter(None, (", ".join(quoted[:-1]), *quoted[-1:])))


def _position(problem: Problem) -> tuple[int, int]:
    return problem.line, problem.column
