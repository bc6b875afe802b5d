"""The table of docs/mapping.md says what the code does."""

import re
from pathlib import Path

import orjson
import pytest
from bson import json_util
from bson.codec_options import DatetimeConversion

from tests.support.schemas import CATCH_ALL, plan
from tsync_stream.core.errors import DocumentRejected
from tsync_stream.core.keys import BSON_OPTIONS
from tsync_stream.sink.mapping import encode_line, map_document

TEXT = (Path(__file__).parents[3] / "docs/mapping.md").read_text()
_ROW = re.compile(r"^\| `(?P<type>[a-z0-9\[\]*]+)` \| `(?P<source>.+)` \| (?P<target>.+) \|$", re.MULTILINE)
ROWS = [(row["type"], row["source"], row["target"]) for row in _ROW.finditer(TEXT.partition("test_mapping_table")[2])]
_EXTENDED = json_util.JSONOptions(
    document_class=dict, tz_aware=BSON_OPTIONS.tz_aware, datetime_conversion=DatetimeConversion.DATETIME
)


def test_the_table_is_found() -> None:
    assert len(ROWS) > 30
    assert {kind for kind, _, _ in ROWS} >= {"int64", "int32", "float", "string", "geopoint", "geopoint[]", "object"}


@pytest.mark.parametrize(("kind", "source", "target"), ROWS)
def test_each_row_holds(kind: str, source: str, target: str) -> None:
    value = json_util.loads(source, json_options=_EXTENDED)
    schema = plan(*([("f", kind)] if kind != "auto" else []), CATCH_ALL)
    document = {"_id": 1, "f": value}
    if target.startswith("refused: "):
        with pytest.raises(DocumentRejected) as caught:
            map_document(document, schema)
        assert target == f"refused: {caught.value.reason}"
        return
    expected = {} if target == "left out" else {"f": orjson.loads(target.strip("`"))}
    assert encode_line(map_document(document, schema)) == orjson.dumps({"id": "1", **expected})
