"""Reads what Redis says of itself: INFO and CONFIG GET, as they come over the wire with RESP2. Pure.

Invariant: whatever comes, nothing is raised. What is missing (managed servers leave out much), is of another type, or
is not there at all is left out, and whoever asks decides what that means.
"""

from collections.abc import Mapping


def read_info(answer: object) -> dict[str, str]:
    """The fields of an INFO; of one that came twice, the last."""
    text = _text(answer)
    pairs = (line.partition(":") for line in (text or "").splitlines() if not line.startswith("#"))
    return {name.strip(): value.strip() for name, colon, value in pairs if colon}


def read_configuration(answer: object) -> dict[str, str]:
    """What CONFIG GET answers: names and values in turn."""
    if not isinstance(answer, list | tuple):
        return {}
    texts = [_text(item) for item in answer]
    pairs = zip(texts[::2], texts[1::2], strict=False)
    return {name: value for name, value in pairs if name is not None and value is not None}


def whole_number(info: Mapping[str, str], name: str) -> int | None:
    """A field as a whole number; None if it is missing or none."""
    text = info.get(name, "")
    return int(text) if text.isascii() and text.isdigit() else None


def is_cluster(info: Mapping[str, str]) -> bool:
    """Whether the server is one of a Redis Cluster's. Not every server tells."""
    return whole_number(info, "cluster_enabled") == 1 or "cluster" in {info.get("redis_mode"), info.get("server_mode")}


def _text(value: object) -> str | None:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value if isinstance(value, str) else None
