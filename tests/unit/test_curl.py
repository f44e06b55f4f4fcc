"""A request as a command: what a shell makes of it is what was meant."""

from __future__ import annotations

import shlex
import shutil
import subprocess

import pytest

from relay.sinks.curl import Masked, curl, variable

URL = "https://crm.example/hooks?a=1&b=$HOME"
BODIES = (b'{"a": "it\'s $HOME `x` \\n"}', b"@file", b"two\nlines", b"", b"\xff\x00", "\u202eright to left".encode())


def words(command: str) -> list[str]:
    return shlex.split(command.replace("\\\n", ""))


@pytest.mark.parametrize("body", BODIES)
def test_the_body_is_sent_byte_for_byte(body: bytes) -> None:
    command = curl(URL, {}, body)
    assert command.replace("\n", "").isprintable(), "a terminal shows all of it, and obeys none of it"
    before, _, after = command.rpartition("curl ")
    if before:
        assert after.endswith("--data-binary @-")
        shell = shutil.which("sh")
        assert shell is not None
        decoded = subprocess.run([shell, "-c", before.rstrip("| ")], capture_output=True, check=True)
        assert decoded.stdout == body
    else:
        assert words(after)[-2:] == ["--data-raw", body.decode()]


def test_headers_and_url_are_quoted() -> None:
    found = words(curl(URL, {"a": "it's $X", "ce-time": "12:00"}, b""))
    assert found[:6] == ["curl", URL, "-H", "a: it's $X", "-H", "ce-time: 12:00"]


def test_an_empty_header_is_sent_all_the_same() -> None:
    assert "-H 'a;'" in curl(URL, {"a": ""}, b"")


def test_a_secret_is_a_variable_that_the_shell_fills_in() -> None:
    command = curl(Masked(before="https://crm.example/", name="CRM_PATH"), {"x-key": Masked(name="X_KEY")}, b"")
    assert command.splitlines()[:2] == ['curl "https://crm.example/$CRM_PATH" \\', '  -H "x-key: $X_KEY" \\']


def test_what_stands_before_a_variable_is_never_obeyed() -> None:
    command = curl(URL, {"x`id`$y": Masked(name="X_ID")}, b"")
    assert "-H 'x`id`$y: '\"$X_ID\"" in command


@pytest.mark.parametrize(
    ("name", "expected"),
    [("authorization", "AUTHORIZATION"), ("x-api-key", "X_API_KEY"), ("3scale.key", "_3SCALE_KEY")],
)
def test_a_variable_is_named_for_what_it_stands_for(name: str, expected: str) -> None:
    assert variable(name) == expected
