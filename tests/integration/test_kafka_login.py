"""The Kafka sink against a broker that wants TLS, logins and permissions."""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._scram import ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from relay.errors import DeliveryError, Misconfigured, Unavailable
from relay.model import Delivery, Event, Reason
from relay.sinks.kafka import KafkaOptions, KafkaSink
from tests.brokers import Broker, start_real
from tests.ports import HOST, free_port

pytestmark = pytest.mark.kafka

PASSWORD = "correct horse"
TOPIC = "events"
LISTENERS = ("LOGIN", "TLS", "MUTUAL", "LOST")

# Clients without a name are the superuser; `guest` may log in and do nothing. LOST names an address nobody listens on.
CONFIG = """\
listeners={listeners},PLAINTEXT://{host}:{plain},CONTROLLER://{host}:{controller}
advertised.listeners={advertised},PLAINTEXT://{host}:{plain}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,LOGIN:SASL_PLAINTEXT,TLS:SSL,MUTUAL:SSL,LOST:PLAINTEXT
controller.quorum.bootstrap.servers={host}:{controller}
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:relay;User:scram;User:CN=relay
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256
listener.name.login.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
user_relay="{password}" user_guest="{password}";
listener.name.login.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
ssl.keystore.type=PEM
ssl.keystore.location={folder}/broker.pem
ssl.truststore.type=PEM
ssl.truststore.location={folder}/ca.pem
listener.name.mutual.ssl.client.auth=required
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarded:
    """A broker with a listener for each way to get in."""

    broker: Broker
    ports: dict[str, int]
    ca: str
    certificate: str
    """Of a client that is let in, with its key."""
    stranger: str
    """The certificate of another authority."""

    def at(self, listener: str) -> str:
        return f"{HOST}:{self.ports[listener]}"


def issue(folder: Path, name: str, by: tuple[Any, Any] | None = None) -> tuple[Any, Any]:
    """Write `<name>.pem`, a certificate and its key, signed by another one or by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer, signer = (subject, key) if by is None else (by[0].subject, by[1])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder(issuer_name=issuer, subject_name=subject, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=by is None, path_length=None), critical=True)
    )
    certificate = builder.sign(signer, hashes.SHA256())
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    own_key = b"" if name == "ca" else secret  # Kafka's trust store must hold certificates only
    (folder / f"{name}.pem").write_bytes(own_key + certificate.public_bytes(serialization.Encoding.PEM))
    return certificate, key


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("tls")
    authority = issue(folder, "ca")
    issue(folder, "stranger")
    for name in ("broker", "relay"):
        issue(folder, name, authority)
    ports = {listener: free_port() for listener in LISTENERS}
    plain = free_port()
    config = CONFIG.format(
        listeners=",".join(f"{name}://{HOST}:{port}" for name, port in ports.items()),
        advertised=",".join(f"{name}://{HOST}:{1 if name == 'LOST' else port}" for name, port in ports.items()),
        host=HOST,
        plain=plain,
        controller=free_port(),
        password=PASSWORD,
        folder=folder,
    )
    process = start_real(port=plain, extra=config)
    if process is None:
        pytest.skip("needs a real Kafka broker: Java and Maven")
    files = {"ca": "ca", "certificate": "relay", "stranger": "stranger"}
    paths = {field: str(folder / f"{name}.pem") for field, name in files.items()}
    with process:
        add_scram_user(process.bootstrap)
        yield Guarded(broker=Broker(process.bootstrap, kind="real"), ports=ports, **paths)


def add_scram_user(bootstrap: str) -> None:
    credential = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096)
    change = UserScramCredentialUpsertion("scram", credential, PASSWORD.encode())
    client = AdminClient({"bootstrap.servers": bootstrap})
    for future in client.alter_user_scram_credentials([change]).values():
        future.result(30.0)


@pytest.fixture
async def topic(guarded: Guarded) -> str:
    return await guarded.broker.create_topic(f"{TOPIC}-{uuid4()}")


@pytest.fixture
async def deliver(topic: str) -> AsyncIterator[Callable[..., Any]]:
    """Delivers one event through a sink with these options."""
    sinks: list[KafkaSink] = []

    async def attempt(server: str, **options: Any) -> str:
        values = {"type": "kafka", "bootstrap_servers": [server], "topic": topic, "timeout": "30s", **options}
        sinks.append(KafkaSink("events", KafkaOptions.model_validate(values)))
        event = Event(id="e", source="dyte", type="t", body=b"{}", headers={}, received_at=datetime.now(UTC))
        return await sinks[-1].deliver(
            Delivery(id=1, event=event, route="all", sink="events", attempt=1, tries=1, body=event.body)
        )

    yield attempt
    for sink in sinks:
        await sink.close()


