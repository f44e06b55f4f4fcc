"""A grammar of almost-HTTP: from a genuine webhook to noise, with all the ways in which two parsers may disagree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from tests.running import signed

_METHODS = (b"POST",) * 12 + (
    b"GET",
    b"PUT",
    b"OPTIONS",
    b"CONNECT",
    b"post",
    b"P OST",
    b"",
    b"\x16\x03\x01",
    b"POST\x00",
)
_TARGETS = (
    *(b"/", b"*", b"", b"//webhooks/dyte", b"/webhooks/dyte?x=1#y", b"http://relay/webhooks/dyte", b"/webhooks/dyte/"),
    *(b"/%2e%2e/webhooks/dyte", b"/webhooks/\xff", b"/\xc3\xa9", b"/" + b"a" * 9000, b"/a b", b"relay:443", b"/%zz"),
)
_VERSIONS = (b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/1.11", b"http/1.1", b"", b"HTTP/1.1 ")
_ENDS = (b"\n", b"\r", b"\r\r\n", b"\n\r", b"\x0b", b"")
_SEPARATORS = (b":", b" : ", b":\t", b"", b" ", b"=", b":\x00", b": \r\n ")
_ODD_HEADERS = (
    (b"transfer-encoding", b"chunked"),
    (b"transfer-encoding", b"gzip, chunked"),
    (b"transfer-encoding", b"chunked, identity"),
    (b"transfer-encoding", b"\x0bchunked"),
    (b"transfer-encoding", b"xchunked"),
    (b"content-length", b"0"),
    (b"content-length", b"-1"),
    (b"content-length", b"+5"),
    (b"content-length", b"5, 5"),
    (b"content-length", b"0x5"),
    (b"content-length", b"99999999999999999999"),
    (b"content-length", "٣".encode()),
    (b"content-encoding", b"gzip"),
    (b"content-encoding", b"identity"),
    (b"expect", b"100-continue"),
    (b"expect", b"200-ok"),
    (b"connection", b"close"),
    (b"connection", b"upgrade"),
    (b"upgrade", b"websocket"),
    (b"upgrade", b"h2c"),
    (b"host", b"another"),
    (b"host", b""),
    (b"cookie", b"a=b; " * 300),
    (b"x-long", b"x" * 9000),
    (b"\xff\xfe", b"\xff"),
    (b"dyte-signature", b"AAAA"),
    (b"dyte-uuid", b"\xed\xa0\x80"),
    (b"rtk-signature", b"!"),
    (b"dyte-webhook-id", b"x" * 500),
    (b"content-type", b"multipart/form-data; boundary=\r"),
    (b"", b"nameless"),
)


_ODD = 0.3


@dataclass(frozen=True, slots=True)
class Genuine:
    """A webhook as the sender writes it."""

    body: bytes
    headers: Sequence[tuple[bytes, bytes]]


def genuine(body: bytes) -> Genuine:
    """One, signed."""
    return Genuine(body, [(name.encode(), text.encode()) for name, text in signed(body).items()])


def request(rng: Random, pool: Sequence[Genuine]) -> bytes:
    """Bytes for one connection."""
    made = b"".join(_one(rng, rng.choice(pool)) for _ in range(1 if rng.random() < 0.9 else rng.randrange(2, 5)))
    for _ in range(rng.choice((0, 0, 0, 1, 1, 3))):
        made = rng.choice(_MUTATIONS)(rng, made)
    return made


def _one(rng: Random, webhook: Genuine) -> bytes:
    """A genuine request in which, now and then, a part is another one."""
    headers = [(b"host", b"relay"), *webhook.headers, (b"content-length", b"%d" % len(webhook.body))]
    if rng.random() < _ODD:
        headers += rng.choices(_ODD_HEADERS, k=rng.randrange(1, 4))
        rng.shuffle(headers)
    if rng.random() < _ODD / 4:
        headers = rng.sample(headers, rng.randrange(len(headers) + 1))

    def usually(usual: bytes, others: Sequence[bytes], odd: float = _ODD / 4) -> bytes:
        return rng.choice(others) if rng.random() < odd else usual

    start = (usually(b"POST", _METHODS), usually(b"/webhooks/dyte", _TARGETS), usually(b"HTTP/1.1", _VERSIONS))
    lines = [b" ".join(start), *(name + usually(b": ", _SEPARATORS, 0.004) + text for name, text in headers), b""]
    head = b"".join(line + usually(b"\r\n", _ENDS, 0.004) for line in lines)
    return head + usually(webhook.body, _bodies(rng, webhook.body))


def _bodies(rng: Random, body: bytes) -> Sequence[bytes]:
    return (_chunked(rng, body), _chunked(rng, body), b"", body * rng.randrange(1, 4), rng.randbytes(50))


def _chunked(rng: Random, body: bytes) -> bytes:
    digits = b"%x" % len(body)
    size = rng.choice((digits, b"0x" + digits, digits + b";ext=1", b"-1", b"ffffffffffffffff1", b""))
    return size + b"\r\n" + body + rng.choice((b"\r\n0\r\n\r\n", b"\r\n0\r\nx: y\r\n\r\n", b"0\r\n\r\n", b"\r\n"))


def _flip(rng: Random, made: bytes) -> bytes:
    if not made:
        return made
    at = rng.randrange(len(made))
    return made[:at] + bytes([made[at] ^ (1 << rng.randrange(8))]) + made[at + 1 :]


def _cut(rng: Random, made: bytes) -> bytes:
    return made[: rng.randrange(len(made) + 1)]


def _insert(rng: Random, made: bytes) -> bytes:
    at = rng.randrange(len(made) + 1)
    return made[:at] + rng.randbytes(rng.randrange(1, 20)) + made[at:]


def _repeat(rng: Random, made: bytes) -> bytes:
    start = rng.randrange(len(made) + 1)
    end = min(len(made), start + rng.randrange(1, 200))
    return made[:end] + made[start:end] * rng.randrange(1, 5) + made[end:]


_MUTATIONS: tuple[Callable[[Random, bytes], bytes], ...] = (_flip, _flip, _cut, _insert, _repeat)
