from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.sinks.slack.text import escape
from relay.templates import MAX_OUTPUT, MAX_SOURCE, Template, TemplateError
from relay.templates.sandbox import MAX_PRINTED

HOSTILE = "<!channel> & 'you'"
SAFE = "&lt;!channel&gt; &amp; 'you'"
PAYLOAD = {
    "meeting": {"title": HOSTILE, "items": "field", "organizedBy": "a text"},
    "names": ["<a>", "b"],
    "size": 2_044_680,
    "ratio": 0.5,
    "yes": True,
    "nothing": None,
}


def render(text: str, variables: dict[str, Any] | None = None) -> str:
    return Template(text, escape=escape).render(PAYLOAD if variables is None else variables)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Recording of {{ meeting.title }} is <https://x.example|ready> & done", None),
        ("{{ meeting['title'] }}", SAFE),
        ("{{ size }} {{ ratio }} {{ yes }}", "2044680 0.5 true"),
        ("[{{ nothing }}{{ missing }}{{ missing.deep.down }}{{ meeting.title.title }}]", "[]"),
        ("{{ meeting.organizedBy.name }}", ""),
        ("{{ meeting.items }}", "field"),
        ("{{ names }}", '["&lt;a&gt;", "b"]'),
        ("{% for name in names %}{{ loop.index }}:{{ name }};{% endfor %}", "1:&lt;a&gt;;2:b;"),
        ("{% if missing %}x{% else %}y{% endif %}", "y"),
        ("{{ size + 1 }} {{ size // 2 }} {{ ratio * 2 }} {{ 7 % 4 }}", "2044681 1022340 1.0 3"),
        ("{{ missing|default('none') }}", "none"),
        ("{{ 'it\\'s <b>' }}", "it's &lt;b&gt;"),
        ("{{ '<!here>'|raw }}{% if yes %}<!here>{% endif %}", "<!here><!here>"),
        ("{{ names|map('upper')|join(' & ') }}", "&lt;A&gt; &amp; B"),
        ("{{ [{'n': '<x>'}]|join(',', attribute='n') }}", "&lt;x&gt;"),
        ("{{ 'abc'|truncate(2) }}|{{ 'abc'|truncate(3) }}", "a…|abc"),
        ("{{ 0.126|round(2) }}", "0.13"),
        ("{{ 'a-b'|replace('-', '<') }}", "a&lt;b"),
        ("{{ range(3)|list }}", "[0, 1, 2]"),
        ("{{ [1] + [2] }}", "[1, 2]"),
        ("{{ names|map('upper') }}", '["&lt;A&gt;", "B"]'),
        ("{{ 'x.y'.split('.')|last }}", "y"),
    ],
)
def test_renders(text: str, expected: str | None) -> None:
    assert render(text) == (
        f"Recording of {SAFE} is <https://x.example|ready> & done" if expected is None else expected
    )


@pytest.mark.parametrize(
    "text",
    [
        "{{ x }}",
        "{{ x|e }}",
        "{{ x|escape|e }}",
        "{% set y = x %}{{ y }}",
        "{% set y %}{{ x }}{% endset %}{{ y }}",
        "{% set y %}{{ x }}{% endset %}{{ y|trim }}",
        "{% macro say(y) %}{{ y }}{% endmacro %}{{ say(x) }}",
        "{% macro say(y) %}{{ y }}{% endmacro %}{{ say(x) ~ '' }}",
        "{% macro say(y) %}{{ y }}{% endmacro %}{{ say(x) + '' }}",
        "{{ x ~ '' }}",
        "{{ x + '' }}",
        "{{ '' + x }}",
        "{{ '<q>'|raw|replace('<q>', x) }}",
        "{{ ['', x]|join }}",
        "{{ [x]|join('<'|raw) }}",
        "{% for part in [x] recursive %}{{ part }}{% endfor %}",
        "{% autoescape false %}{{ x }}{% endautoescape %}",
        "{% block b %}{{ x }}{% endblock %}",
        "{% with y = x %}{{ y }}{% endwith %}",
        "{{ x if x else '' }}",
        "{% set ns = namespace() %}{% set ns.y = x %}{{ ns.y }}",
        "{{ cycler(x).next() }}",
        "{{ dict(y=x).y }}",
        "{{ x|string|list|join }}",
    ],
)
def test_a_value_is_escaped_exactly_once_whatever_way_it_takes(text: str) -> None:
    assert render(text, {"x": HOSTILE}) == SAFE


@settings(deadline=None)  # compiling takes what it takes on a busy machine
@given(st.text(st.sampled_from("<>&@ab'\"{}%")) | st.text())
def test_a_value_is_data_never_markup_or_template(value: str) -> None:
    printed = render("{{ x }}|{{ x|upper }}|{{ x|truncate(5) }}|{{ [x, x] }}", {"x": value})

    assert "<" not in printed
    assert ">" not in printed
    assert "&" not in re.sub(r"&(amp|lt|gt);", "", printed)
    assert render("{{ x }}", {"x": value}) == escape(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("first\n\n{{ x }", "line 3 of the template: unexpected '}'"),
        ("\n{% if x %}", "line 2 of the template: Unexpected end of template"),
        ("{{ x|center(9) }}", "line 1 of the template: No filter named 'center'"),
        ("{{ x|safe }}", "No filter named 'safe'"),
        ("{{ x|tojson }}", "No filter named 'tojson'"),
        ("{{ x|raw }}", "never for a value of the event"),
        ("{% filter upper %}{{ x }}{% endfilter %}", "not available"),
        ("{% macro m() %}{{ caller() }}{% endmacro %}\n{% call m() %}{{ x }}{% endcall %}", "line 2 .* not available"),
        ("{% set y | upper %}{{ x }}{% endset %}", "takes no filter"),
        ("{% include 'other' %}", "cannot bring in other files"),
        ("{% extends 'other' %}", "cannot bring in other files"),
        ("{% import 'other' as other %}", "cannot bring in other files"),
        ("x" * (MAX_SOURCE + 1), "longer than 32768 characters"),
        ("{{ " + "(" * 5000 + ")" * 5000 + " }}", "nested too deeply"),
    ],
)
def test_mistakes_show_when_it_is_compiled(text: str, message: str) -> None:
    with pytest.raises(TemplateError, match=message):
        Template(text, escape=escape)


