"""What a Kafka sink accepts as options, and what message it makes of a delivery. No broker."""

from __future__ import annotations

import json
import re
import ssl
from datetime import UTC, datetime
from typing import Any

import pytest
from aiokafka import errors as kafka
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from relay.errors import DeliveryError, Misconfigured, Rejected, Unavailable
from relay.expression import Expression
from relay.model import Delivery, Event, Reason
from relay.options import Order
from relay.payload import Defect
from relay.sinks import SinkOptions, build
from relay.sinks.kafka import KafkaOptions, KafkaSink, _settings, _tls
from relay.sinks.kafka.errors import explain, explain_start
from relay.vocabulary import KNOWN_TYPES, OTHER, type_label

REQUIRED: dict[str, Any] = {"type": "kafka", "bootstrap_servers": ["localhost:9092"], "topic": "dyte.events"}
PASSWORD = "correct horse"
LOGIN = {"sasl_mechanism": "PLAIN", "sasl_plain_username": "relay", "sasl_plain_password": PASSWORD}


def options(**changes: Any) -> KafkaOptions:
    return KafkaOptions.model_validate(REQUIRED | changes)


def problem(**changes: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        options(**changes)
    return str(caught.value)


def event(**changes: Any) -> Event:
    values: dict[str, Any] = {
        "id": "0199-event",
        "source": "dyte",
        "type": "meeting.started",
        "body": b'{"event":"meeting.started","meeting":{"id":"m-1","title":"T\xc3\xa4glich"},"count":3}',
        "headers": {},
        "received_at": datetime(2026, 1, 2, 3, 4, 5, 678900, tzinfo=UTC),
        "meeting": "m-1",
        "session": "s-1",
    }
    return Event(**(values | changes))


def test_brokers_are_a_list_or_kafkas_own_text_with_commas() -> None:
    assert options(bootstrap_servers="a:1, b:2").bootstrap_servers == ("a:1", "b:2")
    assert "is not an address" in problem(bootstrap_servers="a:1,")


def delivery(of: Event, **changes: Any) -> Delivery:
    values: dict[str, Any] = {"id": 1, "route": "all", "sink": "events", "attempt": 1, "tries": 1, "body": of.body}
    return Delivery(event=of, **(values | changes))


def record(of: Event, *, replay: int = 0, **changes: Any) -> Any:
    return KafkaSink("events", options(**changes))._record(delivery(of, replay=replay))


def test_defaults_keep_order_and_need_no_more_than_where_to() -> None:
    chosen = options()
    assert chosen.order is Order.MEETING
    assert chosen.key == "meeting"
    assert chosen.security_protocol == "PLAINTEXT"


def test_union_of_sinks_knows_kafka() -> None:
    chosen: SinkOptions = TypeAdapter[SinkOptions](SinkOptions).validate_python(REQUIRED)
    assert isinstance(build("events", chosen), KafkaSink)


def test_every_option_is_documented() -> None:
    assert [name for name, field in KafkaOptions.model_fields.items() if name != "type" and not field.description] == []


@pytest.mark.parametrize("key", ["meeting", "session", "none"])
def test_key_words_are_not_taken_for_expressions(key: str) -> None:
    assert options(key=key).key == key


def test_other_keys_are_expressions() -> None:
    assert options(key="meeting.id").key == Expression("meeting.id")
    assert "JMESPath" in problem(key="meeting.[")


@pytest.mark.parametrize(
    "server", ["localhost", "localhost:0", "localhost:65536", "http://localhost:9092", "a:1,b:2", ""]
)
def test_server_needs_host_and_port(server: str) -> None:
    assert "write a list of host:port" in problem(bootstrap_servers=[server])


@pytest.mark.parametrize("server", ["localhost:9092", "kafka-1.example:9092", "10.0.0.1:1", "[::1]:9092"])
def test_server_addresses(server: str) -> None:
    assert options(bootstrap_servers=[server]).bootstrap_servers == (server,)


@pytest.mark.parametrize("topic", ["dyte.{type}", "{source}.{type}", "dyte_events-2", "a" * 249])
def test_topics(topic: str) -> None:
    assert options(topic=topic).topic == topic


@pytest.mark.parametrize(
    ("topic", "says"),
    [
        ("dyte.{meeting}", "only {type} and {source}"),
        ("dyte.{}", "only {type} and {source}"),
        ("dyte.{type.__class__}", "only {type} and {source}"),
        ("dyte.{type!r}", "more than a name"),
        ("dyte.{type:>9}", "more than a name"),
        ("dyte.{type", "braces do not match"),
        ("dyte.{{type}}", "no topic name"),
        ("dyte events", "no topic name"),
        ("dyte/events", "no topic name"),
        ("täglich", "no topic name"),
        ("dyte\n", "no topic name"),
        ("", "no topic name"),
        (".", "no topic name"),
        ("..", "no topic name"),
        ("a" * 250, "no topic name"),
        ("a" * 230 + "{type}", "no topic name"),
    ],
)
def test_topic_that_kafka_would_refuse(topic: str, says: str) -> None:
    assert says in problem(topic=topic)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"security_protocol": "SASL_SSL"}, "needs sasl_mechanism, sasl_plain_username, sasl_plain_password"),
        (
            {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN", "sasl_plain_username": "relay"},
            "also needs sasl_plain_password",
        ),
        (LOGIN, "set security_protocol to SASL_PLAINTEXT or SASL_SSL"),
        (LOGIN | {"security_protocol": "SSL"}, "set security_protocol to SASL_SSL, or"),
        ({"ssl_cafile": "ca.pem"}, "ssl_cafile has no effect; set security_protocol to SSL"),
        (LOGIN | {"security_protocol": "SASL_PLAINTEXT", "ssl_cafile": "ca.pem"}, "set security_protocol to SASL_SSL"),
        ({"security_protocol": "SSL", "ssl_keyfile": "key.pem"}, "set ssl_certfile as well"),
        ({"security_protocol": "TLS"}, "SASL_SSL"),
        ({"acks": 1}, "acks"),
        ({"linger_ms": -1}, "linger_ms"),
        ({"max_request_size": "1KB"}, "not a size"),
    ],
)
def test_options_that_do_not_fit_together(changes: dict[str, Any], says: str) -> None:
    assert says in problem(**changes)


