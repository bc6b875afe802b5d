"""What is stored of a declaration is read back as it was: the order of mappings and the types of values count."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import bson
from bson.binary import Binary
from bson.int64 import Int64
from bson.objectid import ObjectId
from bson.regex import Regex
from hypothesis import example, given
from hypothesis import strategies as st

from tsync_stream.core.keys import BSON_OPTIONS
from tsync_stream.core.model import Route
from tsync_stream.routes.declaration import Children, Declaration, Parent
from tsync_stream.routes.declaration_bson import declaration_from_bson, declaration_to_bson
from tsync_stream.routes.table import digest

NAMES = st.text(min_size=1, max_size=8).filter(str.isprintable) | st.sampled_from(
    ["$set", "$regex", "$oid", "$date", "a.b", "_id", "pairs", "kind"]
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-5, 5).map(Int64),
    st.floats(allow_nan=False),
    st.text(max_size=10),
    st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2200, 1, 1)).map(  # noqa: DTZ001
        lambda time: time.replace(microsecond=0, tzinfo=UTC)
    ),
    st.sampled_from([ObjectId("65a1b2c3d4e5f60718293a4b"), Regex("^a", "i"), Binary(b"0123456789abcdef", 4), b"x"]),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=8
)
MAPPINGS = st.dictionaries(NAMES, VALUES, max_size=4)
TUPLES = st.lists(NAMES, max_size=3).map(tuple)
LOOKUPS = st.one_of(
    st.builds(Parent, NAMES, NAMES, NAMES, TUPLES, st.booleans()),
    st.builds(Children, NAMES, NAMES, NAMES, TUPLES, MAPPINGS),
)
DECLARATIONS = st.builds(
    Declaration,
    route=st.builds(Route, NAMES, NAMES, NAMES, NAMES),
    filter=MAPPINGS,
    lookups=st.lists(LOOKUPS, max_size=3).map(tuple),
    pipeline=st.lists(MAPPINGS, max_size=3).map(tuple),
    fields=st.none() | TUPLES,
    exclude=TUPLES,
    rename=st.dictionaries(NAMES, NAMES, max_size=3),
    types=st.dictionaries(NAMES, st.sampled_from(["float", "date_ms"]), max_size=3),
    transform=st.sampled_from(["", "shop.search:listing"]),
    depends_on=st.none() | TUPLES,
    schema=st.none() | MAPPINGS,
)


def stored(declaration: Declaration) -> dict[str, Any]:
    """As a document of MongoDB would hold it."""
    written = declaration_to_bson(declaration)
    read = bson.decode(bson.encode(written, codec_options=BSON_OPTIONS), BSON_OPTIONS)
    assert read == written, "whoever compares what was stored finds it equal"
    return read


def deep(levels: int) -> dict[str, Any]:
    nested: dict[str, Any] = {"$cond": 1}
    for _ in range(levels):
        nested = {"$cond": nested}
    return nested


@given(DECLARATIONS)
@example(Declaration(Route("a", "b", "c", "d"), filter={"b": 1, "a": {"$regex": "^a", "$options": "i"}}))
@example(Declaration(Route("a", "b", "c", "d"), pipeline=(deep(60),)))
def test_a_declaration_is_read_back_as_it_was(declaration: Declaration) -> None:
    read = declaration_from_bson(stored(declaration))
    assert read == declaration
    assert digest(read) == digest(declaration)


def test_the_order_of_a_mapping_is_kept() -> None:
    declared = Declaration(Route("a", "b", "c", "d"), filter={"z": 1, "a": 2}, rename={"y": "x", "b": "c"})
    read = declaration_from_bson(stored(declared))
    assert list(read.filter) == ["z", "a"]
    assert list(read.rename) == ["y", "b"]


def test_what_belongs_to_the_file_is_not_stored() -> None:
    declared = Declaration(Route("a", "b", "c", "d", "tsync.yaml"), max_rate=5)
    read = declaration_from_bson(stored(declared))
    assert (read.route.declared_in, read.max_rate) == ("", None)
    assert stored(replace(declared, max_rate=7)) == stored(declared)


def test_parts_of_other_versions_do_no_harm() -> None:
    content = {"route": {"pairs": [[name, "x"] for name in ("name", "database", "collection", "target")]}, "later": 1}
    document = {"declaration": bson.encode({"declaration": {"pairs": list(map(list, content.items()))}})}
    assert declaration_from_bson(document) == Declaration(Route("x", "x", "x", "x"))
