"""What one writes in Python: FastAPI on uvicorn, the signature verified, and the event in Kafka before the answer.

Settings come from the environment: RECEIVER_KEY (a PEM file) and, for Kafka, RECEIVER_BROKER and RECEIVER_TOPIC.
Without a broker the event goes nowhere. Nothing is kept: an event that Kafka does not take is answered 500, and lost
if the sender gives up.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from aiokafka import AIOKafkaProducer
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from fastapi import FastAPI, Header, Request, Response

KEY = load_pem_public_key(Path(os.environ["RECEIVER_KEY"]).read_bytes())
BROKER, TOPIC = os.environ.get("RECEIVER_BROKER"), os.environ.get("RECEIVER_TOPIC", "")


@asynccontextmanager
async def lifespan(application: FastAPI) -> AsyncIterator[None]:
    """A producer for as long as the application runs."""
    application.state.producer = None
    if BROKER is None:
        yield
        return
    async with AIOKafkaProducer(bootstrap_servers=BROKER, acks="all") as producer:
        application.state.producer = producer
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/webhooks/dyte")
async def receive(
    request: Request, dyte_signature: Annotated[str, Header()] = "", dyte_uuid: Annotated[str, Header()] = ""
) -> Response:
    """Take one webhook."""
    body = await request.body()
    try:
        signature = base64.b64decode(dyte_signature, validate=True)
        KEY.verify(signature, body, padding.PKCS1v15(), hashes.SHA256())
    except (binascii.Error, InvalidSignature):
        return Response(status_code=401)
    event = json.loads(body)
    if app.state.producer is not None:
        headers = [("type", event["event"].encode()), ("uuid", dyte_uuid.encode())]
        await app.state.producer.send_and_wait(TOPIC, body, key=_meeting(event), headers=headers)
    return Response(b'{"status":"accepted"}', media_type="application/json")


def _meeting(event: dict[str, Any]) -> bytes | None:
    """The key: a meeting's events stay in one partition, in order."""
    recording, meeting = event.get("recording", {}), event.get("meeting", {})
    found = meeting.get("id") or recording.get("meetingId") or event.get("meetingId") or event.get("streamId")
    return None if found is None else found.encode()
