"""The provider's well-known key document on loopback, in all the shapes it might have; and key pairs for tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

import orjson
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from relay.simulator import SimulatorKey, well_known
from tests.fakes.http import Answer, FakeHttp

PATH = "/.well-known/webhooks.json"


@cache
def key_pair(name: str = "first") -> SimulatorKey:
    """One key pair for each name and test run; they take long to make."""
    del name
    return SimulatorKey.create()


def weak_pem() -> str:
    """An RSA key of 1024 bits."""
    return _pem(rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key())


def other_kind_pem() -> str:
    """An elliptic-curve key."""
    return _pem(ec.generate_private_key(ec.SECP256R1()).public_key())


def _pem(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_bytes(serialization.Encoding.PEM, form).decode()


def _der(pem: str) -> str:
    return "".join(pem.strip().splitlines()[1:-1])


SHAPES: Mapping[str, Callable[[str], bytes]] = {
    "realtimekit": lambda pem: orjson.dumps({"success": True, "data": {"publicKey": pem}, "message": ""}),
    "top": lambda pem: orjson.dumps({"publicKey": pem}),
    "snake": lambda pem: orjson.dumps({"public_key": pem}),
    "list": lambda pem: orjson.dumps({"keys": [{"key": pem}]}),
    "result": lambda pem: orjson.dumps({"result": {"signing_keys": [{"pem": pem}]}}),
    "string": orjson.dumps,
    "bare": lambda pem: pem.encode(),
    "one line": lambda pem: pem.replace("\n", "").encode(),
    "literal line breaks": lambda pem: orjson.dumps({"data": {"publicKey": pem.replace("\n", "\\n")}}),
    "bare base64": lambda pem: _der(pem).encode(),
    "base64 in JSON": lambda pem: orjson.dumps({"data": {"publicKey": _der(pem)}}),
    "padded": lambda pem: f"  {pem}\r\n".encode(),
}
"""Documents that are read, by a name for each."""


class FakeKeyServer(FakeHttp):
    """Serves the document at `key_url`; `rotate` changes the key, `will` scripts other answers."""

    def __init__(self, key: SimulatorKey | None = None) -> None:
        super().__init__()
        self.rotate(key or key_pair())

    def rotate(self, key: SimulatorKey) -> None:
        """Serve this key from now on."""
        self.serve(well_known(key))

    def serve(self, document: bytes, *, status: int = 200) -> None:
        """Serve these bytes from now on."""
        self.default = Answer(status, document, {"content-type": "application/json"})

    @property
    def key_url(self) -> str:
        return self.url + PATH

    @property
    def fetches(self) -> int:
        return len(self.requests)
