"""What a failure of aiokafka means for a delivery, and what an operator can do about it."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence

from aiokafka import errors as kafka

from relay.errors import DeliveryError, Misconfigured, Rejected, Unavailable
from relay.model import Reason

AMBIGUOUS = "it may have been written or not, and is sent again: consumers drop the duplicate by ce_id"

_TOO_LARGE = (kafka.MessageSizeTooLargeError, kafka.RecordListTooLargeError)

_TROUBLES: Sequence[tuple[tuple[type[Exception], ...], Reason, str]] = (
    (
        (TimeoutError, kafka.RequestTimedOutError, kafka.KafkaTimeoutError),
        Reason.TIMEOUT,
        f"no acknowledgement in time; {AMBIGUOUS}; look at the brokers, and at the in-sync replicas of {{topic}}",
    ),
    (
        (kafka.ProducerClosed,),
        Reason.RESET,
        f"the producer was given up before Kafka answered; {AMBIGUOUS}",
    ),
    (
        (kafka.KafkaConnectionError, kafka.NodeNotReadyError, kafka.NoBrokersAvailable, kafka.StaleMetadata),
        Reason.CONNECT,
        f"lost the connection to Kafka; {AMBIGUOUS}",
    ),
    (
        (
            kafka.OutOfOrderSequenceNumber,
            kafka.ProducerFenced,
            kafka.InvalidProducerEpoch,
            kafka.UnknownProducerId,
        ),
        Reason.UNAVAILABLE,
        "Kafka lost track of this producer; a new one takes over",
    ),
    (
        (kafka.LeaderNotAvailableError, kafka.NotLeaderForPartitionError),
        Reason.UNAVAILABLE,
        "a partition of {topic} has no leader: look at the health of the cluster",
    ),
    (
        (kafka.NotEnoughReplicasError, kafka.NotEnoughReplicasAfterAppendError),
        Reason.UNAVAILABLE,
        "{topic} has too few in-sync replicas: look at the health of the cluster",
    ),
)


def explain(error: Exception, *, topic: str, partly: bool = False) -> DeliveryError:
    """What a failed send means. `partly`: the topic is one of several, so one that is missing or forbidden concerns
    only the events that go there."""
    match error:
        case DeliveryError():
            return error
        case kafka.UnknownTopicOrPartitionError() | kafka.InvalidTopicError():
            hint = "create it, or correct `topic`; the relay creates none"
            return Misconfigured(Reason.UNKNOWN_TOPIC, f"topic {topic} does not exist: {hint}", partly=partly)
        case kafka.TopicAuthorizationFailedError():
            detail = f"not allowed to write to topic {topic}: grant this user WRITE and DESCRIBE on it"
            return Misconfigured(Reason.UNAUTHORIZED, detail, partly=partly)
        case _ if isinstance(error, _TOO_LARGE):
            hint = "raise max_request_size here or max.message.bytes of the topic, then replay"
            return Rejected(Reason.TOO_LARGE, f"too large for topic {topic}: {hint}")
        case _:
            return refusal(error) or _trouble(error, topic)


def explain_start(error: Exception, *, servers: str, named: Sequence[str]) -> DeliveryError:
    """Why there is no connection to the cluster; `named` are the brokers that it says it has."""
    refused = refusal(error)
    if refused is not None:
        return refused
    if isinstance(error, TimeoutError) and named:
        hint = "check that the relay can reach them (advertised.listeners)"
        return Unavailable(Reason.TIMEOUT, f"{servers} answers, but its brokers {', '.join(named)} do not: {hint}")
    return _unreachable(error, servers)


def refusal(error: Exception) -> DeliveryError | None:
    """The cluster, or TLS, will not have us until somebody changes the configuration."""
    match error:
        case kafka.ClusterAuthorizationFailedError():
            detail = "not allowed to produce: grant this user WRITE on the topic and IDEMPOTENT_WRITE on the cluster"
        case kafka.SaslAuthenticationFailed() | kafka.AuthenticationFailedError():
            detail = "the broker refuses the login: check sasl_plain_username and sasl_plain_password"
        case kafka.UnsupportedSaslMechanismError():
            detail = "the broker does not offer this login: choose another sasl_mechanism"
        case kafka.IllegalSaslStateError() | kafka.AuthenticationMethodNotSupported():
            detail = "the listener wants another login: check security_protocol and the port"
        case ssl.SSLEOFError() | ssl.SSLZeroReturnError():
            return None  # the broker went away during the handshake, as it does in a restart
        case ssl.SSLCertVerificationError():
            hint = "check ssl_cafile and the host names in bootstrap_servers"
            return Misconfigured(
                Reason.TLS, f"the broker's certificate is not trusted ({error.verify_message}): {hint}"
            )
        case ssl.SSLError():
            hint = "check that the port speaks TLS, and ssl_certfile if the broker asks for a certificate"
            return Misconfigured(Reason.TLS, f"TLS failed ({error.strerror}): {hint}")
        case _:
            return None
    return Misconfigured(Reason.UNAUTHORIZED, detail)


def _unreachable(error: Exception, servers: str) -> DeliveryError:
    match error:
        case socket.gaierror():
            hint = "check bootstrap_servers and DNS"
            return Unavailable(Reason.DNS, f"no address for {servers} ({error.strerror}): {hint}")
        case TimeoutError():
            hint = "is the broker up, and the port reachable from here?"
            return Unavailable(Reason.TIMEOUT, f"{servers} did not answer in time: {hint}")
        case OSError() if not isinstance(error, ConnectionResetError):
            hint = "is the broker up, and the port right?"
            return Unavailable(Reason.CONNECT, f"cannot connect to {servers} ({error.strerror or error}): {hint}")
        case _:
            hint = "check that security_protocol fits the listener"
            return Unavailable(Reason.CONNECT, f"{servers} hung up ({type(error).__name__}): {hint}")


def _trouble(error: Exception, topic: str) -> Unavailable:
    """Anything that time may mend."""
    for kinds, reason, detail in _TROUBLES:
        if isinstance(error, kinds):
            return Unavailable(reason, detail.format(topic=topic))
    return Unavailable(Reason.UNAVAILABLE, f"Kafka refused: {type(error).__name__}; see the broker's log")
