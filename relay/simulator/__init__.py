"""A sender to test against: whole meetings as signed webhooks, from Dyte or RealtimeKit, without a network.

    key = SimulatorKey.load_or_create(Path("data/simulator"))
    for webhook in simulate(key, meetings=3, provider="realtimekit", duplicates=0.1, disorder=0.1):
        post(webhook.body, webhook.headers)

Neither provider lets one fire a test event, so this is how a setup is tried out. The relay accepts such webhooks only
where the simulator's public key is pinned (`public_key:`) or its `well_known` document is served at `public_key_url:`.
"""

from __future__ import annotations

from relay.simulator.examples import EXAMPLES, example
from relay.simulator.key import SimulatorKey, well_known
from relay.simulator.meeting import Meeting
from relay.simulator.scenarios import ORGANIZATION, SCENARIOS, START, Moment, Scenario, play
from relay.simulator.sending import GAP, WEBHOOK_ID, SimulatedWebhook, simulate
from relay.simulator.shapes import Provider

__all__ = [
    "EXAMPLES",
    "GAP",
    "ORGANIZATION",
    "SCENARIOS",
    "START",
    "WEBHOOK_ID",
    "Meeting",
    "Moment",
    "Provider",
    "Scenario",
    "SimulatedWebhook",
    "SimulatorKey",
    "example",
    "play",
    "simulate",
    "well_known",
]
