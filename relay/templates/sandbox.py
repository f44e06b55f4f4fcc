"""Jinja's sandbox, made unable to exhaust what it runs in.

Jinja's own stops an escape but limits nothing except `range`. Here an operation that makes much out of little is
either gone or checked before it runs, and a render has a budget: passes through loops and macros, characters printed,
CPU time. All are far above what any message needs.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from typing import Any, Final, TypeAlias

from jinja2 import ChainableUndefined, TemplateSyntaxError, nodes, pass_eval_context
from jinja2.filters import FILTERS
from jinja2.nodes import EvalContext
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer
from markupsafe import Markup

MAX_PRINTED: Final = 128 * 1024
"""Characters that a render may print anywhere, also where nothing comes out, as in `{% set %}`."""
MAX_PASSES: Final = 5000
"""Passes through all loops, macros and blocks of a render together."""
MAX_CPU_SECONDS: Final = 0.5
"""CPU time of a render's thread; not wall time, which a paused process would use up."""
MAX_RANGE: Final = 1000
MAX_ITEMS: Final = 10_000
MAX_BITS: Final = 256

Escape: TypeAlias = Callable[[str], str]

# As one text: one name a line would be eighty lines.
_SAFE_FILTERS = (  # noqa: SIM905
    "abs capitalize count d default dictsort filesizeformat first float groupby int items last length list lower map "
    "max min reject rejectattr reverse select selectattr sort string sum title trim unique upper urlencode wordcount"
).split()
_SAFE_TEXT_METHODS = frozenset(
    "capitalize casefold count endswith find index isalnum isalpha isdigit islower isnumeric isspace istitle isupper "  # noqa: SIM905
    "lower lstrip partition removeprefix removesuffix rfind rindex rpartition rsplit rstrip split splitlines "
    "startswith strip swapcase title upper".split()
)
_SAFE_METHODS: Mapping[type, frozenset[str]] = {
    str: _SAFE_TEXT_METHODS,
    Markup: frozenset({"endswith", "lstrip", "rstrip", "startswith", "strip"}),
    dict: frozenset({"get", "items", "keys", "values"}),
    list: frozenset({"count", "index"}),
    tuple: frozenset({"count", "index"}),
    int: frozenset(),
    float: frozenset(),
    bool: frozenset(),
    bytes: frozenset(),
}


class TemplateError(ValueError):
    """The template cannot be compiled, or not be rendered over this payload; the message names the line if known."""


@dataclass(slots=True)
class Budget:
    """What is left of one render's allowance."""

    cpu_deadline: float
    passes: int = MAX_PASSES
    printed: int = MAX_PRINTED


_BUDGET: ContextVar[Budget] = ContextVar("budget")


@contextmanager
def budget() -> Iterator[None]:
    """One render's allowance, from now on."""
    token = _BUDGET.set(Budget(cpu_deadline=time.thread_time() + MAX_CPU_SECONDS))
    try:
        yield
    finally:
        _BUDGET.reset(token)


class Environment(ImmutableSandboxedEnvironment):
    """Jinja's sandbox with a caller's escape and without the operations that make much out of little."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, escape: Escape) -> None:
        # Not optimized: folding constants would evaluate them at load, without a budget.
        super().__init__(autoescape=True, undefined=ChainableUndefined, finalize=self.print, optimized=False)
        self._escape = escape
        own: dict[str, Callable[..., Any]] = {
            "join": self.join,
            "replace": _replaced,
            "round": _rounded,
            "truncate": _truncated,
        }
        self.filters = {name: _on_plain_text(FILTERS[name]) for name in _SAFE_FILTERS}
        self.filters |= {name: _on_plain_text(function) for name, function in own.items()}
        self.filters |= {"e": self.escaped, "escape": self.escaped}
        self.globals["range"] = _range
        del self.globals["lipsum"]

    # A finalizer that wants the evaluation context runs at render time only, and before Jinja's HTML escape, which
    # then leaves its Markup alone.
    @pass_eval_context
    def print(self, _context: EvalContext, value: object) -> Markup:
        """Escape a value that is printed."""
        text = self.escaped(value)
        left = _BUDGET.get()
        left.printed -= len(text)
        if left.printed < 0:
            raise TemplateError(f"the template prints more than {MAX_PRINTED // 1024} Ki characters")
        return text

    def tick(self) -> None:
        """Spend one pass of the budget; `Guard` calls it from all that can repeat."""
        left = _BUDGET.get()
        left.passes -= 1
        if left.passes < 0:
            raise TemplateError(f"the template takes more than {MAX_PASSES} passes through its loops")
        if time.thread_time() > left.cpu_deadline:
            raise TemplateError(f"the template takes more than {MAX_CPU_SECONDS} s")

    def escaped(self, value: object) -> Markup:
        """The value as text that needs no more escaping."""
        return value if isinstance(value, Markup) else Markup(self._escape(written(value)))  # noqa: S704  just escaped

    def glue(self, *parts: object) -> str:
        """What `~` does: join as text."""
        if not any(isinstance(part, Markup) for part in parts):
            return _checked_join([written(part) for part in parts])
        return Markup(_checked_join([self.escaped(part) for part in parts]))  # noqa: S704  each part is escaped

    def join(self, value: Iterable[object], d: object = "", attribute: str | int | None = None) -> str:
        """The filter `join`."""
        items = [item if attribute is None else self.getitem(item, attribute) for item in value]
        glued = [piece for item in items for piece in (d, item)][1:]
        return self.glue(*glued)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Checked before it runs, because afterwards the memory is gone."""
        if operator == "**":
            raise TemplateError("** is not available in templates")
        if operator == "+" and isinstance(left, str) and isinstance(right, str):
            return self.glue(left, right)
        if operator == "+" and isinstance(left, list | tuple) and isinstance(right, list | tuple):
            _check_items(len(left) + len(right))
        elif operator in "*%" and not (_is_number(left) and _is_number(right)):
            raise TemplateError(f"{operator} works on numbers only, and one of them is missing or something else")
        elif operator == "*" and isinstance(left, int) and isinstance(right, int):
            _check_bits(left, right)
        return super().call_binop(context, operator, left, right)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """A field first: `meeting.items` is the payload's, if it has one."""
        if isinstance(obj, dict) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Of JSON's own types only what is listed: `"".zfill(10**9)` and `(1).to_bytes(10**9)` are methods too."""
        listed = _SAFE_METHODS.get(type(obj))
        if listed is not None:
            return attr in listed
        return super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:  # noqa: ARG002  Jinja's hook
        """Jinja would hand out a `str.format` that still pads to any width; without it the method is not listed."""
        return None


