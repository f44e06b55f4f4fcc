"""Run a real Kafka broker in the foreground: `python -m tests.kafka [PORT]` (default 9092). Ctrl-C stops it.

Its data is temporary. Needs Java 17 or newer, and Maven for the first run.
"""

from __future__ import annotations

import signal
import sys

from tests.kafka.real import BrokerError, RealBroker, answers


def main() -> int:
    """Start, print the address, wait for Ctrl-C or SIGTERM, stop."""
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 9092
    if answers(port):
        sys.stderr.write(f"something answers on port {port} already: stop it, or give another port\n")
        return 1
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    broker = RealBroker(port=port)
    try:
        broker.start()
        sys.stdout.write(f"Kafka answers on {broker.bootstrap}; Ctrl-C stops it\n")
        sys.stdout.flush()
        broker.wait()
    except BrokerError as error:
        sys.stderr.write(f"{error}\n")
    except KeyboardInterrupt:
        return 0
    finally:
        broker.close()
    return 1


if __name__ == "__main__":
    sys.exit(main())
