"""A request as a command for curl. Pure."""

from __future__ import annotations

import base64
import re
import shlex
from collections.abc import Mapping

from relay.model import value

_NO_NAME = re.compile(r"[^A-Z0-9]+")
_SAFE = re.compile(r"[A-Za-z0-9 .:/_-]*", re.ASCII)
"""What stands in double quotes for itself."""


@value
class Masked:
    """A text that ends in a secret, with a shell's variable in its place: it works where somebody has set that."""

    before: str = ""
    name: str

    def __str__(self) -> str:
        return f"{self.before}${self.name}"


def variable(name: str) -> str:
    """The variable that stands for what has this name: `X_API_KEY` for `x-api-key`."""
    found = _NO_NAME.sub("_", name.upper())
    return f"_{found}" if found[:1].isdigit() else found


def curl(url: str | Masked, headers: Mapping[str, str | Masked], body: bytes) -> str:
    """The command, a line for each part. It sends exactly these bytes, whatever they are."""
    text = _text(body)
    source = "" if text is not None else f"echo {base64.b64encode(body).decode()} | base64 -d | "
    data = "--data-binary @-" if text is None else f"--data-raw {shlex.quote(text)}"
    lines = [f"{source}curl {_word(url)}", *(f"-H {_header(name, text)}" for name, text in headers.items()), data]
    return " \\\n  ".join(lines)


def _text(body: bytes) -> str | None:
    """The body as a text that survives a terminal; None where it must be encoded."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return None
    return text if text.replace("\n", "").isprintable() else None


def _header(name: str, text: str | Masked) -> str:
    if isinstance(text, Masked):
        return _word(Masked(before=f"{name}: {text.before}", name=text.name))
    return shlex.quote(f"{name}: {text}" if text else f"{name};")  # with a colon, curl would leave an empty one out


def _word(text: str | Masked) -> str:
    if isinstance(text, str):
        return shlex.quote(text)
    if _SAFE.fullmatch(text.before):
        return f'"{text}"'
    return f'{shlex.quote(text.before)}"${text.name}"'
