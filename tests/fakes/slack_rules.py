"""What Slack documents that it refuses in a message.

https://docs.slack.dev/reference/block-kit/blocks
https://docs.slack.dev/reference/block-kit/composition-objects/text-object
"""

from __future__ import annotations

from typing import Any


def fault(message: Any) -> str | None:
    """Slack's code for what is wrong with a message; None if it would be posted."""
    if not isinstance(message, dict):
        return "invalid_payload"
    text = message.get("text", "")
    if not isinstance(text, str):
        return "invalid_payload"
    if not message.get("blocks") and not text.strip():
        return "no_text"
    if fault_places(message):
        return "invalid_blocks"
    return _length_fault(text, message.get("blocks", []))


def _length_fault(text: str, blocks: list[dict[str, Any]]) -> str | None:
    if units(text) > 40_000:
        return "msg_too_long"
    return "msg_blocks_too_long" if weight(blocks) > 13_000 else None


def fault_places(message: dict[str, Any]) -> tuple[str, ...]:
    """Where the blocks break the documented rules, in Slack's words."""
    blocks = message.get("blocks", [])
    if not isinstance(blocks, list):
        return ("[ERROR] must be an array [json-pointer:/blocks]",)
    if len(blocks) > 50:
        return ("[ERROR] no more than 50 items allowed [json-pointer:/blocks]",)
    return tuple(
        f"[ERROR] {what} [json-pointer:/blocks/{position}{place}]"
        for position, block in enumerate(blocks)
        for place, what in _block_faults(block)
    )


def units(text: str) -> int:
    """Length in UTF-16 units, as a server or client written in Java or JavaScript counts."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


_KEYS = {
    "header": {"type", "text", "block_id"},
    "section": {"type", "text", "fields", "block_id", "accessory", "expand"},
    "context": {"type", "elements", "block_id"},
    "divider": {"type", "block_id"},
}


def _block_faults(block: Any) -> list[tuple[str, str]]:
    if not isinstance(block, dict) or block.get("type") not in _KEYS:
        return [("/type", "unsupported type")]
    faults = [(f"/{key}", "unexpected key") for key in block.keys() - _KEYS[block["type"]]]
    if units(str(block.get("block_id", ""))) > 255:
        faults.append(("/block_id", "must be less than 256 characters"))
    match block["type"]:
        case "header":
            faults += _text_faults("/text", block.get("text"), 150, only="plain_text")
        case "section":
            faults += _section_faults(block)
        case "context":
            faults += _list_faults("/elements", block.get("elements"), 3000)
    return faults


def _section_faults(block: dict[str, Any]) -> list[tuple[str, str]]:
    faults = []
    if "text" not in block and "fields" not in block:
        faults.append(("", "missing required field: text"))
    if "text" in block:
        faults += _text_faults("/text", block["text"], 3000)
    if "fields" in block:
        faults += _list_faults("/fields", block["fields"], 2000)
    return faults


def _list_faults(place: str, items: Any, limit: int) -> list[tuple[str, str]]:
    if not isinstance(items, list) or not 1 <= len(items) <= 10:
        return [(place, "must have 1 to 10 items")]
    return [each for index, item in enumerate(items) for each in _text_faults(f"{place}/{index}", item, limit)]


def _text_faults(place: str, text: Any, limit: int, *, only: str | None = None) -> list[tuple[str, str]]:
    if not isinstance(text, dict) or text.get("type") not in ("plain_text", "mrkdwn"):
        return [(place, "must be a text object")]
    if only is not None and text["type"] != only:
        return [(f"{place}/type", f"must be {only}")]
    allowed = {"type", "text", "emoji" if text["type"] == "plain_text" else "verbatim"}
    content = text.get("text")
    if text.keys() - allowed:
        return [(place, "unexpected key")]
    if not isinstance(content, str) or not 1 <= units(content) <= limit:
        return [(f"{place}/text", f"must be 1 to {limit} characters")]
    return []


def weight(blocks: list[dict[str, Any]]) -> int:
    """Characters of all blocks together."""
    return sum(units(text["text"]) for block in blocks for text in texts_of(block))


def texts_of(block: dict[str, Any]) -> list[dict[str, Any]]:
    """The text objects of a block."""
    texts = [block.get("text"), *block.get("fields", []), *block.get("elements", [])]
    return [text for text in texts if text is not None]
