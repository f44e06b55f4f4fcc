"""From nodes to Options: plain values for pydantic, and what it finds wrong brought back to a line of the file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from relay.config.document import BrokenNode, Entry, ListNode, MapNode, Node, ScalarNode
from relay.config.problems import Findings, Path, Place, listed, shown
from relay.config.shape import allows_none, child_type, example, is_secret, model_of, scalar_kind
from relay.config.words import LIST, Words, merged, words_for
from relay.model import value

# https://yaml.org/spec/1.2.2/#core-schema
_TRUTHS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_WHOLE = re.compile(r"[-+]?[0-9]{1,18}|0o[0-7]{1,18}|0x[0-9a-fA-F]{1,15}", re.ASCII)
_NUMBER = re.compile(r"[-+]?(\.[0-9]{1,18}|[0-9]{1,18}(\.[0-9]{0,18})?)([eE][-+]?[0-9]{1,3})?", re.ASCII)
_EXPECTED = {bool: "must be true or false", int: "must be a whole number", float: "must be a number"}
_FRAGMENT = 4  # characters of a secret in a row that a message may not repeat
# What secrets may start with, and every message may say.
_PUBLIC = (
    "whsec_ xoxb- bearer https:// http:// sqlite:/// postgresql://user:password@host:port/database "
    "-----begin public key-----"
)


class _Broken:
    """Stands for what was refused: fits no type, so that no rule judges a value that is not there."""


_BROKEN = _Broken()


@value
class _Finding:
    entry: Entry
    path: Path
    missing: str | None
    words: Words
    error: ErrorDetails


def read(entry: Entry, path: Path, annotation: Any, findings: Findings) -> Any:
    """The Options that an entry describes; None, and at least one error, where it describes none."""
    values = _Values(findings=findings)
    try:
        return TypeAdapter(annotation).validate_python(values.of(entry.node, path, annotation))
    except ValidationError as error:
        found = [_finding(entry, path, each) for each in error.errors(include_url=False, include_input=False)]
        for group in _grouped([each for each in found if not _is_settled(each, values.refused)]):
            _add(group, annotation, path, findings)
    except RecursionError:
        findings.error(entry.place, path, "holds an expression that is nested too deeply")
    return None


def locate(entry: Entry, path: Path, location: Sequence[str | int]) -> tuple[Entry, Path]:
    """Where pydantic's location is in the file; steps that are no key of it are labels of a union."""
    for step in location:
        match entry.node:
            case MapNode(entries=entries) if step in entries:
                entry, path = entries[str(step)], (*path, step)
            case ListNode(items=items) if isinstance(step, int) and step < len(items):
                entry, path = items[step], (*path, step)
    return entry, path


def untyped(node: ScalarNode) -> object:
    """What a scalar is where nobody says what is wanted: as YAML's core schema has it, and so as editors see it."""
    if not node.plain:
        return node.text
    if node.is_null:
        return None
    numbers = (_number(kind, node.text) for kind in (bool, int, float))
    return next((number for number in numbers if number is not None), node.text)


@dataclass
class _Values:
    """Makes plain values of nodes; a scalar that is no number where one is wanted is reported, and refused."""

    findings: Findings
    refused: set[Path] = field(default_factory=set)

    def of(self, node: Node, path: Path, annotation: Any) -> Any:
        """Pydantic's input."""
        match node:
            case ScalarNode():
                return self._scalar(node, path, annotation)
            case ListNode(items=items):
                return [
                    self.of(entry.node, (*path, index), child_type(annotation, index))
                    for index, entry in enumerate(items)
                ]
            case MapNode(entries=entries):
                return {
                    key: self.of(entry.node, (*path, key), child_type(annotation, key))
                    for key, entry in entries.items()
                }
            case BrokenNode():
                self.refused.add(path)
                return _BROKEN

    def _scalar(self, node: ScalarNode, path: Path, annotation: Any) -> object:
        """Texts stay texts, so that `1.10` and `no` are what was written where a text is wanted."""
        if node.is_null or (node.text == "" and allows_none(annotation)):
            return None
        if node.text == "" and isinstance(path[-1], int):  # in an allow-list it would let nobody in, or everybody
            return self._refuse(node, path, "must not be empty")
        if (kind := scalar_kind(annotation)) is None:
            return node.text
        if (number := _number(kind, node.text)) is None:
            return self._refuse(node, path, _EXPECTED[kind])
        return number

    def _refuse(self, node: ScalarNode, path: Path, message: str) -> _Broken:
        self.findings.error(node.place, path, message, _look_at(node.variables))
        self.refused.add(path)
        return _BROKEN


def truth_in(text: str) -> bool | None:
    """The truth that a text without quotes stands for, if it does."""
    return _TRUTHS.get(text)


def number_in(text: str) -> int | float | None:
    """The number that a text without quotes stands for, if it does."""
    whole = _number(int, text)
    return _number(float, text) if whole is None else whole


