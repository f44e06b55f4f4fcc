"""What stands in for a variable that is not set, for those who only show what would be sent. Pure.

Whoever writes or runs route tests often has none of the secrets of production, and needs none: what is made of them is
masked anyway. A stand-in only has to pass for what the key wants. Nothing is ever sent with one.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Mapping

from relay.config.problems import Path

_HOST = "unset.example"
_PUBLIC_KEY = """\
-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAtAKY4fok37VWNt7ryA1g
Bapz70C1ds/2ltZRTuQexkrGHQxU5nlZdfSCdVFFOe3uTrRfh08VRFU98KNxV8Mf
UbrgJQO7t1FUA9N6dbV7q8ZyQb6elOsWQhxDUcbmGh3uQVLEV9L90G14AMiyxTVG
0SrXLVoj0DmMrUWj5BxqoRFyHnZLZoYz8nC4miDHb7qEc5S1pOLuepYFfhaXfqLJ
STYDLtlYksu8yxPhrtEUVoUGMJveOObMDoQBzbemrgAUIAqM4oiqgg0x74ZXg1l/
lxvM8fXyS1k8IpZY72iAErtjnuTPJ0ydboqH3OS8i0es+7RwzzpxB0r13ZBtWveU
eQIDAQAB
-----END PUBLIC KEY-----
"""
"""Of a pair whose private half was never kept: nobody can sign for it."""


def stand_in(path: Path, name: str, *, whole: bool) -> str:
    """A value for the variable `name` in the setting at `path`; `whole` where it is all that stands there."""
    word = f"unset-variable-{re.sub('[^a-z0-9]+', '-', name.lower()).strip('-')}"
    key = next((step for step in reversed(path) if isinstance(step, str)), "")
    make = _FOR_KEYS.get(key) if whole else None
    return word if make is None else make(word)


def _address(word: str) -> str:
    return f"https://{_HOST}/{word}"


_FOR_KEYS: Mapping[str, Callable[[str], str]] = {
    "api_url": _address,
    "bootstrap_servers": lambda _: f"{_HOST}:9092",
    "listen": lambda _: "127.0.0.1:0",
    "path": lambda word: f"/{word}",
    "public_key": lambda _: _PUBLIC_KEY,
    "public_key_url": _address,
    "secret": lambda word: "whsec_" + base64.b64encode(hashlib.sha256(word.encode()).digest()).decode(),
    "store": lambda word: f"sqlite:///{word}.db",
    "url": _address,
    "webhook_url": _address,
}
