"""What the pipeline was built for: if any of it changes, Typesense may no longer be what we remember making it.

Invariant: equal fingerprints mean that the source, the target and the mapping are the ones that the synced position
speaks of.
"""

from collections.abc import Mapping
from typing import Any

from tsync_stream.core.errors import ConfigurationError
from tsync_stream.core.model import Route
from tsync_stream.settings.load import Settings
from tsync_stream.sink.client import TypesenseTarget
from tsync_stream.sink.schema import default_schema, load_schema

# Counts up with every change of the mapping's rules: documents that were mapped by the old ones are written again.
MAPPING_VERSION = 2

# And with every change of how a document's partition is found: one epoch is divided in one way.
DIVISION_VERSION = 2


def fingerprint_of(route: Route, uuid: bytes, target: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """The fingerprint as the epoch document holds it (pure); `uuid` is the source's, `target` its `target_part`."""
    return {
        "source": source_name(route),
        "source_uuid": uuid.hex(),
        "target": route.target,
        **target,
        "mapping": f"{MAPPING_VERSION} {settings.date_unit}",
        "division": DIVISION_VERSION,
    }


def target_part(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """What Typesense told when a fingerprint was taken (pure)."""
    return {name: value for name, value in fingerprint.items() if name.startswith("target_")}


def source_name(route: Route) -> str:
    """The source as a fingerprint names it."""
    return f"{route.database}.{route.collection}"


def was_made_for(found: Mapping[str, Any], found_partitions: int, route: Route, partitions: int) -> bool:
    """Whether an epoch's queue holds entries of this route, divided as we divide them (pure).

    It does not for a moment, when all replicas were restarted with other settings: the next epoch will.
    """
    ours = (partitions, DIVISION_VERSION, source_name(route), route.target)
    return (found_partitions, found.get("division"), found["source"], found["target"]) == ours


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The names of what differs, but for what Typesense tells: `target_watch.difference` judges that (pure)."""
    names = (name for name in sorted(old.keys() | new.keys()) if not name.startswith("target_"))
    return [name for name in names if old.get(name) != new.get(name)]


async def prepare_collection(target: TypesenseTarget, settings: Settings) -> Mapping[str, Any]:
    """The live schema of the route's Typesense collection, which is created if it is missing.

    Raises `ConfigurationError` if a schema file is needed and is none.
    """
    name = settings.typesense.collection_name
    live = await target.collection(name)
    if live is not None:
        return live
    schema_file = settings.typesense.schema_file
    if schema_file is None:
        return await target.create_collection(default_schema(name))
    try:
        text = schema_file.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(f"TYPESENSE_SCHEMA_FILE: it cannot be read ({type(error).__name__})") from error
    schema = load_schema(text, name)
    return await target.create_collection(schema)