def _number(kind: type[bool | int | float], text: str) -> bool | int | float | None:
    if kind is bool:
        return truth_in(text)
    if kind is int:
        if _WHOLE.fullmatch(text) is None:
            return None
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    return float(text) if _NUMBER.fullmatch(text) else None


def _finding(entry: Entry, path: Path, error: ErrorDetails) -> _Finding:
    missing = str(error["loc"][-1]) if error["type"] == "missing" else None
    location = error["loc"] if missing is None else error["loc"][:-1]
    inner, inner_path = locate(entry, path, location)
    return _Finding(entry=inner, path=inner_path, missing=missing, words=words_for(error), error=error)


def _is_settled(finding: _Finding, refused: Set[Path]) -> bool:
    """Whether the finding only follows from something that was reported already."""
    node = finding.entry.node
    if finding.error["type"] == "extra_forbidden":
        return False
    if isinstance(node, MapNode | ListNode) and not node.complete:
        return True
    return finding.missing is None and any(path[: len(finding.path)] == finding.path for path in refused)


def _grouped(found: Sequence[_Finding]) -> Iterator[list[_Finding]]:
    """One group for each problem: a union says of each of its types why it does not fit; the deepest knew best."""
    inner = {finding.path[:length] for finding in found for length in range(len(finding.path))}
    groups: dict[tuple[Path, str | None], list[_Finding]] = {}
    for finding in found:
        if finding.missing is not None or finding.error["loc"] == () or finding.path not in inner:
            groups.setdefault((finding.path, finding.missing), []).append(finding)
    yield from groups.values()


def _add(group: Sequence[_Finding], annotation: Any, root: Path, findings: Findings) -> None:
    first = group[0]
    kind = _type_at(annotation, first.path[len(root) :])
    if first.missing is not None:
        mend = f"add `{first.missing}: {example(model_of(kind), first.missing)}`"
        findings.error(first.entry.place, (*first.path, first.missing), "is missing", mend)
    elif first.error["type"] == "extra_forbidden":
        parent = model_of(_type_at(annotation, first.path[len(root) : -1]))
        known = list(parent.model_fields) if parent is not None else []
        mend = findings.suggest(str(first.path[-1]), known) or f"known keys: {listed(known, last='and')}"
        findings.error(first.entry.place, first.path, "unknown key", mend)
    else:
        words = _harmless(merged([each.words for each in group]), first.entry.node, kind)
        words = _with_brackets(words, first.entry.node, kind)
        findings.error(place_of(first.entry), first.path, _unless_null(words.message, first.entry.node), words.mend)


def _with_brackets(words: Words, node: Node, annotation: Any) -> Words:
    """A list of one, written out, for the commonest slip of all."""
    if words != LIST or not isinstance(node, ScalarNode) or node.is_null or is_secret(annotation):
        return words
    return Words(message=words.message, mend=f"write `[{shown(node.source)}]`")


def _type_at(annotation: Any, steps: Path) -> Any:
    for step in steps:
        annotation = child_type(annotation, step)
    return annotation


def place_of(entry: Entry) -> Place:
    """Where a message about a value points: at the value where it is one scalar, else at what names it."""
    return entry.node.place if isinstance(entry.node, ScalarNode) else entry.place


def _unless_null(message: str, node: Node) -> str:
    return f"has no value, and {message}" if isinstance(node, ScalarNode) and node.is_null else message


def _harmless(words: Words, node: Node, annotation: Any) -> Words:
    """The words without anything that came from a variable or stands where a secret belongs."""
    if words.plain is not None and any(_repeats(words, text) for text in _hidden(node, annotation)):
        words = words.plain
    variables = [name for scalar, _ in _scalars(node, annotation) for name in scalar.variables]
    return Words(message=words.message, mend=words.mend or _look_at(variables))


def _look_at(variables: Sequence[str]) -> str:
    names = dict.fromkeys(name.partition(":-")[0].rstrip("}") + "}" for name in variables)
    return f"look at {listed(names, last='and')}" if names else ""


def _scalars(node: Node, annotation: Any) -> Iterator[tuple[ScalarNode, Any]]:
    match node:
        case ScalarNode():
            yield node, annotation
        case ListNode(items=items):
            for index, entry in enumerate(items):
                yield from _scalars(entry.node, child_type(annotation, index))
        case MapNode(entries=entries):
            for key, entry in entries.items():
                yield from _scalars(entry.node, child_type(annotation, key))


def _hidden(node: Node, annotation: Any) -> Iterator[str]:
    for scalar, kind in _scalars(node, annotation):
        yield from scalar.substituted
        if kind is None or is_secret(kind):
            yield scalar.text


def _repeats(words: Words, hidden: str) -> bool:
    """Whether the words hold the text or a fragment of it, in any case of letters."""
    said, hidden = f"{words.message} {words.mend}".lower(), hidden.lower()
    if len(hidden) <= _FRAGMENT:
        return bool(hidden) and hidden in said
    return bool(_fragments(said) & _fragments(hidden) - _fragments(_PUBLIC))


def _fragments(text: str) -> set[str]:
    return {text[start : start + _FRAGMENT] for start in range(len(text) - _FRAGMENT + 1)}
