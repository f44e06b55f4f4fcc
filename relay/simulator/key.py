"""The simulator's own key pair: it signs as Dyte and RealtimeKit do, with a key that only a test setup trusts."""

from __future__ import annotations

import base64
import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from relay.errors import StartError

PRIVATE = "private.pem"
PUBLIC = "public.pem"


class SimulatorKey:
    """An RSA key pair of 2048 bits, the size of the one Dyte key that is publicly known."""

    def __init__(self, private: rsa.RSAPrivateKey) -> None:
        self._private = private
        self.public_pem = private.public_key().public_bytes(*_PUBLIC_FORM).decode("ascii")
        """The public half, for `public_key:` of a source."""

    @classmethod
    def create(cls) -> SimulatorKey:
        """A new pair, in memory only."""
        return cls(rsa.generate_private_key(public_exponent=65537, key_size=2048))

    @classmethod
    def load_or_create(cls, directory: Path) -> SimulatorKey:
        """The pair in `directory`, made on first use as private.pem (for the owner's eyes only) and public.pem.

        Safe against a crash and against another process that does the same: all get the pair of the first.

        Raises:
            StartError: the folder cannot be written, or private.pem holds no such key.
        """
        path = directory / PRIVATE
        try:
            directory.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                _write(path, _private_pem(cls.create()), mode=0o600, replace=False)
            key = cls(_load(path))
            _write(directory / PUBLIC, key.public_pem.encode("ascii"), mode=0o644, replace=True)
        except OSError as error:
            raise StartError(f"the simulator's key cannot be kept in {directory}: {error.strerror}") from error
        return key

    def sign(self, body: bytes) -> str:
        """Base64 of the signature over exactly these bytes: RSASSA-PKCS1-v1_5 with SHA-256.

        Facts: https://docs.dyte.io/guides/capabilities/webhooks/signatures
        """
        return base64.b64encode(self._private.sign(body, padding.PKCS1v15(), hashes.SHA256())).decode("ascii")


def well_known(key: SimulatorKey) -> bytes:
    """The public key document as RealtimeKit serves it at `/.well-known/webhooks.json`.

    Facts: https://developers.cloudflare.com/realtime/realtimekit/webhooks/#fetch-the-public-key
    """
    document = {"success": True, "data": {"publicKey": key.public_pem}, "message": ""}
    return json.dumps(document, separators=(",", ":")).encode("ascii")


_PUBLIC_FORM = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _private_pem(key: SimulatorKey) -> bytes:
    return key._private.private_bytes(  # noqa: SLF001 - the only way out, and only into the owner's file
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _load(path: Path) -> rsa.RSAPrivateKey:
    try:
        private = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise StartError(f"{path} is no private key; delete it to have a new one made") from error
    if not isinstance(private, rsa.RSAPrivateKey):
        raise StartError(f"{path} is no RSA key; delete it to have a new one made")
    return private


def _write(path: Path, content: bytes, *, mode: int, replace: bool) -> None:
    """Let the whole file appear at once. Without `replace`, one that appeared meanwhile stays."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            temporary.replace(path)
        else:
            with suppress(FileExistsError):
                path.hardlink_to(temporary)
    finally:
        temporary.unlink(missing_ok=True)
