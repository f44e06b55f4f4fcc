from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from functools import cache

import orjson
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, padding, rsa, utils, x25519
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.publickey import MIN_BITS, BadKey, PublicKey, read_document
from tests.fakes.keys import SHAPES

BODY = b'{"event":"meeting.started","meeting":{"id":"m"}}'
SHA256 = hashes.SHA256()
PEM, DER = serialization.Encoding.PEM, serialization.Encoding.DER
SPKI, PKCS8 = serialization.PublicFormat.SubjectPublicKeyInfo, serialization.PrivateFormat.PKCS8
DIGEST_INFO = bytes.fromhex("3031300d060960864801650304020105000420")
"""DER of DigestInfo for SHA-256, up to the digest: https://www.rfc-editor.org/rfc/rfc8017#section-9.2"""


def private(bits: int = 2048, exponent: int = 65537) -> rsa.RSAPrivateKey:
    return _pair(bits, exponent)


@cache
def _pair(bits: int, exponent: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=exponent, key_size=bits)


def pem_of(key: PublicKeyTypes) -> str:
    return key.public_bytes(PEM, SPKI).decode()


def public(bits: int = 2048) -> PublicKey:
    return PublicKey(private(bits).public_key())


def signed(body: bytes = BODY, bits: int = 2048) -> bytes:
    return private(bits).sign(body, padding.PKCS1v15(), SHA256)


