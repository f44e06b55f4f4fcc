"""A relay and a Kafka that is killed, hangs, is cut off, loses its topic, refuses us, or one message, or a producer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclBinding, AclOperation, AclPermissionType
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType
from confluent_kafka.admin._scram import ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion

from relay.model import GateState
from tests.brokers import Broker, start_real
from tests.fakes.kafka_wire import NOT_ENOUGH_REPLICAS, NOT_LEADER, OUT_OF_ORDER_SEQUENCE, KafkaWire
from tests.fakes.wire import Cut, Fault, HalfOpen, Hanging, Late, Refused, ResetAfter, Whole
from tests.faults.scene import Scene, scene, storm
from tests.kafka.real import RealBroker
from tests.ports import HOST, free_port
from tests.running import Samples

pytestmark = pytest.mark.kafka

PASSWORD = "correct horse"
LONG = "30s"
"""A time-out where none is meant to pass."""
MEETINGS = 5

# Clients without a name are the superuser. Who comes by WIRE is told that the broker lives at the wire's port.
CONFIG = """\
listeners=PLAINTEXT://{host}:{plain},WIRE://{host}:{behind},LOGIN://{host}:{login},CONTROLLER://{host}:{controller}
advertised.listeners=PLAINTEXT://{host}:{plain},WIRE://{host}:{wire},LOGIN://{host}:{login}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,WIRE:PLAINTEXT,CONTROLLER:PLAINTEXT,LOGIN:SASL_PLAINTEXT
controller.quorum.bootstrap.servers={host}:{controller}
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:late
sasl.enabled.mechanisms=SCRAM-SHA-256
listener.name.login.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """A broker that the tests may hurt, and the ways to it."""

    process: RealBroker
    behind: int
    """Where the wire ends."""
    wire: int
    login: int

    @property
    def broker(self) -> Broker:
        return Broker(self.process.bootstrap, kind="real")

    async def start(self) -> None:
        await asyncio.to_thread(self.process.start)

    async def kill(self) -> None:
        await asyncio.to_thread(self.process.kill)


@pytest.fixture(scope="module")
def _ground() -> Iterator[Ground]:
    ports = {name: free_port() for name in ("plain", "behind", "wire", "login", "controller")}
    process = start_real(port=ports["plain"], extra=CONFIG.format(host=HOST, **ports))
    if process is None:
        pytest.skip("needs a real Kafka broker: Java and Maven")
    with process:
        yield Ground(process=process, behind=ports["behind"], wire=ports["wire"], login=ports["login"])


@pytest.fixture
def ground(_ground: Ground) -> Ground:
    """Whole and running, whatever the test before did."""
    _ground.process.resume()
    _ground.process.start()
    return _ground


@pytest.fixture
async def wire(ground: Ground) -> AsyncIterator[KafkaWire]:
    async with KafkaWire(ground.behind, port=ground.wire) as made:
        yield made


@pytest.fixture
async def topic(ground: Ground) -> str:
    return await ground.broker.create_topic(f"test-{uuid4()}", partitions=3)


def kafka(server: str, topic: str, **options: Any) -> dict[str, Any]:
    return {"type": "kafka", "bootstrap_servers": [server], "topic": topic, "timeout": "1500ms", **options}


async def has_all(here: Scene, ground: Ground, *topics: str) -> int:
    """Every accepted event is in the topics, in the order of its meeting; how many records there are."""
    records = [each for topic in topics for each in await ground.broker.consume(topic, await ground.broker.size(topic))]
    here.has_all((record.headers["ce_id"].decode(), record.value) for record in records)
    return len(records)


async def counted(here: Scene, name: str) -> float:
    return Samples(await here.relay.metrics())[f'relay_{name}{{sink="ill"}}']


async def under_load(here: Scene, count: int = 150) -> asyncio.Task[None]:
    """Events are being posted, and Kafka has some of them."""
    loading = asyncio.create_task(here.post(count, meetings=MEETINGS))
    await here.relay.delivered("ill", 20)
    assert not loading.done()
    return loading


# The way there


@pytest.mark.parametrize("fault", [Refused(), Hanging(), HalfOpen(), ResetAfter(), Cut(after=10)], ids=repr)
async def test_a_fault_on_the_way(tmp_path: Path, ground: Ground, wire: KafkaWire, topic: str, fault: Fault) -> None:
    async with scene(tmp_path, kafka(wire.address, topic)) as here:
        loading = await under_load(here)
        await wire.switch(fault)
        await loading
        await here.others_go_on()
        await here.is_in(GateState.BROKEN)
        await here.holds_back()
        assert await counted(here, "producer_restarts_total") >= 1
        await wire.switch(Whole())
        await here.post(10)
        await here.recovers()
        records = await has_all(here, ground, topic)
        assert records <= len(here.accepted) + 3 * MEETINGS, "no more repeats than were under way"


