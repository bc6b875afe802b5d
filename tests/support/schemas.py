"""Schemas in force for tests that have no Typesense."""

from types import SimpleNamespace
from typing import Any, cast

from tsync_stream.sink.live_schema import LiveSchema
from tsync_stream.sink.mapping_plan import MappingOptions, Plan

CATCH_ALL = (".*", "auto")


def live(*fields: tuple[str, str] | dict[str, Any], **collection: Any) -> dict[str, Any]:
    """What Typesense answers about a collection with these fields: a name and a type, or all that is said of one."""
    described = [field if isinstance(field, dict) else {"name": field[0], "type": field[1]} for field in fields]
    return {"name": "listings", "created_at": 1, "enable_nested_fields": True, "fields": described, **collection}


def plan(*fields: tuple[str, str] | dict[str, Any], **collection: Any) -> Plan:
    """The plan for a collection with these fields, with dates in seconds."""
    return Plan(MappingOptions(), live(*fields, **collection))


def live_schema(answer: dict[str, Any] | None = None) -> LiveSchema:
    """A schema in force that never changes; by default all types are found out."""

    async def collection(_: str) -> dict[str, Any]:
        return answer or live(CATCH_ALL)

    target = cast("Any", SimpleNamespace(collection=collection))
    return LiveSchema(target, "listings", MappingOptions(), lambda: 1)
