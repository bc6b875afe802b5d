"""Snapshots of Typesense: a copy of all its data, which it writes to its own disk.

A server that is started with the snapshot as its data folder has everything, synonyms and keys included. Invariants: a
snapshot is always taken on the first node that TYPESENSE_HOST names, so that a person knows where to look for it; and
at a path that none was taken at before. Typesense adds to a folder that has one already, and may later start with the
older of the two. It is asked outside the circuit breaker, because a snapshot may rightly take long.
"""

from dataclasses import dataclass, replace
from urllib.parse import quote

import orjson

from tsync_stream.core.errors import ConfigurationError, DependencyUnavailable
from tsync_stream.settings.load import TypesenseSettings
from tsync_stream.sink.breaker import FAILURES
from tsync_stream.sink.errors import check_status, from_typesense
from tsync_stream.sink.http import TypesenseHttp

LONGEST_SNAPSHOT_S = 3_600.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Where a snapshot is: the URL of the node, and the path on its disk."""

    node: str
    path: str


async def take_snapshot(settings: TypesenseSettings, path: str) -> Snapshot:
    """Have the first node write a snapshot to `path`, and wait until it is complete.

    Raises `DependencyUnavailable` if Typesense cannot be asked now, and `ConfigurationError` if it refuses. Some
    releases report success although they cannot write there.
    """
    first = replace(settings, hosts=settings.hosts[:1])
    http = TypesenseHttp(first)
    try:
        answer = await http.send(
            "POST", f"/operations/snapshot?snapshot_path={quote(path)}", deadline_s=LONGEST_SNAPSHOT_S
        )
        check_status(answer.status, "a snapshot", body=answer.body)
        done = orjson.loads(answer.body)
    except TimeoutError as error:
        hours = LONGEST_SNAPSHOT_S / 3600
        text = f"Typesense: a snapshot takes more than {hours:g} h; it may still be completed on the server"
        raise DependencyUnavailable(text) from error
    except FAILURES as error:
        raise from_typesense(error, "a snapshot") from error
    finally:
        await http.close()
    if not isinstance(done, dict) or done.get("success") is not True:
        raise ConfigurationError(f"BACKUP_TYPESENSE_PATH: Typesense could not write a snapshot to {path}")
    (node,) = first.node_urls
    return Snapshot(node, path)
