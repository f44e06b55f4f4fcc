"""dyte-relay: takes Dyte and RealtimeKit webhooks in, surely and once, and hands them to Kafka, HTTP and Slack."""

from __future__ import annotations

__version__ = "0.1.0"