def test_all_problems_are_named_at_once() -> None:
    text = problem(sasl_mechanism="PLAIN", ssl_cafile="ca.pem")
    assert "sasl_mechanism has no effect" in text
    assert "ssl_cafile has no effect" in text


def test_password_is_in_no_text() -> None:
    chosen = options(security_protocol="SASL_SSL", **LOGIN)
    assert PASSWORD not in repr(chosen)
    assert PASSWORD not in chosen.model_dump_json()
    assert PASSWORD not in problem(**LOGIN)
    assert _settings(chosen)["sasl_plain_password"] == PASSWORD


def test_settings_never_ask_for_less_than_the_broker_allows_in_a_batch() -> None:
    settings = _settings(options(max_request_size="64KiB", compression_type="lz4", timeout="2s"))
    assert settings["max_batch_size"] == settings["max_request_size"] == 65536
    assert settings["compression_type"] == "lz4"
    assert settings["request_timeout_ms"] == 1800
    assert _settings(options())["compression_type"] is None


@given(st.text())
def test_type_label_is_closed(event_type: str) -> None:
    assert type_label(event_type) in KNOWN_TYPES | {OTHER}


@given(st.one_of(st.text(), st.sampled_from(sorted(KNOWN_TYPES))))
def test_payload_never_chooses_a_topic(event_type: str) -> None:
    topic = record(event(type=event_type), topic="{source}.{type}").topic
    assert topic in {f"dyte.{label}" for label in KNOWN_TYPES | {OTHER}}


def test_source_that_spoils_the_topic_pauses_no_other_event() -> None:
    with pytest.raises(Misconfigured, match="no topic name") as caught:
        record(event(source="a" * 250), topic="{source}")
    assert caught.value.partly


@pytest.mark.parametrize(
    ("rule", "changes", "key"),
    [
        ("meeting", {}, b"m-1"),
        ("meeting", {"meeting": None, "stream": "l-1"}, b"l-1"),
        ("meeting", {"meeting": None}, b"0199-event"),
        ("session", {}, b"s-1"),
        ("session", {"session": None}, b"m-1"),
        ("session", {"session": None, "meeting": None}, b"0199-event"),
        ("none", {}, None),
        ("meeting.title", {}, "Täglich".encode()),
        ("count", {}, b"3"),
        ("meeting", {"body": b"{}"}, b"m-1"),
        ("missing", {}, b"m-1"),
        ("abs(meeting)", {}, b"m-1"),
        ('`""`', {}, b"m-1"),
        ("[count, meeting.id]", {}, b'[3,"m-1"]'),
        ("count > `1`", {}, b"true"),
    ],
)
def test_key(rule: str, changes: dict[str, Any], key: bytes | None) -> None:
    assert record(event(**changes), key=rule).key == key


def test_headers_are_cloudevents() -> None:
    assert dict(record(event()).headers) == {
        "ce_specversion": b"1.0",
        "ce_id": b"0199-event",
        "ce_source": b"dyte",
        "ce_type": b"meeting.started",
        "ce_time": b"2026-01-02T03:04:05.678Z",
        "ce_subject": b"m-1",
        "content-type": b"application/json",
        "relay_route": b"all",
    }


def test_headers_that_depend() -> None:
    unreadable = event(body=b"\xff", defect=Defect.NOT_JSON, meeting=None)
    headers = dict(record(unreadable, replay=2).headers)
    assert headers["content-type"] == b"application/octet-stream"
    assert headers["relay_replay"] == b"2"
    assert "ce_subject" not in headers


