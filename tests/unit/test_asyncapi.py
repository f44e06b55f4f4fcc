"""The AsyncAPI document says what the sinks are really sent: topics, keys, headers, payloads; and no secret."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator

from relay.asyncapi import document
from relay.config import Config
from relay.errors import Rejected
from relay.model import UNREADABLE, Delivery, Event
from relay.representation import Shape, represent
from relay.routing import RouteTable
from relay.sinks.http import HttpOptions, HttpSink
from relay.sinks.kafka import KafkaOptions, KafkaSink
from tests.unit.test_asyncapi_reach import BODIES, event, type_of

WORD = "c4n4ry"
SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
KAFKA = {"type": "kafka", "bootstrap_servers": ["kafka-1:9092", "kafka-2:9092"]}
HTTP = {"type": "http", "url": f"https://crm.example/{WORD}-path?key={WORD}-query"}
SINKS: dict[str, dict[str, Any]] = {
    "events": KAFKA | {"topic": "dyte.events"},
    "by_type": KAFKA | {"topic": "{source}.{type}", "key": "session", "redact": ["participant.userDisplayName"]},
    "hidden": KAFKA
    | {
        "topic": "hidden",
        "key": "participant.customParticipantId",
        "redact": ["event", "streamKey", "recording.downloadUrl", "meeting.organizedBy.name"],
        "pseudonymize": ["participant.customParticipantId", "meeting.title", "nothing.such"],
        "pseudonym_key": f"{WORD}-0123456789abcdef",
    },
    "hashed": KAFKA
    | {
        "topic": "hashed",
        "pseudonymize": ["participant.peerId", "meeting"],
        "pseudonym_key": f"{WORD}-0123456789abcdef",
    },
    "random": KAFKA | {"topic": "random", "key": "none", "order": "none", "enabled": False},
    "crm": HTTP | {"secret": SECRET, "headers": {"Authorization": f"Bearer {WORD}", "X-Tenant": f"{WORD}"}},
    "plain": {"type": "http", "url": "http://127.0.0.1:8099", "select": "{type: event, meeting: meeting.id}"},
    "printed": {"type": "file", "path": "-"},
}
ROUTES = [
    {"name": "all", "to": ["events", "by_type", "hidden", "hashed", "random", "printed"]},
    {"name": "kit", "sources": ["kit"], "events": ["recording.*"], "where": "recording.id", "to": ["crm"]},
    {"name": "rest", "events": ["meeting.*"], "to": ["crm", "plain"]},
    {
        "name": "unread",
        "fallback": True,
        "events": ["unreadable"],
        "to": ["events", "by_type", "hidden", "hashed", "crm"],
    },
]
CONFIG = Config.model_validate(
    {
        "sources": {"dyte": {"provider": "dyte"}, "kit": {"provider": "realtimekit"}},
        "sinks": SINKS,
        "routes": ROUTES,
    }
)
DOCUMENT = document(CONFIG)


def deliveries() -> Iterator[Delivery]:
    """All that the routes make of all examples, unknown events and what cannot be read."""
    table = RouteTable(CONFIG.routes, orders={})
    for body in BODIES:
        for source in CONFIG.sources:
            came = event(body, source)
            for target in table.match(came):
                yield represented(came, target.sink, route=target.route, replay=len(body) % 2)


def represented(came: Event, sink: str, *, route: str = "all", replay: int = 0) -> Delivery:
    about: dict[str, Any] = {"route": route, "sink": sink, "replay": replay}
    raw = Delivery(id=1, event=came, attempt=2, tries=1, body=came.body, **about)
    try:
        return represent(raw, Shape.of(CONFIG.sinks[sink]))
    except Rejected:
        return Delivery(id=0, event=came, attempt=2, tries=1, body=b"", **about)  # goes nowhere


def messages(channel: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = DOCUMENT["channels"][channel]["messages"]
    return found


def valid(schema: Any, given: object) -> bool:
    whole = {"allOf": [schema], "components": DOCUMENT["components"]}
    return bool(Draft202012Validator(whole).is_valid(given))


def as_json(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return body.decode()


async def test_every_message_and_request_is_as_the_document_says() -> None:
    seen = set()
    for delivery in deliveries():
        options = CONFIG.sinks[delivery.sink]
        if delivery.id == 0:
            continue
        if isinstance(options, KafkaOptions):
            record = KafkaSink(delivery.sink, options)._record(delivery)
            headers = {name: text.decode() for name, text in record.headers}
            [channel] = [
                name
                for name, each in DOCUMENT["channels"].items()
                if each["address"] == record.topic and name.partition(":")[0] == delivery.sink
            ]
            message = messages(channel)[type_of(delivery.event)]
            assert (record.key is None) == ("key" not in message["bindings"]["kafka"])
        elif isinstance(options, HttpOptions):
            headers, channel = HttpSink(delivery.sink, options)._headers(delivery), delivery.sink
            message = messages(channel)[type_of(delivery.event)]
        else:
            continue
        seen.add((channel, type_of(delivery.event)))
        assert headers.keys() <= message["headers"]["properties"].keys()
        Draft202012Validator(message["headers"]).validate(headers)
        assert headers["content-type"] in (message["contentType"], "application/json")
        assert valid(message["payload"], as_json(delivery.body)), (channel, delivery.body)
    every = {(channel, kind) for channel in DOCUMENT["channels"] for kind in messages(channel)}
    assert every == seen, "nothing is said to come that does not"
    assert len(seen) > 50


@pytest.mark.parametrize("sink", ["by_type", "hidden", "hashed"])
def test_what_a_sink_hides_is_not_in_its_schema(sink: str) -> None:
    """The schemas of a sink that changes payloads refuse what was not changed."""
    changed = 0
    for body in BODIES:
        came = event(body, "kit")
        sent = represented(came, sink)
        if sent.id and came.type != UNREADABLE and sent.body != orjson.dumps(came.payload):
            [schema] = [
                each["messages"][type_of(came)]["payload"]
                for name, each in DOCUMENT["channels"].items()
                if name.partition(":")[0] == sink and type_of(came) in each["messages"] and "dyte." not in name
            ]
            assert valid(schema, orjson.loads(sent.body))
            assert not valid(schema, came.payload)
            assert any(text in schema["description"] for text in ("The relay removes", "A keyed hash stands"))
            changed += 1
    assert changed >= 2


def test_what_select_makes_has_no_schema_and_its_expression_is_told() -> None:
    message = messages("plain")["meeting.started"]
    assert message["payload"].keys() == {"description"}
    assert "`{type: event, meeting: meeting.id}`" in message["payload"]["description"]
    assert message["examples"][0]["payload"].keys() == {"type", "meeting"}


def test_examples_are_what_the_sink_would_get() -> None:
    for channel in DOCUMENT["channels"]:
        for message in messages(channel).values():
            for each in message.get("examples", []):
                assert valid(message["payload"], each["payload"])
    shown = [each["name"] for each in messages("crm")["recording.statusUpdate"]["examples"]]
    assert shown[0] == "recording.statusUpdate.invoked of realtimekit"
    assert not [name for name in shown if name.endswith("of dyte")], "the route takes them from the other source only"


def test_where_select_fails_on_all_examples_there_are_none() -> None:
    sinks = {"crm": HTTP | {"select": "abs(event)", "redact": ["participant"]}}
    made = document(Config.model_validate({"sinks": sinks, "routes": [{"name": "all", "to": ["crm"]}]}))
    for message in made["channels"]["crm"]["messages"].values():
        assert "examples" not in message
        assert message["payload"]["description"].startswith("The relay removes `participant`. What the JMESPath")


def test_a_real_pseudonym_of_a_known_value_is_not_given_away() -> None:
    """With a hash of what everybody can read here, the key could be tried out."""
    sent = represented(event(BODIES[2], "dyte"), "hidden")
    real = orjson.loads(sent.body)["participant"]["customParticipantId"]
    assert real not in orjson.dumps(DOCUMENT).decode()


def test_a_template_is_a_closed_set_of_topics() -> None:
    topics = {each["address"] for name, each in DOCUMENT["channels"].items() if name.partition(":")[0] == "by_type"}
    assert len(topics) == 2 * 10
    assert {"dyte.meeting.started", "kit.other"} <= topics
    assert messages("by_type:kit.other").keys() == {"other", "unreadable"}
    assert (
        messages("by_type:kit.meeting.ended")["meeting.ended"]["headers"]["properties"]["ce_source"]["const"] == "kit"
    )


def test_servers_and_how_the_relay_makes_itself_known() -> None:
    servers = {name: (each["host"], each["protocol"]) for name, each in DOCUMENT["servers"].items()}
    assert servers["events:1"] == ("kafka-1:9092", "kafka")
    assert servers["crm"] == ("crm.example", "https")
    assert servers["plain"] == ("127.0.0.1:8099", "http")
    schemes = DOCUMENT["components"]["securitySchemes"]
    assert schemes.keys() == {"standardWebhooks", "crm.authorization"}
    assert DOCUMENT["operations"]["send.crm"]["security"]
    assert "security" not in DOCUMENT["operations"]["send.plain"]
    assert "security" not in DOCUMENT["servers"]["plain"]


@pytest.mark.parametrize(
    ("more", "protocol", "schemes"),
    [
        ({"security_protocol": "SSL"}, "kafka-secure", []),
        ({"security_protocol": "SSL", "ssl_certfile": f"{WORD}.pem"}, "kafka-secure", ["X509"]),
        (
            {
                "security_protocol": "SASL_PLAINTEXT",
                "sasl_mechanism": "SCRAM-SHA-512",
                "sasl_plain_username": f"{WORD}",
                "sasl_plain_password": f"{WORD}",
            },
            "kafka",
            ["scramSha512"],
        ),
    ],
)
def test_logins_and_certificates_are_told_without_what_is_secret(
    more: dict[str, str], protocol: str, schemes: list[str]
) -> None:
    sinks = {"events": KAFKA | {"topic": "all", "bootstrap_servers": "kafka-1:9092, kafka-1:9092"} | more}
    made = document(Config.model_validate({"sinks": sinks, "routes": [{"name": "all", "to": ["events"]}]}))
    assert list(made["servers"]) == ["events"], "the same broker once"
    assert made["servers"]["events"]["protocol"] == protocol
    assert [scheme["type"] for scheme in made["components"]["securitySchemes"].values()] == schemes
    assert WORD not in str(made)


def test_no_secret_is_in_it_and_paths_only_where_they_are_asked_for() -> None:
    assert WORD not in orjson.dumps(DOCUMENT).decode()
    assert DOCUMENT["channels"]["crm"]["address"] is None
    asked = document(CONFIG, paths=True)
    assert asked["channels"]["crm"]["address"] == f"/{WORD}-path"
    assert asked["channels"]["plain"]["address"] == "/"
    assert f"{WORD}-query" not in orjson.dumps(asked).decode()


def test_order_and_state_of_a_sink_are_told() -> None:
    about = {name: each["description"] for name, each in DOCUMENT["channels"].items()}
    assert "one after the other" in about["events"]
    assert "disabled" not in about["events"]
    assert "any order" in about["random"]
    assert "disabled" in about["random"]


def test_conditions_are_told() -> None:
    about = {kind: each["description"] for kind, each in messages("crm").items()}
    assert about["recording.statusUpdate"] == (
        "Events of this type may come, by route `kit` where `recording.id`, from source `kit`."
    )
    assert about["meeting.ended"].startswith("Every event of this type comes, by route `rest`")


def test_a_sink_that_nothing_comes_to_has_no_channel() -> None:
    made = document(Config.model_validate({"sinks": {"a": HTTP, "b": KAFKA | {"topic": "b"}}}))
    assert made["channels"] == made["operations"] == {}
    assert made["servers"].keys() == {"a", "b:1", "b:2"}
