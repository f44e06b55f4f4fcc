"""Results of route tests as JUnit XML, in the form that CI systems have in common.

https://github.com/testmoapp/junitxml
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import PurePath
from xml.etree import ElementTree as ET

from relay.commands.output import plain
from relay.commands.results import Result, in_words


def junit(results: Sequence[Result], *, at: datetime) -> bytes:
    """The document: a suite for each file, a case for each test."""
    root = ET.Element("testsuites", {"name": "relay test", **_totals(results)})
    for file, group in groupby(results, lambda result: result.test.file):
        of_file = list(group)
        moment = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
        suite = ET.SubElement(root, "testsuite", {"name": plain(file), "timestamp": moment, **_totals(of_file)})
        for result in of_file:
            _case(suite, result)
    ET.indent(root)
    text: str = ET.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'.encode()


def _totals(results: Sequence[Result]) -> dict[str, str]:
    failed = sum(not result.passed for result in results)
    return {
        "tests": str(len(results)),
        "failures": str(failed),
        "errors": "0",
        "skipped": "0",
        "time": f"{sum(result.seconds for result in results):.3f}",
    }


def _case(suite: ET.Element, result: Result) -> None:
    test = result.test
    about = {
        "classname": _class_name(test.file),
        "name": plain(test.name),
        "file": plain(test.file),
        "line": str(test.line),
        "time": f"{result.seconds:.3f}",
    }
    case = ET.SubElement(suite, "testcase", about)
    if not result.passed:
        first = ", ".join(mismatch.what for mismatch in result.mismatches)
        failure = ET.SubElement(case, "failure", {"message": plain(f"not as expected: {first}"), "type": "mismatch"})
        failure.text = plain(f"{test.file}:{test.line}: {test.name}\n{in_words(result)}", keep="\n")


def _class_name(file: str) -> str:
    """`config.relay.test` for config/relay.test.yaml: what CI systems take for a package and a class in it."""
    path = PurePath(file)
    return plain(".".join(part for part in (*path.parent.parts, path.stem) if part.strip("./")))
