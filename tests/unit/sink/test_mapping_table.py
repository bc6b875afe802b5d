"""The tables of docs/mapping.md say what the code does: each row is mapped, and the page is made of the same rows."""

from pathlib import Path

import orjson
import pytest
from bson import json_util
from bson.codec_options import DatetimeConversion

from tests.support.mapping_table import LEFT_OUT, REFUSED, TYPES, VALUES, written
from tests.support.schemas import CATCH_ALL, plan
from tsync_stream.core.errors import DocumentRejected
from tsync_stream.core.keys import BSON_OPTIONS
from tsync_stream.sink.mapping import encode_line, map_document

PAGE = Path(__file__).parents[3] / "docs/mapping.md"
EXAMPLES = [("auto", source, target) for kind in VALUES for source, target in kind.examples]
_EXTENDED = json_util.JSONOptions(
    document_class=dict, tz_aware=BSON_OPTIONS.tz_aware, datetime_conversion=DatetimeConversion.DATETIME
)


def test_the_page_has_these_tables() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == written(page), "run `python -m tests.support.mapping_table docs/mapping.md`"


@pytest.mark.parametrize(("kind", "source", "target"), [*TYPES, *EXAMPLES])
def test_each_row_holds(kind: str, source: str, target: str) -> None:
    value = json_util.loads(source, json_options=_EXTENDED)
    schema = plan(*([("f", kind)] if kind != "auto" else []), CATCH_ALL)
    document = {"_id": 1, "f": value}
    if target.startswith(REFUSED):
        with pytest.raises(DocumentRejected) as caught:
            map_document(document, schema)
        assert target == f"{REFUSED}{caught.value.reason}"
        return
    expected = {} if target == LEFT_OUT else {"f": orjson.loads(target)}
    assert encode_line(map_document(document, schema)) == orjson.dumps({"id": "1", **expected})
