"""relay.yaml against its own JSON Schema: what an editor would underline, told without an editor.

Nothing is filled in, so neither a variable nor a secret is needed. It asks how a value is written, where the relay asks
what it means: `concurrency: "8"` is refused here and taken there; a variable is allowed here, whatever it may hold.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any, TypeAlias

from relay.config.document import BrokenNode, Entry, ListNode, MapNode, Node, ScalarNode, parse
from relay.config.loading import read_bytes
from relay.config.problems import Findings, Path, Problem, listed
from relay.config.reading import locate, place_of, untyped
from relay.config.schema import schema
from relay.config.words import LIST, MAPPING, NAME_PATTERN, NAME_WORDS, Words, merged
from relay.errors import StartError
from relay.model import value

if TYPE_CHECKING:
    from jsonschema import ValidationError

_Schema: TypeAlias = Mapping[str, Any]

_TYPES: Mapping[str, Words] = {
    "array": LIST,
    "object": MAPPING,
    "string": Words(message="must be a text", mend="put it in quotes"),
    "integer": Words(message="must be a whole number"),
    "number": Words(message="must be a number"),
    "boolean": Words(message="must be true or false"),
    "null": Words(message="must be empty"),
}
_LIMITS: Mapping[str, str] = {
    "const": "must be `{}`",
    "minimum": "must be at least {:g}",
    "maximum": "must be at most {:g}",
    "minItems": "must not be empty",
    "minLength": "must not be empty",
    "minProperties": "must not be empty",
    "maxLength": "must not be longer than {}",
}
_SHOWN_EXAMPLES = 3


@value
class _Fault:
    """One thing that the schema refuses, at a key of the file."""

    path: Path
    words: Words


def prove(path: FilePath | str) -> Sequence[Problem]:
    """All in which a file differs from what `relay schema` allows, in the order of the file. Reads only.

    Raises:
        StartError: the library that proves it is not installed.
    """
    iter_errors = _validator()
    findings = Findings(file=str(path))
    data = read_bytes(FilePath(path), findings)
    tree = None if data is None else parse(data, findings)
    if tree is None or findings.errors:  # what cannot be read whole cannot be compared
        return findings.errors
    root = Entry(place=tree.place, node=tree)
    for fault in dict.fromkeys(each for error in iter_errors(_plain(tree)) for each in _faults(error, findings)):
        entry, _ = locate(root, (), fault.path)
        findings.error(place_of(entry), fault.path, fault.words.message, fault.words.mend)
    return findings.errors


def _validator() -> Callable[[object], Iterable[ValidationError]]:
    try:
        from jsonschema import Draft202012Validator  # noqa: PLC0415 - an extra: a gateway has no use for it
    except ModuleNotFoundError as error:
        raise StartError(
            "--schema needs the package jsonschema: python3 -m pip install 'dyte-relay[schema]'; "
            "`relay check` without it needs nothing, and knows more"
        ) from error
    return Draft202012Validator(schema()).iter_errors


def _plain(node: Node) -> object:
    match node:
        case ScalarNode():
            return untyped(node)
        case ListNode(items=items):
            return [_plain(entry.node) for entry in items]
        case MapNode(entries=entries):
            return {key: _plain(entry.node) for key, entry in entries.items()}
        case BrokenNode():
            return None


def _faults(error: ValidationError, findings: Findings) -> Iterator[_Fault]:
    """The schema's refusal in the words of relay.yaml; none of them repeats a value, which may be a secret."""
    path: Path = tuple(error.absolute_path)
    match error.validator:
        case "additionalProperties" | "required":
            yield from _wrong_keys(error, path, findings)
        case "anyOf":
            yield from _none_fits(error, path, findings)
        case _:
            yield _Fault(path=path, words=_words(error, findings))


def _wrong_keys(error: ValidationError, path: Path, findings: Findings) -> Iterator[_Fault]:
    wanted, given = _schema_of(error), _keys(error.instance)
    properties: _Schema = wanted.get("properties", {})
    if error.validator == "required":
        for key in [key for key in wanted["required"] if key not in given]:
            mend = f"add `{key}: {_example(properties.get(key, {}))}`"
            yield _Fault(path=(*path, key), words=Words(message="is missing", mend=mend))
        return
    patterns: Sequence[str] = list(wanted.get("patternProperties", ()))
    for key in given:
        if key in properties or any(re.search(pattern, key) for pattern in patterns):
            continue
        mend = findings.suggest(key, properties) or f"known keys: {listed(properties, last='and')}"
        words = (
            Words(message=NAME_WORDS[0], mend=NAME_WORDS[1]) if patterns else Words(message="unknown key", mend=mend)
        )
        yield _Fault(path=(*path, key), words=words)


def _none_fits(error: ValidationError, path: Path, findings: Findings) -> Iterator[_Fault]:
    """Of several ways to write a value: what is wrong inside of the one that was meant, or all the ways there are."""
    context = [each for each in error.context or () if _schema_of(each).get("title") != "Variable"]
    inner = [each for each in context if len(each.absolute_path) > len(path)]
    if inner:
        for each in inner:
            yield from _faults(each, findings)
        return
    if any({"pattern", "const"} & _schema_of(each).keys() for each in context) and (told := _told(_schema_of(error))):
        yield _Fault(path=path, words=Words(message="is not written as it must be", mend=f"write it like {told}"))
        return
    near = [each for each in context if each.validator != "type"] or context  # of these the type is right
    yield _Fault(path=path, words=merged([_words(each, findings) for each in near if each.validator_value != "null"]))


def _words(error: ValidationError, findings: Findings) -> Words:
    wanted: Any = error.validator_value
    kind = str(error.validator)
    match kind:
        case "type":
            return _TYPES[wanted]
        case "enum":
            return Words(message=f"must be {listed(wanted)}", mend=findings.suggest(str(error.instance), wanted))
        case "pattern" if wanted == NAME_PATTERN:
            return Words(message=NAME_WORDS[0], mend=NAME_WORDS[1])
        case _ if kind in _LIMITS:
            return Words(message=_LIMITS[kind].format(wanted))
        case _:
            return Words(message=f"does not fit the schema ({kind})", mend="compare it with `relay schema`")


def _keys(instance: object) -> Sequence[str]:
    return list(instance) if isinstance(instance, dict) else ()


def _schema_of(error: ValidationError) -> _Schema:
    return error.schema if isinstance(error.schema, Mapping) else {}


def _example(field: _Schema) -> str:
    examples = field.get("examples") or field.get("enum") or [field.get("const", "…")]
    return str(examples[0]) if not isinstance(examples[0], list) else f"[{', '.join(map(str, examples[0]))}]"


def _told(field: _Schema) -> str:
    """Some of its examples, where they are texts."""
    examples = field.get("examples", ())
    return listed(examples[:_SHOWN_EXAMPLES]) if all(isinstance(example, str) for example in examples) else ""
