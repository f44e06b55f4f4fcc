"""The simulator's key: made once, kept for its owner, never shown, and shared by whoever comes at the same time."""

from __future__ import annotations

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from relay.errors import StartError
from relay.simulator import SimulatorKey, well_known


@pytest.fixture(scope="module")
def key() -> SimulatorKey:
    return SimulatorKey.create()


def test_key_is_kept(tmp_path: Path) -> None:
    directory = tmp_path / "made" / "on the way"
    first = SimulatorKey.load_or_create(directory)
    (directory / "public.pem").unlink()
    second = SimulatorKey.load_or_create(directory)
    assert first.public_pem == second.public_pem == (directory / "public.pem").read_text()
    assert first.public_pem.startswith("-----BEGIN PUBLIC KEY-----\n")
    assert sorted(path.name for path in directory.iterdir()) == ["private.pem", "public.pem"]
    assert stat.S_IMODE((directory / "private.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE((directory / "public.pem").stat().st_mode) == 0o644


def test_whoever_creates_at_the_same_time_gets_the_same_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        keys = list(pool.map(SimulatorKey.load_or_create, [tmp_path] * 4))
    assert len({key.public_pem for key in keys}) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["private.pem", "public.pem"]


def test_public_file_follows_the_private_one(tmp_path: Path) -> None:
    (tmp_path / "public.pem").write_text("of another pair")
    assert SimulatorKey.load_or_create(tmp_path).public_pem == (tmp_path / "public.pem").read_text()


def elliptic_key() -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def encrypted_key() -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    )


@pytest.mark.parametrize(
    "content", [b"", b"s3cret", elliptic_key(), encrypted_key()], ids=["empty", "junk", "ec", "locked"]
)
def test_a_file_that_is_no_rsa_key_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "private.pem"
    path.write_bytes(content)
    with pytest.raises(StartError, match="delete it") as caught:
        SimulatorKey.load_or_create(tmp_path)
    assert str(path) in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert path.read_bytes() == content


def test_a_folder_that_cannot_be_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError, match="file"):
        SimulatorKey.load_or_create(tmp_path / "file" / "below")


def test_key_document(key: SimulatorKey) -> None:
    assert json.loads(well_known(key)) == {"success": True, "data": {"publicKey": key.public_pem}, "message": ""}


def test_key_shows_no_private_half(key: SimulatorKey) -> None:
    assert "PRIVATE" not in repr(key) + str(key) + key.public_pem + well_known(key).decode()
