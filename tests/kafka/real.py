"""A real Apache Kafka broker on loopback, run as a child process.

Standard library only: `tests/kafka/start` runs this with any Python, without an environment.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from tests.freezing import freeze, thaw
from tests.ports import HOST, free_port

HERE = Path(__file__).parent
POM = HERE / "pom.xml"
START_SECONDS = 90.0
STOP_SECONDS = 30.0
_MAVEN_SECONDS = 300.0
_POLL_SECONDS = 0.05
_API_VERSIONS = 18  # https://kafka.apache.org/protocol#protocol_api_keys

# One node that is broker and controller. The session time-out is short so that a killed broker may register again soon.
_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers={host}:{controller}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller}
advertised.listeners=PLAINTEXT://{host}:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
log.dirs={folder}/data
auto.create.topics.enable=false
num.network.threads=2
num.io.threads=4
broker.session.timeout.ms=1500
broker.heartbeat.interval.ms=300
controlled.shutdown.enable=false
controller.quorum.election.timeout.ms=200
controller.quorum.election.backoff.max.ms=100
controller.quorum.fetch.timeout.ms=400
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
"""
_JAVA = (
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    f"-Dlog4j2.configurationFile={HERE}/log4j2.properties",
)


class BrokerError(RuntimeError):
    """The broker could not be had; the message says why."""


def prepare() -> None:
    """Fetch what there is to fetch, and let Java remember the classes that it has loaded and checked: each broker takes
    half the processor time to start then, and the tests start many.

    Raises:
        BrokerError: Maven could not fetch the jars, or the broker did not start.
    """
    jars()
    if _archive().exists():
        return
    fresh = _archive().with_suffix(f".{os.getpid()}")
    with RealBroker(java=(f"-XX:ArchiveClassesAtExit={fresh}",)):
        pass
    _run(
        ("java", f"-XX:SharedArchiveFile={fresh}", "-cp", f"{jars()}/*", "-version"), seconds=START_SECONDS
    )  # is whole
    fresh.rename(_archive())


def jars() -> Path:
    """The folder with Kafka's jars; the first call lets Maven fetch them, for each content of pom.xml anew.

    Raises:
        BrokerError: Maven could not fetch them.
    """
    cache = _cache()
    if cache.is_dir():
        return cache
    cache.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix="fetch-", dir=cache.parent))
    goal = ("dependency:copy-dependencies", f"-DoutputDirectory={fresh}")
    try:
        _run(("mvn", "-q", "-B", "-f", str(POM), *goal), seconds=_MAVEN_SECONDS)
        with contextlib.suppress(OSError):  # another process was faster
            fresh.rename(cache)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return cache


class RealBroker:
    """One broker, which is its own controller. Port and data stay the same over stop, kill and start."""

    def __init__(self, *, port: int | None = None, extra: str = "", java: Sequence[str] | None = None) -> None:
        """`extra` are further lines of server.properties; `java` are options instead of what Java remembers."""
        self.port = port or free_port()
        self._extra = extra
        self._java = (*_JAVA, *(_remembered() if java is None else java))
        self._folder = Path(tempfile.mkdtemp(prefix="relay-kafka-"))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        """Address for clients."""
        return f"{HOST}:{self.port}"

    @property
    def running(self) -> bool:
        """Whether the process lives; a paused one does."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start, and return when it answers. Nothing to do if it runs.

        Raises:
            BrokerError: it ended, or gave no answer within `START_SECONDS`; with the end of its log.
        """
        if self.running:
            return
        properties = self._folder / "server.properties"
        if not properties.exists():
            self._format(properties)
        with (self._folder / "broker.log").open("ab") as log:
            self._process = subprocess.Popen(
                ("java", *self._java, "-cp", f"{jars()}/*", "kafka.Kafka", str(properties)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._wait_for_answer()

    def stop(self) -> None:
        """Shut down in order."""
        if self._process is None:
            return
        self.resume()
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """SIGKILL, as a crash does it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_SECONDS)
            self._process = None

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nobody answers."""
        if self._process is not None and self.running:
            freeze(self._process.pid)

    def resume(self) -> None:
        """SIGCONT."""
        if self._process is not None and self.running:
            thaw(self._process.pid)

    def close(self) -> None:
        """Stop, and remove the data."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def wait(self) -> None:
        """Block until the process ends."""
        if self._process is not None:
            self._process.wait()

    def __enter__(self) -> RealBroker:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _format(self, properties: Path) -> None:
        text = _PROPERTIES.format(host=HOST, port=self.port, controller=free_port(), folder=self._folder)
        properties.write_text(text + self._extra)
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        tool = ("java", *_JAVA, *_remembered(), "-cp", f"{jars()}/*", "kafka.tools.StorageTool")
        _run((*tool, "format", "--standalone", "-t", f"A{cluster[1:]}", "-c", str(properties)), seconds=START_SECONDS)

    def _wait_for_answer(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not answers(self.port):
            if not self.running or time.monotonic() > deadline:
                tail = (self._folder / "broker.log").read_text(errors="replace")[-2000:]
                self.kill()
                raise BrokerError(f"Kafka did not start on {self.bootstrap}; its log ends with:\n{tail}")
            time.sleep(_POLL_SECONDS)


def answers(port: int) -> bool:
    """Whether a broker on that port answers the first request that every client makes."""
    request = struct.pack(">hhih", _API_VERSIONS, 0, 1, -1)
    try:
        with socket.create_connection((HOST, port), timeout=1.0) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            return len(connection.recv(8)) > 0
    except OSError:
        return False


def _remembered() -> Sequence[str]:
    return (f"-XX:SharedArchiveFile={_archive()}",) if _archive().exists() else ()


def _archive() -> Path:
    """Of no use to another Java, which says so in the broker's log and goes on without it."""
    return _cache().with_suffix(".jsa")


def _cache() -> Path:
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "dyte-relay" / "kafka" / hashlib.sha256(POM.read_bytes()).hexdigest()[:16]


def _run(command: Sequence[str], *, seconds: float) -> None:
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BrokerError(f"{command[0]} could not be run: {error}") from error
    if done.returncode != 0:
        raise BrokerError(f"{command[0]} failed: {(done.stdout + done.stderr)[-2000:]}")