async def test_any_faults_in_any_order(tmp_path: Path, ground: Ground, wire: KafkaWire, topic: str) -> None:
    async with scene(tmp_path, kafka(wire.address, topic, timeout="700ms")) as here:
        wire.will_answer(NOT_LEADER, OUT_OF_ORDER_SEQUENCE, NOT_ENOUGH_REPLICAS)
        await storm(here, wire, seed=1)
        await here.others_go_on()
        await here.recovers()
        await has_all(here, ground, topic)


async def test_a_way_that_is_slow_is_no_fault(tmp_path: Path, ground: Ground, wire: KafkaWire, topic: str) -> None:
    async with scene(tmp_path, kafka(wire.address, topic, timeout=LONG)) as here:
        await wire.switch(Late(0.1))
        await here.post(15, meetings=MEETINGS)
        await here.recovers()
        assert await has_all(here, ground, topic) == 15
        assert await counted(here, "producer_restarts_total") == 0


# The broker


@pytest.mark.slow  # the broker takes its time to start again
async def test_the_broker_is_killed_under_load(tmp_path: Path, ground: Ground, topic: str) -> None:
    async with scene(tmp_path, kafka(ground.broker.bootstrap, topic)) as here:
        loading = await under_load(here)
        await ground.kill()
        await loading
        await here.others_go_on()
        await here.is_in(GateState.BROKEN)
        await here.holds_back()
        await ground.start()
        await here.recovers()
        await has_all(here, ground, topic)


async def test_the_broker_hangs_under_load_and_the_relay_stops_meanwhile(
    tmp_path: Path, ground: Ground, topic: str
) -> None:
    options = kafka(ground.broker.bootstrap, topic)
    async with scene(tmp_path, options) as here:
        loading = await under_load(here)
        ground.process.pause()
        await loading
        await here.others_go_on()
        await here.failed_with("timeout", 5)
        await here.holds_back()
        before = here.accepted
        stopping = asyncio.get_running_loop().time() - here.standstill.total
    took = asyncio.get_running_loop().time() - here.standstill.total - stopping
    assert took < 10, "a broker that hangs must not hold up the stop"
    ground.process.resume()
    async with scene(tmp_path, options) as here:
        here.accepted = before
        await here.relay.drained()
        await has_all(here, ground, topic)
        assert (await here.relay.totals()) == {"routed": 150, "delivered": 300}


@pytest.mark.parametrize("code", [NOT_LEADER, NOT_ENOUGH_REPLICAS])
async def test_what_the_client_itself_tries_again_is_no_failure(
    tmp_path: Path, ground: Ground, wire: KafkaWire, topic: str, code: int
) -> None:
    async with scene(tmp_path, kafka(wire.address, topic, timeout=LONG)) as here:
        wire.will_answer(*[code] * 5)
        await here.post(30, meetings=MEETINGS)
        await here.recovers()
        assert wire.edited == 5
        assert await has_all(here, ground, topic) == 30, "the broker knows a repeat by its sequence number"
        metrics = Samples(await here.relay.metrics())
    assert metrics['relay_attempts_total{outcome="delivered",sink="ill"}'] == 30


async def test_a_producer_that_the_broker_lost_track_of_is_replaced(
    tmp_path: Path, ground: Ground, wire: KafkaWire, topic: str
) -> None:
    async with scene(tmp_path, kafka(wire.address, topic)) as here:
        loading = await under_load(here)
        wire.will_answer(OUT_OF_ORDER_SEQUENCE)
        await loading
        await here.failed_with("unavailable")
        await here.others_go_on()
        await here.recovers()
        assert wire.edited == 1
        assert await counted(here, "producer_restarts_total") >= 1
        await has_all(here, ground, topic)


# The topic


async def test_the_topic_is_deleted_under_load_and_created_again(tmp_path: Path, ground: Ground, topic: str) -> None:
    async with scene(
        tmp_path, kafka(ground.broker.bootstrap, topic, retry={"base": "10ms", "max_attempts": 6})
    ) as here:
        loading = await under_load(here)
        await ground.broker.delete_topic(topic)
        await loading
        await here.others_go_on()
        await here.is_in(GateState.PAUSED)
        await here.failed_with("unknown_topic", 4)
        await here.holds_back()
        gone = set(here.accepted) - {each.event_id for each in await _waiting(here)}
        await ground.broker.create_topic(topic, partitions=3)
        await here.recovers()
        records = await ground.broker.consume(topic, await ground.broker.size(topic))
    found = {record.headers["ce_id"].decode() for record in records}
    assert found | gone == set(here.accepted), "what Kafka had taken before is gone with its topic, and nothing else"


