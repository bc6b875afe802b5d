"""Parses what Redis reports about itself: the answers to INFO and CONFIG GET with RESP2. Pure.

Invariant: no answer raises. What is missing (managed servers omit much) or of another type is left out, and the caller
decides what that means.
"""

from collections.abc import Mapping


def read_info(answer: object) -> dict[str, str]:
    """The fields of an INFO; the last one counts if a field comes twice."""
    text = _text(answer)
    pairs = (line.partition(":") for line in (text or "").splitlines() if not line.startswith("#"))
    return {name.strip(): value.strip() for name, colon, value in pairs if colon}


def read_configuration(answer: object) -> dict[str, str]:
    """The directives in an answer to CONFIG GET: alternating names and values."""
    if not isinstance(answer, list | tuple):
        return {}
    texts = [_text(item) for item in answer]
    pairs = zip(texts[::2], texts[1::2], strict=False)
    return {name: value for name, value in pairs if name is not None and value is not None}


def whole_number(info: Mapping[str, str], name: str) -> int | None:
    """A field as a whole number; None if it is missing or is not one."""
    text = info.get(name, "")
    return int(text) if text.isascii() and text.isdigit() else None


def is_cluster(info: Mapping[str, str]) -> bool:
    """Whether the server belongs to a Redis Cluster. Not every server tells."""
    return whole_number(info, "cluster_enabled") == 1 or "cluster" in {info.get("redis_mode"), info.get("server_mode")}


def _text(value: object) -> str | None:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value if isinstance(value, str) else None
