"""Whatever a server or a proxy answers is read, or is one of our errors; it is never a KeyError.

The replies are correct ones with anything removed, null, or of another type, at any depth. MongoDB, and Typesense.
"""

from contextlib import suppress
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import orjson
import pytest
from bson.int64 import Int64
from bson.timestamp import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st

from tsync_stream.capture.agent import captured_of
from tsync_stream.capture.sources import Sources
from tsync_stream.capture.term import CapturedChanges
from tsync_stream.check.mongo import MongoFacts, judge_mongo
from tsync_stream.core.errors import DependencyUnavailable, TsyncError
from tsync_stream.core.model import Route
from tsync_stream.routes.declaration import Declaration
from tsync_stream.routes.declared import declared_routes
from tsync_stream.routes.table import RouteTable
from tsync_stream.settings.load import default_settings
from tsync_stream.sink.errors import check_status
from tsync_stream.sink.exports import exported_id
from tsync_stream.sink.mapping_plan import MappingOptions, Plan
from tsync_stream.sink.wire import described, read_import_answer
from tsync_stream.source.change_stream import ChangeBatch, read_reply
from tsync_stream.source.collection import kind_of, problem_of_source
from tsync_stream.source.hello import Hello, hello_of, time_of, version_of
from tsync_stream.source.oplog import Oplog, oplog_of

scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner), max_leaves=8
)
REMOVED = object()


def broken(reply: Any) -> st.SearchStrategy[Any]:
    """The reply with one part of it removed or replaced."""
    return st.builds(changed, st.just(reply), st.sampled_from(paths_in(reply)), st.just(REMOVED) | anything)


def paths_in(value: Any, before: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [before, *(path for name, item in inner for path in paths_in(item, (*before, name)))]


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return None if new is REMOVED else new
    copy = dict(value) if isinstance(value, dict) else list(value)
    if len(path) == 1 and new is REMOVED:
        del copy[path[0]]
    else:
        copy[path[0]] = changed(value[path[0]], path[1:], new)
    return copy


def line(value: Any) -> bytes:
    """As a server writes it, even if it is not JSON."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return str(value).replace("\n", " ").encode(errors="replace")


FAILURE = {"success": False, "code": 400, "error": "words", "document": "{}", "embedding_error": "words"}
COLLECTION = {
    "name": "c",
    "created_at": 1,
    "num_documents": 2,
    "enable_nested_fields": True,
    "default_sorting_field": "",
    "symbols_to_index": [],
    "fields": [{"name": ".*", "type": "auto"}, {"name": "at", "type": "int64", "optional": True, "index": True}],
}
TIME = Timestamp(7, 1)
NOW = datetime(2024, 1, 1, tzinfo=UTC)
BATCH = {
    "cursor": {
        "id": Int64(7),
        "nextBatch": [{"_id": {"_data": "82"}, "operation": "insert", "time": TIME, "key": "a"}] * 2,
        "postBatchResumeToken": {"_data": "82"},
    },
    "operationTime": TIME,
    "ok": 1.0,
}
PRIMARY = {
    "setName": "rs0",
    "isWritablePrimary": True,
    "primary": "db1:27017",
    "hosts": ["db1:27017"],
    "localTime": NOW,
}
HELLOS = [
    PRIMARY,
    {"isreplicaset": True},
    {"msg": "isdbgrid"},
    {"setName": "rs0", "ismaster": False, "hosts": ["a", "b"]},
]
BUILD_INFO = {"version": "6.0.5", "versionArray": [6, 0, 5, 0]}
DESCRIPTION = {"name": "c", "type": "collection", "options": {}, "info": {"readOnly": False, "uuid": b"x" * 16}}


@given(st.lists(st.one_of(broken(FAILURE).map(line), st.just(b'{"success":true}')), min_size=1, max_size=4))
def test_an_import(lines: list[bytes]) -> None:
    with suppress(TsyncError):
        read_import_answer(b"\n".join(lines), len(lines))


@pytest.mark.parametrize(
    "reply", ["<html>", "[]", "7", '{"success":false,"code":"x"}', '{"success":false,"code":null}']
)
def test_an_answer_that_is_not_typesenses_is_an_outage(reply: str) -> None:
    with pytest.raises(DependencyUnavailable):
        read_import_answer(reply.encode(), 1)


@given(st.sampled_from([400, 403, 404, 413, 422, 500, 301]), broken({"message": "words"}).map(line))
def test_a_refusal(status: int, body: bytes) -> None:
    with pytest.raises(TsyncError):
        check_status(status, "an import", body=body)


@given(broken({"id": "a"}).map(line))
def test_a_line_of_an_export(exported: bytes) -> None:
    with suppress(TsyncError):
        exported_id(exported)


@settings(max_examples=300)
@given(broken(COLLECTION))
def test_a_description_of_a_collection(answer: Any) -> None:
    try:
        found = described(answer)
    except DependencyUnavailable:
        return
    assert isinstance(found["created_at"], int)
    with suppress(TsyncError):
        Plan(MappingOptions(), found)


@settings(max_examples=300)
@given(broken(BATCH))
def test_a_batch_of_a_change_stream(reply: Any) -> None:
    with suppress(TsyncError):
        _, batch = read_reply(reply, "nextBatch")
        capture(batch)


def capture(batch: ChangeBatch) -> None:
    """As the capture agent does it."""
    sources = Sources(RouteTable([Declaration(Route("r", "d", "c", "t"))]))
    term = SimpleNamespace(sources=sources, partitions=2, note_written=lambda _, changes: list(changes))
    captured_of(CapturedChanges(cast("Any", SimpleNamespace(term=term)), {}, batch))


@given(broken(DESCRIPTION))
def test_a_description_of_the_source(information: Any) -> None:
    if isinstance(information, dict):  # the driver gives nothing else
        problem_of_source("d.c", kind_of(information))


@pytest.mark.parametrize("which", [0, 1, 2])
@given(data=st.data())
def test_the_oplog(which: int, data: st.DataObject) -> None:
    replies: list[Any] = [{"ts": TIME}, {"ts": TIME}, {"size": 1, "maxSize": 2}]
    assert oplog_of(*replies) == Oplog(TIME, TIME, 1, 2)
    replies[which] = data.draw(broken(replies[which]))
    found = oplog_of(*replies)
    if found is not None:
        found.left_s(TIME)


@settings(max_examples=300)
@given(st.sampled_from(HELLOS).flatmap(broken), broken(BUILD_INFO), st.booleans())
def test_what_a_mongodb_says_of_itself(hello: Any, build_info: Any, direct: bool) -> None:
    """As `check` judges it, and as the commands read MongoDB's time."""
    facts = MongoFacts(hello=hello_of(hello), version=version_of(build_info), direct=direct)
    judge_mongo(default_settings(), declared_routes(default_settings()), facts)
    with suppress(TsyncError):
        assert isinstance(time_of(hello), datetime)


def test_a_healthy_mongodb_is_read_as_it_is() -> None:
    assert hello_of(PRIMARY) == Hello("rs0", "db1:27017", ("db1:27017",))
    assert version_of(BUILD_INFO) == "6.0.5"
    assert time_of(PRIMARY) == NOW


def test_what_is_broken_is_broken() -> None:
    """The tests above do change what they are given."""
    assert changed(BATCH, ("cursor", "id"), REMOVED)["cursor"].keys() == {"nextBatch", "postBatchResumeToken"}
    assert changed(FAILURE, (), REMOVED) is None
    assert changed(COLLECTION, ("fields", 0, "name"), 7)["fields"][0] == {"name": 7, "type": "auto"}