async def test_one_missing_topic_of_a_template_holds_up_no_other(
    tmp_path: Path, ground: Ground, caplog: pytest.LogCaptureFixture
) -> None:
    prefix = f"test-{uuid4()}"
    other = await ground.broker.create_topic(f"{prefix}.other")
    missing = f"{prefix}.meeting.started"
    options = kafka(
        ground.broker.bootstrap,
        prefix + ".{type}",
        order="none",
        retry={"cap": "500ms", "max_attempts": 2},
        timeout=LONG,
    )
    async with scene(tmp_path, options) as here:
        await here.post(10)
        await here.failed_with("unknown_topic", 30)  # more than twice each
        await here.post(10, kind="of.tomorrow")
        await here.others_go_on()
        await here.relay.delivered("ill", 10)
        assert "sink.closed" not in caplog.messages
        await here.waits(10)
        await ground.broker.create_topic(missing)
        await here.recovers()
        assert await has_all(here, ground, missing, other) == 20


@pytest.mark.parametrize("side", ["ours", "the topic's"])
async def test_a_message_that_is_too_large_is_dead_alone(tmp_path: Path, ground: Ground, side: str) -> None:
    limit = {} if side == "ours" else {"max.message.bytes": 2000}
    topic = await ground.broker.create_topic(f"test-{uuid4()}", **limit)
    size = {"max_request_size": 2000} if side == "ours" else {}
    async with scene(tmp_path, kafka(ground.broker.bootstrap, topic, order="none", timeout=LONG, **size)) as here:
        await here.post(10)
        await here.post(3, filling="x" * 5000)
        await here.post(10)
        await here.others_go_on()
        await here.relay.settled("ill", 23)
        await here.is_in(GateState.OPEN)
        metrics = Samples(await here.relay.metrics())
        large = [event_id for event_id, given in here.accepted.items() if "filling" in given]
        for event_id in large:
            del here.accepted[event_id]
        await has_all(here, ground, topic)
    assert metrics['relay_dead_total{reason="too_large",sink="ill"}'] == 3 == len(large)
    assert metrics['relay_delivered_total{sink="ill"}'] == 20


# Who we are


async def test_who_may_not_write_waits_for_a_person(tmp_path: Path, ground: Ground, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": ground.broker.bootstrap})
    await asyncio.to_thread(_upsert, admin, "guest")
    async with scene(tmp_path, kafka(f"{HOST}:{ground.login}", topic, timeout=LONG, **_login("guest"))) as here:
        await here.post(9)
        await here.others_go_on()
        await here.is_in(GateState.PAUSED)
        await here.failed_with("unauthorized", 5)
        await here.waits(9)
        await asyncio.to_thread(_allow, admin, "guest", topic)
        await here.recovers()
        assert await has_all(here, ground, topic) == 9


async def test_a_login_that_is_refused_waits_for_a_person(tmp_path: Path, ground: Ground, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": ground.broker.bootstrap})
    await asyncio.to_thread(_upsert, admin, "late", "battery staple")
    async with scene(tmp_path, kafka(f"{HOST}:{ground.login}", topic, timeout=LONG, **_login("late"))) as here:
        await here.post(9)
        await here.others_go_on()
        await here.is_in(GateState.PAUSED)
        await here.failed_with("unauthorized", 5)
        await here.waits(9)
        await asyncio.to_thread(_upsert, admin, "late")
        await here.recovers()
        assert await has_all(here, ground, topic) == 9


async def _waiting(here: Scene) -> list[Any]:
    records = await here.relay.app.store.deliveries(sink="ill", limit=10_000)
    return [record for record in records if record.state == "pending"]


def _login(user: str) -> dict[str, str]:
    return {
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "SCRAM-SHA-256",
        "sasl_plain_username": user,
        "sasl_plain_password": PASSWORD,
    }


def _upsert(admin: AdminClient, user: str, password: str = PASSWORD) -> None:
    credential = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096)
    change = UserScramCredentialUpsertion(user, credential, password.encode())
    for future in admin.alter_user_scram_credentials([change]).values():
        future.result(30.0)


def _allow(admin: AdminClient, user: str, topic: str) -> None:
    allowed = [
        AclBinding(kind, name, ResourcePatternType.LITERAL, f"User:{user}", "*", operation, AclPermissionType.ALLOW)
        for kind, name, operation in (
            (ResourceType.TOPIC, topic, AclOperation.WRITE),
            (ResourceType.TOPIC, topic, AclOperation.DESCRIBE),
        )
    ]
    for future in admin.create_acls(allowed).values():
        future.result(30.0)