@pytest.mark.parametrize(
    "text",
    [
        "{{ 'a' * 300000000 }}",
        "{{ [1] * 300000000 }}",
        "{{ 9 ** 999999999 }}",
        "{{ 'a'.center(200000000) }}",
        "{{ 'a'.zfill(200000000) }}",
        "{{ 'a'.ljust(200000000) }}",
        "{{ '{0:>200000000}'.format(1) }}",
        "{{ '%0200000000d' % 1 }}",
        "{{ (5).to_bytes(200000000) }}",
        "{{ ('a'|replace('', 'b')|e).center(200000000) }}",
        "{{ range(1001) }}",
        "{{ range(0, 100000000) }}",
        "{% for i in range(1000) %}{% for j in range(1000) %}{% endfor %}{% endfor %}",
        "{% macro f(n) %}{{ f(n) }}{{ f(n) }}{% endmacro %}{{ f(1) }}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(30) }}",
        "{% block b %}{{ self.b() }}{{ self.b() }}{% endblock %}",
        "{% set ns = namespace(x='a') %}{% for i in range(40) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{% set ns = namespace(x='a') %}{% for i in range(40) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{% set ns = namespace(x='a') %}{% for i in range(40) %}{% set ns.x = [ns.x, ns.x]|join %}{% endfor %}",
        "{% set ns = namespace(x='a') %}{% for i in range(40) %}{% set ns.x = ns.x|replace('a', 'aa') %}{% endfor %}",
        "{% set ns = namespace(x=[1]) %}{% for i in range(40) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{% set ns = namespace(x=3) %}{% for i in range(40) %}{% set ns.x = ns.x * ns.x %}{% endfor %}",
        "{% set x %}{{ big }}{{ big }}{{ big }}{{ big }}{{ big }}{% endset %}",
        "{{ big }}{{ big }}",
        "{{ big }}{{ 'é' * 1 }}",
        "{% for i in range(1000) %}{% set x = huge|upper|lower|title %}{% endfor %}",
        "{{ names|map('raw')|join }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ names.append('x') }}",
        "{{ missing() }}",
        "{{ missing + 1 }}",
        "{{ size > missing }}",
        "{{ 1 // 0 }}",
        "{{ 'x'|int(base=99) + names }}",
        "{{ lipsum(200000000) }}",
    ],
)
def test_what_fails_or_would_take_too_much_is_an_error_and_nothing_else(text: str) -> None:
    variables = PAYLOAD | {"big": "x" * (MAX_OUTPUT - 10), "huge": "x" * 1_000_000}

    with pytest.raises(TemplateError):
        render(text, variables)


@pytest.mark.parametrize("call", ["center(9)", "zfill(9)", "format(1)", "format_map({})", "encode()", "join([])"])
def test_methods_that_could_make_much_are_refused_before_they_run(call: str) -> None:
    with pytest.raises(TemplateError, match="SecurityError"):
        render(f"{{{{ 'x'.{call} }}}}")


def test_as_much_as_is_allowed_may_be_printed() -> None:
    assert len(render("{{ x }}", {"x": "x" * MAX_OUTPUT})) == MAX_OUTPUT
    with pytest.raises(TemplateError, match="longer than 32 KiB"):
        render("{{ x }}", {"x": "é" * (MAX_OUTPUT // 2 + 1)})
    with pytest.raises(TemplateError, match="prints more"):
        render("{{ x }}", {"x": "x" * (MAX_PRINTED + 1)})


def test_a_budget_is_of_one_render() -> None:
    template = Template("{% for i in range(900) %}{% endfor %}done", escape=escape)

    assert {template.render({}) for _ in range(10)} == {"done"}


def test_names_of_the_payload_cannot_break_in() -> None:
    payload = {"self": "<a>", "range": "b", "environment": "c", "context": "d", "": 1, "a b": 2, "_x": "e"}

    # `self` is Jinja's own word, and prints nothing
    assert render("{{ self }}{{ range }}{{ environment }}{{ context }}{{ _x }}", payload) == "bcde"


def test_own_filters_are_added() -> None:
    assert Template("{{ 'x'|twice }}", escape=escape, filters={"twice": lambda text: text * 2}).render({}) == "xx"


@pytest.mark.parametrize("text", ["{{ x", "{{ [x }}", "{% nonsense %}", "{{ x|nonsense }}", "{{ x is nonsense }}"])
def test_any_broken_syntax_is_a_template_error(text: str) -> None:
    with pytest.raises(TemplateError, match="line 1"):
        Template(text, escape=escape)