class Guard(NodeTransformer):
    """Puts `tick` into all that can repeat and `glue` in the place of `~`; refuses what needs other files."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802  Jinja's naming
        return self._counted(node)

    visit_Macro = visit_Block = visit_For  # noqa: N815  the same

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return self._call("glue", node.nodes, node.lineno)

    def visit_Include(self, node: nodes.Node) -> nodes.Node:  # noqa: N802
        raise TemplateSyntaxError("a template cannot bring in other files", node.lineno)

    visit_Import = visit_FromImport = visit_Extends = visit_Include  # noqa: N815

    # These print, or mark as printed, what never went through `print`.
    def visit_FilterBlock(self, node: nodes.Node) -> nodes.Node:  # noqa: N802
        raise TemplateSyntaxError("{% filter %} and {% call %} are not available; use {{ value|filter }}", node.lineno)

    visit_CallBlock = visit_FilterBlock  # noqa: N815

    def visit_AssignBlock(self, node: nodes.AssignBlock) -> nodes.Node:  # noqa: N802
        if node.filter is not None:
            raise TemplateSyntaxError("{% set … %} with a block takes no filter", node.lineno)
        return self.generic_visit(node)

    def visit_Filter(self, node: nodes.Filter) -> nodes.Node:  # noqa: N802
        if node.name != "raw":
            return self.generic_visit(node)
        if not isinstance(node.node, nodes.Const):
            raise TemplateSyntaxError("|raw is for text in quotes, never for a value of the event", node.lineno)
        return nodes.MarkSafe(node.node, lineno=node.lineno)  # no filter of that name exists: `map('raw')` finds none

    def _counted(self, node: Any) -> nodes.Node:
        self.generic_visit(node)
        tick = nodes.ExprStmt(self._call("tick", [], node.lineno), lineno=node.lineno)
        tick.set_environment(self._environment)
        node.body.insert(0, tick)
        return node  # type: ignore[no-any-return]

    def _call(self, name: str, arguments: list[nodes.Expr], line: int) -> nodes.Call:
        call = nodes.Call(nodes.EnvironmentAttribute(name), arguments, [], None, None)
        call.set_environment(self._environment)
        return call.set_lineno(line)  # type: ignore[return-value]


def written(value: object) -> str:
    """A JSON value as people write it: nothing for null and what is missing, `true`, and JSON for the rest."""
    match value:
        case str():
            return str(value)
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case dict() | list() | tuple():
            return json.dumps(value, ensure_ascii=False, default=written)
        case Iterator():
            return written(list(value))
        case _:  # None, Undefined, and methods: `meeting.title` where the meeting is a text
            return ""


def _on_plain_text(function: Callable[..., Any]) -> Callable[..., Any]:
    """The filter over text as it was before its escape; what it yields is escaped again where it is printed."""

    @wraps(function)  # keeps Jinja's marks on the function
    def filtered(*args: object, **kwargs: object) -> object:
        return function(*(arg.unescape() if isinstance(arg, Markup) else arg for arg in args), **kwargs)

    return filtered


def _checked_join(parts: list[str]) -> str:
    _check_size(sum(map(len, parts)))
    return "".join(parts)


def _check_size(size: int) -> None:
    if size > MAX_PRINTED:
        raise TemplateError(f"the template makes a text of more than {MAX_PRINTED // 1024} Ki characters")


def _check_items(count: int) -> None:
    if count > MAX_ITEMS:
        raise TemplateError(f"the template makes a list of more than {MAX_ITEMS} items")


def _check_bits(*numbers: int) -> None:
    if sum(number.bit_length() for number in numbers) > MAX_BITS:
        raise TemplateError("the template makes a number that is too large")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)


def _range(*bounds: int) -> range:
    numbers = range(*bounds)
    if len(numbers) > MAX_RANGE:
        raise TemplateError(f"range() goes up to {MAX_RANGE} numbers")
    return numbers


def _rounded(value: float, precision: int = 0) -> float:
    return round(float(value), max(0, min(int(precision), 10)))


def _replaced(value: object, old: object, new: object) -> str:
    text, old_text, new_text = written(value), written(old), written(new)
    _check_size(len(text) + text.count(old_text) * max(0, len(new_text) - len(old_text)))
    return text.replace(old_text, new_text)


def _truncated(value: object, length: int = 80, end: str = "…") -> str:
    text = written(value)
    return text if len(text) <= length else text[: max(0, int(length) - len(end))].rstrip() + written(end)
