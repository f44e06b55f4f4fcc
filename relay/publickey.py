"""Reading a public key out of whatever the provider publishes, and verifying with it. Pure.

The signature is RSASSA-PKCS1-v1_5 with SHA-256 over the body: https://docs.dyte.io/guides/capabilities/webhooks/signatures
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterator

import orjson
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from relay.payload import Json

MIN_BITS = 2048
_PADDING, _HASH = padding.PKCS1v15(), hashes.SHA256()
_BEGIN, _END = "-----BEGIN PUBLIC KEY-----", "-----END PUBLIC KEY-----"
_NAMES = ("publicKey", "public_key", "key", "pem")
_WRAPPERS = ("data", "result", "signing_keys", "keys")


class BadKey(ValueError):
    """There is no usable RSA public key in this; the message says what is wrong with it."""


class PublicKey:
    """An RSA public key of at least `MIN_BITS`."""

    def __init__(self, key: rsa.RSAPublicKey) -> None:
        self._key = key
        self._bytes = (key.key_size + 7) // 8

    @classmethod
    def read(cls, text: str) -> PublicKey:
        """Read PEM, PEM with literal `\\n`, PEM on one line, or bare base64 DER; raises BadKey."""
        try:
            key = serialization.load_der_public_key(base64.b64decode(_base64_of(text), validate=True))
        except (binascii.Error, ValueError, UnsupportedAlgorithm) as error:
            raise BadKey("this is no public key: neither PEM nor base64 DER") from error
        if not isinstance(key, rsa.RSAPublicKey):
            raise BadKey("this public key is not RSA, which the provider signs with")
        if key.key_size < MIN_BITS:
            raise BadKey(f"this RSA key has {key.key_size} bits; below {MIN_BITS} it can be broken")
        if key.public_numbers().e != 65537:
            raise BadKey("this RSA key has an unusual exponent; only 65537 is accepted")
        return cls(key)

    @property
    def pem(self) -> str:
        """The key as PEM."""
        return self._key.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ).decode()

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the key's DER form, in hex: safe to show."""
        der = self._key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        return hashlib.sha256(der).hexdigest()

    def verify(self, body: bytes, signature: bytes) -> bool:
        """Whether this key's owner signed exactly these bytes."""
        if len(signature) != self._bytes:
            return False
        try:
            self._key.verify(signature, body, _PADDING, _HASH)
        except InvalidSignature:
            return False
        return True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        return f"PublicKey({self.fingerprint[:16]})"


def read_document(body: bytes) -> PublicKey:
    """The key in the provider's key document.

    RealtimeKit documents `{"data": {"publicKey": PEM}}`; Dyte documents no shape, so the likely ones are tried too: the
    same names at the top or in a list, and the bare key. Raises BadKey.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return PublicKey.read(body.decode("utf-8", "replace"))
    problem = BadKey("the key document names no public key")
    for text in _candidates(document):
        try:
            return PublicKey.read(text)
        except BadKey as error:
            problem = error
    raise problem


def _candidates(value: Json, depth: int = 0) -> Iterator[str]:
    """Texts that may be the key, in the order of likelihood, wherever documents have been seen to hold them."""
    if isinstance(value, str):
        yield value
    elif depth < 4 and isinstance(value, list):
        for element in value:
            yield from _candidates(element, depth + 1)
    elif depth < 4 and isinstance(value, dict):
        for name in (*_NAMES, *_WRAPPERS):
            if name in value:
                yield from _candidates(value[name], depth + 1)


def _base64_of(text: str) -> str:
    """The base64 inside a PEM, whatever became of its line breaks; or the text itself."""
    text = text.replace("\\r", "").replace("\\n", "\n")
    if _BEGIN in text and _END in text:
        text = text[text.index(_BEGIN) + len(_BEGIN) : text.index(_END)]
    return "".join(text.split())