def login(username: str, *, mechanism: str = "PLAIN", password: str = PASSWORD) -> dict[str, str]:
    return {
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": mechanism,
        "sasl_plain_username": username,
        "sasl_plain_password": password,
    }


async def refused(attempt: Any, kind: type[DeliveryError], reason: Reason, says: str) -> None:
    with pytest.raises(DeliveryError, match=says) as caught:
        await attempt
    assert type(caught.value) is kind
    assert caught.value.failure.reason is reason
    assert PASSWORD not in caught.value.failure.detail


async def test_password_login(guarded: Guarded, deliver: Any) -> None:
    assert (await deliver(guarded.at("LOGIN"), **login("relay"))).startswith(TOPIC)


async def test_scram_login(guarded: Guarded, deliver: Any) -> None:
    assert (await deliver(guarded.at("LOGIN"), **login("scram", mechanism="SCRAM-SHA-256"))).startswith(TOPIC)


async def test_wrong_password(guarded: Guarded, deliver: Any) -> None:
    attempt = deliver(guarded.at("LOGIN"), **login("relay", password="battery staple"))
    await refused(attempt, Misconfigured, Reason.UNAUTHORIZED, "sasl_plain_password")


async def test_login_that_is_not_offered(guarded: Guarded, deliver: Any) -> None:
    attempt = deliver(guarded.at("LOGIN"), **login("relay", mechanism="SCRAM-SHA-512"))
    await refused(attempt, Misconfigured, Reason.UNAUTHORIZED, "sasl_mechanism")


async def test_forbidden(guarded: Guarded, deliver: Any) -> None:
    attempt = deliver(guarded.at("LOGIN"), **login("guest"))
    await refused(attempt, Misconfigured, Reason.UNAUTHORIZED, "grant this user WRITE")


async def test_no_login_where_one_is_wanted(guarded: Guarded, deliver: Any) -> None:
    await refused(deliver(guarded.at("LOGIN")), Unavailable, Reason.CONNECT, "security_protocol")


async def test_tls(guarded: Guarded, deliver: Any) -> None:
    attempt = deliver(guarded.at("TLS"), security_protocol="SSL", ssl_cafile=guarded.ca)
    assert (await attempt).startswith(TOPIC)


async def test_mutual_tls(guarded: Guarded, deliver: Any) -> None:
    files = {"ssl_cafile": guarded.ca, "ssl_certfile": guarded.certificate}
    assert (await deliver(guarded.at("MUTUAL"), security_protocol="SSL", **files)).startswith(TOPIC)


async def test_no_certificate_where_one_is_wanted(guarded: Guarded, deliver: Any) -> None:
    attempt = deliver(guarded.at("MUTUAL"), security_protocol="SSL", ssl_cafile=guarded.ca)
    await refused(attempt, Misconfigured, Reason.TLS, "ssl_certfile")


async def test_broker_of_another_authority(guarded: Guarded, deliver: Any) -> None:
    attempt = deliver(guarded.at("TLS"), security_protocol="SSL", ssl_cafile=guarded.stranger)
    await refused(attempt, Misconfigured, Reason.TLS, "ssl_cafile")


async def test_certificate_for_another_name(guarded: Guarded, deliver: Any) -> None:
    server = guarded.at("TLS").replace(HOST, "localhost")
    tls = {"security_protocol": "SSL", "ssl_cafile": guarded.ca}
    await refused(deliver(server, **tls), Misconfigured, Reason.TLS, "host names")
    assert (await deliver(server, ssl_check_hostname=False, **tls)).startswith(TOPIC)


async def test_tls_where_none_is_spoken(guarded: Guarded, deliver: Any) -> None:
    attempt = deliver(guarded.broker.bootstrap, security_protocol="SSL", ssl_cafile=guarded.ca, timeout="2s")
    with pytest.raises(DeliveryError) as caught:
        await attempt
    assert caught.value.failure.reason in {Reason.TLS, Reason.CONNECT, Reason.TIMEOUT}


async def test_no_tls_where_it_is_spoken(guarded: Guarded, deliver: Any) -> None:
    await refused(deliver(guarded.at("TLS")), Unavailable, Reason.CONNECT, "security_protocol")


async def test_brokers_that_give_an_address_out_of_reach(guarded: Guarded, deliver: Any) -> None:
    await refused(deliver(guarded.at("LOST"), timeout="2s"), Unavailable, Reason.TIMEOUT, "advertised.listeners")
