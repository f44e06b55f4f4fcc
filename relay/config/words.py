"""Pydantic's findings in the words of relay.yaml: what is wrong with a value, and what to write instead."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args

from pydantic_core import ErrorDetails
from pydantic_core.core_schema import ErrorType

from relay.config.problems import listed
from relay.model import value
from relay.options import Unfit
from relay.registration.options import ID_PATTERN

NAME_PATTERN = r"^[A-Za-z0-9_.-]{1,64}$"
PATH_PATTERN = r"^/[A-Za-z0-9._~/-]{1,255}$"
NAME_WORDS = ("is no name", "use 1 to 64 letters, digits, `_`, `.` or `-`")


@value
class Words:
    """A message and a mend."""

    message: str
    mend: str = ""
    plain: Words | None = None
    """Only of a validator's own words, which may repeat the value: what to say where they do and must not."""


_TEXT = Words(message="must be a text")
LIST = Words(message="must be a list", mend="write `[one, two]`")
MAPPING = Words(message="must be a mapping", mend="write `key: value` lines under it")
_KINDS: Mapping[str, Words] = {
    "string_type": _TEXT,
    "url_type": _TEXT,
    "string_unicode": Words(message="is not Unicode text"),
    "list_type": LIST,
    "tuple_type": LIST,
    "dict_type": MAPPING,
    "mapping_type": MAPPING,
    "model_type": MAPPING,
    "model_attributes_type": MAPPING,
    "bool_type": Words(message="must be true or false"),
    "bool_parsing": Words(message="must be true or false"),
    "int_type": Words(message="must be a whole number"),
    "int_parsing": Words(message="must be a whole number"),
    "int_from_float": Words(message="must be a whole number"),
    "float_type": Words(message="must be a number"),
    "float_parsing": Words(message="must be a number"),
    "finite_number": Words(message="must be a number"),
    "missing": Words(message="is missing"),
    "extra_forbidden": Words(message="unknown key"),
    "recursion_loop": Words(message="is nested too deeply"),
}
_PATTERNS: Mapping[str, Words] = {
    NAME_PATTERN: Words(message=NAME_WORDS[0], mend=NAME_WORDS[1]),
    PATH_PATTERN: Words(
        message="is no path", mend="start it with `/`, then letters, digits, `/`, `-`, `_`, `.` or `~`"
    ),
    ID_PATTERN: Words(message="is no ID", mend="copy it from the provider: 1 to 64 letters, digits, `_` or `-`"),
}
_OWN_TYPES = frozenset({"value_error", "assertion_error"})
_PYDANTIC_TYPES = frozenset(get_args(ErrorType))


def words_for(error: ErrorDetails) -> Words:
    """One finding, translated."""
    kind = error["type"]
    if kind in _KINDS:
        return _KINDS[kind]
    if kind in _OWN_TYPES or kind not in _PYDANTIC_TYPES:
        return _own(error)
    context: Mapping[str, Any] = error.get("ctx", {})
    translate = _WITH_CONTEXT.get(kind)
    return translate(context) if translate is not None else Words(message="is not valid")


def merged(several: Sequence[Words]) -> Words:
    """What to say where a value fits none of the types that it might have."""
    distinct = list(dict.fromkeys(several))
    own = [words for words in distinct if words.plain is not None]
    if len(distinct) == 1 or own:
        return (own or distinct)[0]
    first, *others = (words.message for words in distinct)
    message = " or ".join((first, *(other.removeprefix("must be ") for other in others)))
    return Words(message=message, mend=next((words.mend for words in distinct if words.mend), ""))


def _own(error: ErrorDetails) -> Words:
    """What a validator of ours said; by convention `what is wrong; what to do`."""
    cause = error.get("ctx", {}).get("error")
    plain = _split(cause.what) if isinstance(cause, Unfit) else Words(message="is not valid")
    return replace(_split(str(cause) if isinstance(cause, Exception) else error["msg"]), plain=plain)


def _split(text: str) -> Words:
    message, separator, mend = text.rpartition("; ")
    return Words(message=message, mend=mend) if separator else Words(message=text)


def _choice(context: Mapping[str, Any]) -> Words:
    choices = re.findall(r"'([^']*)'", str(context.get("expected", "")))
    return Words(message=f"must be {listed(choices)}" if choices else "is not one of the values that are allowed")


def _number(limit: object) -> str:
    return f"{limit:g}" if isinstance(limit, float) else str(limit)


def _at_least(context: Mapping[str, Any]) -> Words:
    return Words(message=f"must be at least {_number(context.get('ge'))}")


def _at_most(context: Mapping[str, Any]) -> Words:
    return Words(message=f"must be at most {_number(context.get('le'))}")


def _more_than(context: Mapping[str, Any]) -> Words:
    return Words(message=f"must be more than {_number(context.get('gt'))}")


def _less_than(context: Mapping[str, Any]) -> Words:
    return Words(message=f"must be less than {_number(context.get('lt'))}")


def _too_short(context: Mapping[str, Any]) -> Words:
    least = context.get("min_length", 1)
    return Words(message="must not be empty" if least == 1 else f"needs at least {least} entries or characters")


def _too_long(context: Mapping[str, Any]) -> Words:
    return Words(message=f"must not be longer than {context.get('max_length')}")


def _pattern(context: Mapping[str, Any]) -> Words:
    pattern = str(context.get("pattern"))
    return _PATTERNS.get(pattern, Words(message=f"must match {pattern}"))


def _url(context: Mapping[str, Any]) -> Words:
    why = context.get("error")
    return Words(message=f"is not a URL: {why}" if why else "is not a URL", mend="write `https://host/path`")


def _scheme(context: Mapping[str, Any]) -> Words:
    schemes = re.findall(r"'([^']*)'", str(context.get("expected_schemes", "")))
    return Words(message=f"must start with {listed(f'{scheme}://' for scheme in schemes)}")


_WITH_CONTEXT: Mapping[str, Callable[[Mapping[str, Any]], Words]] = {
    "literal_error": _choice,
    "enum": _choice,
    "greater_than_equal": _at_least,
    "less_than_equal": _at_most,
    "greater_than": _more_than,
    "less_than": _less_than,
    "too_short": _too_short,
    "string_too_short": _too_short,
    "too_long": _too_long,
    "string_too_long": _too_long,
    "url_too_long": _too_long,
    "string_pattern_mismatch": _pattern,
    "url_parsing": _url,
    "url_syntax_violation": _url,
    "url_scheme": _scheme,
}