def raw(encoded: bytes, bits: int = 2048) -> bytes:
    """What the key's owner gets by exponentiating any padded message at all: forgeries that only padding checks see."""
    numbers = private(bits).private_numbers()
    message = int.from_bytes(encoded, "big")
    return pow(message, numbers.d, numbers.public_numbers.n).to_bytes(bits // 8, "big")


def padded(digest_info: bytes, *, start: bytes = b"\x00\x01", fill: bytes = b"\xff", end: bytes = b"\x00") -> bytes:
    return start + fill * (256 - len(start) - len(end) - len(digest_info)) + end + digest_info


@pytest.mark.parametrize("bits", [2048, 3072, 4096])
@pytest.mark.parametrize("body", [b"", b"{}", BODY, bytes(range(256)) * 64], ids=len)
def test_takes_a_genuine_signature(bits: int, body: bytes) -> None:
    key = PublicKey.read(pem_of(private(bits).public_key()))
    assert key.verify(body, signed(body, bits))
    assert not key.verify(body + b"\n", signed(body, bits))


def test_the_padding_that_the_forgeries_vary_is_the_right_one() -> None:
    assert raw(padded(DIGEST_INFO + hashlib.sha256(BODY).digest())) == signed()


def _der(text: str) -> bytes:
    return bytes.fromhex(text) + hashlib.sha256(BODY).digest()


GENUINE = DIGEST_INFO + hashlib.sha256(BODY).digest()
FORGERIES: Mapping[str, Callable[[], bytes]] = {
    "PSS": lambda: private().sign(BODY, padding.PSS(padding.MGF1(SHA256), padding.PSS.MAX_LENGTH), SHA256),
    "PSS, digest-long salt": lambda: private().sign(BODY, padding.PSS(padding.MGF1(SHA256), 32), SHA256),
    "SHA-1": lambda: private().sign(BODY, padding.PKCS1v15(), hashes.SHA1()),
    "SHA-224": lambda: private().sign(BODY, padding.PKCS1v15(), hashes.SHA224()),
    "SHA-384": lambda: private().sign(BODY, padding.PKCS1v15(), hashes.SHA384()),
    "SHA-512": lambda: private().sign(BODY, padding.PKCS1v15(), hashes.SHA512()),
    "SHA-512/256": lambda: private().sign(BODY, padding.PKCS1v15(), hashes.SHA512_256()),
    "SHA3-256": lambda: private().sign(BODY, padding.PKCS1v15(), hashes.SHA3_256()),
    "hash of the hash": lambda: private().sign(hashlib.sha256(BODY).digest(), padding.PKCS1v15(), SHA256),
    "hash of the hex": lambda: private().sign(hashlib.sha256(BODY).hexdigest().encode(), padding.PKCS1v15(), SHA256),
    "another digest as SHA-256": lambda: private().sign(bytes(32), padding.PKCS1v15(), utils.Prehashed(SHA256)),
    "no DigestInfo": lambda: raw(padded(hashlib.sha256(BODY).digest())),
    "no NULL": lambda: raw(padded(_der("302f300b0609608648016503040201" + "0420"))),
    "NULL of one byte": lambda: raw(padded(_der("3032300e06096086480165030402010501000420"))),
    "parameters: empty sequence": lambda: raw(padded(_der("3031300d060960864801650304020130000420"))),
    "long-form lengths": lambda: raw(padded(_der("308131300d060960864801650304020105000420"))),
    "indefinite length": lambda: raw(padded(_der("3080300d060960864801650304020105000420") + b"\x00\x00")),
    "another OID": lambda: raw(padded(_der("3031300d060960864801650304020305000420"))),
    "digest length wrong": lambda: raw(padded(DIGEST_INFO[:-1] + b"\x1f" + hashlib.sha256(BODY).digest())),
    "digest cut": lambda: raw(padded(GENUINE[:-1])),
    "garbage behind the digest": lambda: raw(padded(GENUINE + b"\x00" * 8)),
    "garbage inside DigestInfo": lambda: raw(
        padded(_der("3039300d060960864801650304020105000420") + b"\x04\x06abcdef")
    ),
    "Bleichenbacher 2006": lambda: raw(b"\x00\x01" + b"\xff" * 8 + b"\x00" + GENUINE + bytes(256 - 11 - len(GENUINE))),
    "block type 0": lambda: raw(padded(GENUINE, start=b"\x00\x00", fill=b"\x00")),
    "block type 2": lambda: raw(padded(GENUINE, start=b"\x00\x02", fill=b"\x55")),
    "padding of 00": lambda: raw(padded(GENUINE, fill=b"\x00")),
    "padding of fe": lambda: raw(padded(GENUINE, fill=b"\xfe")),
    "no separator": lambda: raw(padded(GENUINE, end=b"\xff")),
    "first byte 1": lambda: raw(padded(GENUINE, start=b"\x01\x01")),
    "no padding at all": lambda: raw(bytes(256 - len(GENUINE)) + GENUINE),
    "unsigned": lambda: padded(GENUINE),
    "signature + n": lambda: _plus_modulus(256),
    "n - signature": lambda: (_modulus() - int.from_bytes(signed(), "big")).to_bytes(256, "big"),
    "leading zero": lambda: b"\x00" + signed(),
    "trailing zero": lambda: signed() + b"\x00",
    "two leading bytes": lambda: b"\x00\x00" + signed(),
    "trailing garbage": lambda: signed() + b"garbage",
    "twice": lambda: signed() * 2,
    "truncated": lambda: signed()[:-1],
    "beheaded": lambda: signed()[1:],
    "reversed": lambda: signed()[::-1],
    "as text": lambda: base64.b64encode(signed()),
    "of another body": lambda: signed(BODY + b" "),
    "of the body without its end": lambda: signed(BODY[:-1]),
    "of a longer key": lambda: signed(bits=3072),
    "of another key": lambda: private(2048, 3).sign(BODY, padding.PKCS1v15(), SHA256),
    "the body itself": lambda: BODY,
    "empty": lambda: b"",
    "one zero": lambda: b"\x00",
    "zeros": lambda: bytes(256),
    "one": lambda: (1).to_bytes(256, "big"),
    "ones": lambda: b"\xff" * 256,
    "n": lambda: _modulus().to_bytes(256, "big"),
    "n - 1": lambda: (_modulus() - 1).to_bytes(256, "big"),
    "n + 1": lambda: (_modulus() + 1).to_bytes(256, "big"),
}


def _modulus() -> int:
    return private().public_key().public_numbers().n


def _plus_modulus(length: int) -> bytes:
    """An equal number modulo n, of a body whose signature is so small that the sum has the right length still."""
    for number in range(200):
        candidate = int.from_bytes(private().sign(BODY + b" " * number, padding.PKCS1v15(), SHA256), "big") + _modulus()
        if candidate < 1 << (8 * length):
            return candidate.to_bytes(length, "big")
    raise AssertionError("no such signature in two hundred")


@pytest.mark.parametrize("name", FORGERIES)
def test_refuses_a_forgery(name: str) -> None:
    assert not public().verify(BODY, FORGERIES[name]())


def test_refuses_a_signature_with_the_modulus_added_for_every_body() -> None:
    for number in range(20):
        body = BODY + b" " * number
        total = int.from_bytes(signed(body), "big") + _modulus()
        for length in (256, 257):
            if total < 1 << (8 * length):
                assert not public().verify(body, total.to_bytes(length, "big"))


@pytest.mark.parametrize("bits", [2048, 3072, 4096])
def test_refuses_every_flipped_bit(bits: int) -> None:
    genuine, key = signed(bits=bits), public(bits)
    for bit in range(0, bits, bits // 64):
        flipped = bytearray(genuine)
        flipped[bit // 8] ^= 1 << (bit % 8)
        assert not key.verify(BODY, bytes(flipped))
    for bit in range(len(BODY) * 8):
        changed = bytearray(BODY)
        changed[bit // 8] ^= 1 << (bit % 8)
        assert not key.verify(bytes(changed), genuine)


def test_refuses_a_hundred_thousand_flipped_bits() -> None:
    key, refused = public(), 0
    for number in range(50):
        body = BODY + b" " * number
        genuine = signed(body)
        for bit in range(2048):
            flipped = bytearray(genuine)
            flipped[bit // 8] ^= 1 << (bit % 8)
            refused += not key.verify(body, bytes(flipped))
    assert refused == 50 * 2048


@given(st.binary(max_size=300) | st.binary(min_size=256, max_size=256))
def test_never_takes_nor_trips_over_bytes_that_nobody_signed(signature: bytes) -> None:
    assert public().verify(BODY, signature) is False


@pytest.mark.parametrize("bits", [2049, 2055, 2056])
def test_a_key_may_have_any_number_of_bits(bits: int) -> None:
    assert PublicKey.read(pem_of(private(bits).public_key())).verify(BODY, signed(bits=bits))


@pytest.mark.parametrize("modulus", [1 << 2047, (1 << 2048) - 2, (1 << 20_000) + 1], ids=["2^2047", "even", "huge"])
def test_a_key_that_is_none_verifies_nothing(modulus: int) -> None:
    key = PublicKey(rsa.RSAPublicNumbers(65537, modulus).public_key())
    length = (modulus.bit_length() + 7) // 8
    for signature in (bytes(length), b"\x00" + b"\x01" * (length - 1), b"\xff" * length):
        assert key.verify(BODY, signature) is False


ALL_SHAPES: Mapping[str, Callable[[str], bytes]] = {
    **SHAPES,
    "signing_keys": lambda pem: orjson.dumps({"signing_keys": [{"public_key": pem}]}),
    "literal \\r\\n": lambda pem: orjson.dumps({"publicKey": pem.replace("\n", "\\r\\n")}),
    "literal line breaks, bare": lambda pem: pem.replace("\n", "\\n").encode(),
    "carriage returns": lambda pem: orjson.dumps({"data": {"publicKey": pem.replace("\n", "\r\n")}}),
    "spaces for line breaks": lambda pem: pem.replace("\n", " ").encode(),
    "text before": lambda pem: f"# the key\n{pem}".encode(),
    "byte order mark": lambda pem: b"\xef\xbb\xbf" + pem.encode(),
    "after something else": lambda pem: orjson.dumps({"keys": ["none", {"kid": "1"}, {"publicKey": pem}]}),
    "under data, in a list": lambda pem: orjson.dumps({"data": {"keys": [{"pem": pem}]}}),
    "list of texts": lambda pem: orjson.dumps([pem]),
    "null before": lambda pem: orjson.dumps({"publicKey": None, "data": {"publicKey": pem}}),
}


@pytest.mark.parametrize("shape", ALL_SHAPES)
@pytest.mark.parametrize("bits", [2048, 4096])
def test_reads_the_key_document(shape: str, bits: int) -> None:
    key = read_document(ALL_SHAPES[shape](pem_of(private(bits).public_key())))
    assert key == public(bits)
    assert key.verify(BODY, signed(bits=bits))


def test_the_names_are_tried_in_the_order_of_likelihood() -> None:
    first, second = pem_of(private().public_key()), pem_of(private(3072).public_key())
    document = {"data": {"publicKey": second}, "keys": [second], "publicKey": first}
    assert read_document(orjson.dumps(document)) == public()


def test_skips_a_key_that_is_not_good_enough() -> None:
    weak, good = pem_of(private(1024).public_key()), pem_of(private().public_key())
    assert read_document(orjson.dumps({"keys": [weak, good]})) == public()


def private_pem() -> str:
    return private().private_bytes(PEM, PKCS8, serialization.NoEncryption()).decode()


def private_der() -> str:
    return base64.b64encode(private().private_bytes(DER, PKCS8, serialization.NoEncryption())).decode()


BAD: Mapping[str, tuple[Callable[[], str], str]] = {
    "1024 bits": (lambda: pem_of(private(1024).public_key()), "1024 bits"),
    "2047 bits": (lambda: pem_of(rsa.RSAPublicNumbers(65537, (1 << 2046) + 1).public_key()), "2047 bits"),
    "exponent 3": (lambda: pem_of(private(2048, 3).public_key()), "exponent"),
    "elliptic curve": (lambda: pem_of(ec.generate_private_key(ec.SECP256R1()).public_key()), "not RSA"),
    "Ed25519": (lambda: pem_of(ed25519.Ed25519PrivateKey.generate().public_key()), "not RSA"),
    "X25519": (lambda: pem_of(x25519.X25519PrivateKey.generate().public_key()), "not RSA"),
    "DSA": (lambda: pem_of(_dsa_key()), "not RSA"),
    "private": (private_pem, "neither PEM nor base64 DER"),
    "private, bare": (private_der, "neither PEM nor base64 DER"),
    "private, relabelled": (lambda: private_pem().replace("PRIVATE", "PUBLIC"), "neither PEM nor base64 DER"),
    "empty": (lambda: "", "neither"),
    "no base64": (lambda: "ssh-rsa AAAA", "neither"),
    "not ASCII": (lambda: "schlüssel", "neither"),
    "lone surrogate": (lambda: "\ud800", "neither"),
    "empty PEM": (lambda: "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n", "neither"),
    "ends before it begins": (lambda: "-----END PUBLIC KEY----------BEGIN PUBLIC KEY-----", "neither"),
    "cut": (lambda: pem_of(private().public_key())[:200], "neither"),
    "junk inside": (lambda: pem_of(private().public_key()).replace("MII", "M!II"), "neither"),
    "a JWK": (lambda: '{"kty":"RSA","n":"AQAB","e":"AQAB"}', "neither"),
}


def _dsa_key() -> dsa.DSAPublicKey:
    """Numbers of the right size: whether they are good ones, nobody asks."""
    parameters = dsa.DSAParameterNumbers(p=(1 << 2047) + 9, q=(1 << 255) + 95, g=2)
    return dsa.DSAPublicNumbers(y=4, parameter_numbers=parameters).public_key()


@pytest.mark.parametrize("name", BAD)
def test_refuses_a_bad_key(name: str) -> None:
    text, says = BAD[name][0](), BAD[name][1]
    with pytest.raises(BadKey, match=says) as refused:
        PublicKey.read(text)
    assert len(str(refused.value)) < 120
    with pytest.raises(BadKey):
        read_document(orjson.dumps({"data": {"publicKey": text.encode("utf-8", "replace").decode()}}))


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"7",
        b'""',
        b"<html>not found</html>",
        b'{"success":false,"data":null,"message":"no"}',
        b'{"data":{"publicKey":7}}',
        b'{"data":{"publicKey":["x",{"key":null}]}}',
        b"[" * 100_000,
        b'{"data":' * 100_000,
        b'{"data":' * 1000 + b'"x"' + b"}" * 1000,
        b"\xff\xfe\x00",
        b"\x00" * 100,
    ],
    ids=lambda document: str(document)[:40],
)
def test_refuses_a_document_without_a_key(document: bytes) -> None:
    with pytest.raises(BadKey):
        read_document(document)


def test_does_not_dig_for_a_key() -> None:
    pem = pem_of(private().public_key())
    with pytest.raises(BadKey, match="names no public key"):
        read_document(orjson.dumps({"data": {"data": {"data": {"data": {"publicKey": pem}}}}}))
    with pytest.raises(BadKey, match="names no public key"):
        read_document(orjson.dumps([[[[[pem]]]]]))
    with pytest.raises(BadKey, match="names no public key"):
        read_document(orjson.dumps({"certificate": pem, "message": pem}))


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: orjson.dumps({"data": {"publicKey": text}})))
def test_any_document_holds_a_key_or_a_bad_one(document: bytes) -> None:
    with pytest.raises(BadKey):
        read_document(document)


@settings(max_examples=200)
@given(st.integers(0, 293), st.integers(0, 255))
def test_any_changed_byte_of_a_key_is_refused_or_another_key(position: int, byte: int) -> None:
    der = bytearray(private().public_key().public_bytes(DER, SPKI))
    unchanged = der[position] == byte
    der[position] = byte
    try:
        key = PublicKey.read(base64.b64encode(bytes(der)).decode())
    except BadKey:
        assert not unchanged
    else:
        assert (key == public()) is unchanged
        assert key.verify(BODY, signed()) is unchanged


def test_shows_only_what_may_be_shown() -> None:
    key = public()
    der = private().public_key().public_bytes(DER, SPKI)
    assert key.fingerprint == hashlib.sha256(der).hexdigest()
    assert repr(key) == f"PublicKey({key.fingerprint[:16]})"
    assert PublicKey.read(key.pem) == key
    assert hash(PublicKey.read(key.pem)) == hash(key)
    assert key != public(3072)
    assert key != key.pem
    assert MIN_BITS == 2048
