"""The partition of a key: where every other client of Kafka would send it."""

from __future__ import annotations

import pytest

from relay.sinks.kafka.producer import _hashed


@pytest.mark.parametrize(
    ("key", "java"),
    [("21", -973932308), ("foobar", -790332482), ("a-little-bit-long-string", -985981536), ("abc", 479470107)],
)
def test_a_key_has_the_hash_that_kafkas_own_client_gives_it(key: str, java: int) -> None:
    """https://github.com/apache/kafka/blob/trunk/clients/src/test/java/org/apache/kafka/common/utils/UtilsTest.java"""
    assert _hashed(key.encode()) == java & 0x7FFFFFFF