def test_value_is_the_delivery_body() -> None:
    of = event()
    assert record(of).body == of.body
    projected = KafkaSink("events", options())._record(delivery(of, body=b'{"a":1}'))
    assert json.loads(projected.body) == {"a": 1}


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (kafka.MessageSizeTooLargeError(), Rejected, Reason.TOO_LARGE),
        (kafka.RecordListTooLargeError(), Rejected, Reason.TOO_LARGE),
        (kafka.UnknownTopicOrPartitionError(), Misconfigured, Reason.UNKNOWN_TOPIC),
        (kafka.InvalidTopicError(), Misconfigured, Reason.UNKNOWN_TOPIC),
        (kafka.TopicAuthorizationFailedError(), Misconfigured, Reason.UNAUTHORIZED),
        (kafka.ClusterAuthorizationFailedError(), Misconfigured, Reason.UNAUTHORIZED),
        (kafka.SaslAuthenticationFailed(), Misconfigured, Reason.UNAUTHORIZED),
        (kafka.UnsupportedSaslMechanismError(), Misconfigured, Reason.UNAUTHORIZED),
        (kafka.IllegalSaslStateError(), Misconfigured, Reason.UNAUTHORIZED),
        (TimeoutError(), Unavailable, Reason.TIMEOUT),
        (kafka.RequestTimedOutError(), Unavailable, Reason.TIMEOUT),
        (kafka.KafkaTimeoutError(), Unavailable, Reason.TIMEOUT),
        (kafka.ProducerClosed(), Unavailable, Reason.RESET),
        (kafka.KafkaConnectionError(), Unavailable, Reason.CONNECT),
        (kafka.OutOfOrderSequenceNumber(), Unavailable, Reason.UNAVAILABLE),
        (kafka.ProducerFenced(), Unavailable, Reason.UNAVAILABLE),
        (kafka.NotLeaderForPartitionError(), Unavailable, Reason.UNAVAILABLE),
        (kafka.NotEnoughReplicasError(), Unavailable, Reason.UNAVAILABLE),
        (kafka.UnknownError(), Unavailable, Reason.UNAVAILABLE),
    ],
)
def test_whose_fault_an_error_is(error: Exception, kind: type[DeliveryError], reason: Reason) -> None:
    found = explain(error, topic="dyte.events")
    assert type(found) is kind
    assert found.failure.reason is reason


@pytest.mark.parametrize("error", [TimeoutError(), kafka.ProducerClosed(), kafka.KafkaConnectionError()])
def test_unknown_fate_is_told(error: Exception) -> None:
    assert "may have been written" in explain(error, topic="dyte.events").failure.detail


@pytest.mark.parametrize("error", [kafka.UnknownTopicOrPartitionError(), kafka.TopicAuthorizationFailedError()])
@pytest.mark.parametrize("partly", [True, False])
def test_missing_topic_of_a_template_is_no_matter_of_the_whole_sink(error: kafka.KafkaError, *, partly: bool) -> None:
    found = explain(error, topic="dyte.other", partly=partly)
    assert isinstance(found, Misconfigured)
    assert (found.partly, found.certain) == (partly, True)


@pytest.mark.parametrize(
    ("error", "kind", "reason", "says"),
    [
        (ConnectionRefusedError(111, "Connection refused"), Unavailable, Reason.CONNECT, "localhost:9092"),
        (ConnectionResetError(104, "Connection reset by peer"), Unavailable, Reason.CONNECT, "security_protocol"),
        (TimeoutError(), Unavailable, Reason.TIMEOUT, "localhost:9092"),
        (kafka.KafkaConnectionError(), Unavailable, Reason.CONNECT, "security_protocol"),
        (ssl.SSLError(1, "wrong version number"), Misconfigured, Reason.TLS, "speaks TLS"),
        (ssl.SSLEOFError(8, "EOF occurred"), Unavailable, Reason.CONNECT, "localhost:9092"),
        (kafka.SaslAuthenticationFailed(), Misconfigured, Reason.UNAUTHORIZED, "sasl_plain_password"),
    ],
)
def test_why_there_is_no_connection(error: Exception, kind: type[DeliveryError], reason: Reason, says: str) -> None:
    found = explain_start(error, servers="localhost:9092", named=())
    assert type(found) is kind
    assert found.failure.reason is reason
    assert says in found.failure.detail


def test_brokers_that_cannot_be_reached_are_named() -> None:
    found = explain_start(TimeoutError(), servers="localhost:9092", named=("inside:9092",))
    assert re.search("inside:9092.*advertised.listeners", found.failure.detail)


@pytest.mark.parametrize("name", ["ssl_cafile", "ssl_certfile"])
def test_missing_tls_file_is_named(name: str) -> None:
    with pytest.raises(Misconfigured, match=r"nowhere\.pem.*No such file") as caught:
        _tls(options(security_protocol="SSL", **{name: "nowhere.pem"}))
    assert caught.value.failure.reason is Reason.TLS


def test_host_name_check_can_be_left_out() -> None:
    assert _tls(options(security_protocol="SSL")).check_hostname
    unchecked = _tls(options(security_protocol="SSL", ssl_check_hostname=False))
    assert not unchecked.check_hostname
    assert unchecked.verify_mode is ssl.CERT_REQUIRED
