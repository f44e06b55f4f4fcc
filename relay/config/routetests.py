"""Reads route tests: YAML as strict as relay.yaml's, every mistake at once with its line and what to do.

A test file says `tests:`, a list. Each test has a `name`, says what is `given` and what is to `expect`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import field
from pathlib import Path as FilePath

from relay.config.document import MapNode, parse
from relay.config.entries import Keys
from relay.config.loading import read_bytes
from relay.config.problems import Findings, InvalidConfig, Place, Problem, key_of
from relay.expectations import Expected, Texts, Wanted
from relay.model import value
from relay.payload import Json

MAX_SAMPLE = 16 * 1024 * 1024
"""Bytes of a file with a body."""
_GIVEN = ("example", "file", "payload", "provider", "source", "webhook_id", "with", "without")
_EXPECTED = ("routes", "to", "sinks", "not_sinks", "nowhere")
_MESSAGE = ("headers", "payload", "refused")
_FORM = "write `tests:` and under it `- name: …` with `given:` and `expect:`"


@value
class Known:
    """What a test may name."""

    examples: Collection[str]
    providers: Collection[str]
    sources: Collection[str]
    routes: Collection[str]
    sinks: Mapping[str, Collection[str]]
    """By name, what each tells of what it would send, such as `topic`; empty where that is not known."""


@value
class Given:
    """The event of a test: one of example, body and payload, and what is changed in it."""

    place: Place
    example: str | None = None
    body: bytes | None = field(default=None, repr=False)
    payload: Json = None
    provider: str | None = None
    source: str | None = None
    webhook_id: str | None = None
    changes: Mapping[str, Json] = field(default_factory=dict)
    without: Sequence[str] = ()


@value
class RouteTest:
    """One test, and where it stands."""

    name: str
    file: str
    line: int
    number: int
    """Its place in the list, from nought."""
    given: Given
    expected: Expected

    def problem(self, message: str, mend: str) -> Problem:
        """Something that is wrong with what is given."""
        place = self.given.place
        key = key_of(("tests", self.number, "given"))
        return Problem(file=self.file, line=place.line, column=place.column, key=key, message=message, mend=mend)


def read_tests(path: FilePath, known: Known) -> Sequence[RouteTest]:
    """The tests in a file.

    Raises:
        InvalidConfig: a ConfigError; its `problems` are all that is wrong with the file.
    """
    findings = Findings(file=str(path))
    data = read_bytes(path, findings, missing="write the tests into it, or name another file")
    tests = [] if data is None else _tests(data, path, known, findings)
    if findings.errors:
        raise InvalidConfig(findings.errors)
    return tests


def _tests(data: bytes, path: FilePath, known: Known, findings: Findings) -> Sequence[RouteTest]:
    root = parse(data, findings)
    if not isinstance(root, MapNode):
        if not findings.errors:
            findings.error(root.place, (), "must be a mapping", _FORM)
        return []
    top = Keys.of_node(root, (), ("tests",), findings)
    items = top.items("tests")
    if not items and not findings.errors:
        findings.error(top.place("tests"), ("tests",), "holds no tests", _FORM)
    reader = _Reader(folder=path.parent, file=str(path), known=known, findings=findings)
    return [test for number, entry in enumerate(items) if (test := reader.test(number, entry)) is not None]


class _Reader:
    """Reads the tests of one file."""

    def __init__(self, *, folder: FilePath, file: str, known: Known, findings: Findings) -> None:
        self._folder = folder
        self._file = file
        self._known = known
        self._findings = findings
        self._names: dict[str, Place] = {}

    def test(self, number: int, keys: Keys | None) -> RouteTest | None:
        """One test; None, and an error, where it is none."""
        if keys is None:
            return None
        keys.only("name", "given", "expect")
        name, place = keys.text("name", needed="a sentence"), keys.place("name")
        if name is not None and (first := self._names.setdefault(name, place)) is not place:
            keys.error("name", f"is the name of the test in line {first.line} too", "choose another one")
        given = self._given(keys.mapping("given", *_GIVEN, needed="{example: meeting.started}"), keys.place("given"))
        expected = self._expected(keys.mapping("expect", *_EXPECTED, needed="{routes: [everything]}"))
        if name is None or given is None or expected is None:
            return None
        return RouteTest(name=name, file=self._file, line=place.line, number=number, given=given, expected=expected)

    def _given(self, keys: Keys | None, place: Place) -> Given | None:
        if keys is None:
            return None
        found = [key for key in ("example", "file", "payload") if keys.has(key)]
        if len(found) != 1:
            said = f"has {' and '.join(found)}" if found else "names no event"
            keys.error(None, said, "write one of `example`, `file` and `payload`")
        changes = keys.mapping("with")
        return Given(
            place=place,
            example=keys.known("example", "example", self._known.examples),
            body=self._body(keys),
            payload=keys.json("payload"),
            provider=keys.known("provider", "provider", self._known.providers),
            source=keys.known("source", "source", self._known.sources),
            webhook_id=keys.text("webhook_id"),
            changes={} if changes is None else changes.all_json(),
            without=keys.texts("without") or (),
        )

    def _body(self, keys: Keys) -> bytes | None:
        name = keys.text("file")
        if name is None:
            return None
        try:
            with (self._folder / name).open("rb") as stream:
                return stream.read(MAX_SAMPLE)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "the path is impossible"
            keys.error("file", f"cannot be read: {why}", "write its path, beginning where the test file is")
            return None

    def _expected(self, keys: Keys | None) -> Expected | None:
        if keys is None:
            return None
        sinks = keys.mapping("sinks")
        if not any(keys.has(key) for key in _EXPECTED):
            keys.error(None, "expects nothing", "write `routes`, `to`, `sinks`, `not_sinks` or `nowhere`")
        nowhere = keys.truth("nowhere")
        if nowhere and (keys.has("to") or keys.has("sinks")):
            keys.error("nowhere", "excludes `to` and `sinks`", "keep one of them")
        return Expected(
            routes=keys.known_list("routes", "route", self._known.routes),
            to=keys.known_list("to", "sink", self._known.sinks),
            sinks={} if sinks is None else self._wanted(sinks),
            not_sinks=keys.known_list("not_sinks", "sink", self._known.sinks) or (),
            nowhere=nowhere,
        )

    def _wanted(self, sinks: Keys) -> Mapping[str, Wanted]:
        sinks.known_keys("sink", self._known.sinks)
        return {name: self._message(sinks, name) for name in sinks.names() if name in self._known.sinks}

    def _message(self, sinks: Keys, name: str) -> Wanted:
        facts = self._known.sinks[name]
        keys = sinks.mapping(name, *((*facts, *_MESSAGE) if facts else ()))
        if keys is None:
            return Wanted()
        headers = keys.mapping("headers")
        return Wanted(
            facts={key: keys.expected_texts(key) for key in keys.names() if key not in _MESSAGE},
            headers=_texts_of(headers),
            payload=keys.json("payload"),
            refused=keys.expected_texts("refused") if keys.has("refused") else (),
        )


def _texts_of(headers: Keys | None) -> Mapping[str, Texts]:
    return {} if headers is None else {name: headers.expected_texts(name) for name in headers.names()}
