"""What the mapping makes of a value: the rows of the tables in docs/mapping.md, which the tests map one by one.

`python -m tests.support.mapping_table docs/mapping.md` writes the tables into the page.
"""

import re
import sys
from dataclasses import dataclass
from pathlib import Path

LEFT_OUT = "left out"
REFUSED = "refused: "


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of value in a field without a type: what it becomes, what is lost, and examples.

    An example is a value in extended JSON, and what becomes of it: JSON, `left out`, or `refused: ` and the reason.
    """

    source: str
    target: str
    lost: str
    examples: tuple[tuple[str, str], ...]


UUID = '{"$uuid": "12345678-9abc-4def-8123-456789abcdef"}'
VALUES = (
    Kind("string", "string", "nothing", (('"Flat"', '"Flat"'), ('""', '""'))),
    Kind("bool", "bool", "nothing", (("true", "true"),)),
    Kind(
        "32- and 64-bit integer",
        "integer",
        "nothing",
        (("12", "12"), ('{"$numberLong": "9007199254740993"}', "9007199254740993")),
    ),
    Kind(
        "double",
        "float",
        "nothing in the stored document; filters and sorting use 32 bits (about 7 digits). JSON has no NaN or "
        "infinity: such a document becomes a dead letter",
        (("12.5", "12.5"), ('{"$numberDouble": "NaN"}', "refused: not a number in JSON")),
    ),
    Kind(
        "Decimal128",
        "float",
        "digits beyond the 15 to 17 of a double; beyond its range: a dead letter",
        (
            ('{"$numberDecimal": "1250.50"}', "1250.5"),
            ('{"$numberDecimal": "1E+400"}', "refused: not a number in JSON"),
        ),
    ),
    Kind(
        "ObjectId",
        "string of 24 hex digits",
        "",
        (('{"$oid": "65a1b2c3d4e5f60718293a4b"}', '"65a1b2c3d4e5f60718293a4b"'),),
    ),
    Kind("UUID (binary subtype 4)", "string", "", ((UUID, '"12345678-9abc-4def-8123-456789abcdef"'),)),
    Kind(
        "date",
        "integer, time since 1970 in UTC, in `DATE_UNIT` (`s`: whole seconds, rounded down; `ms`)",
        "with `s` the milliseconds",
        (('{"$date": "2024-05-06T07:08:09.999Z"}', "1714979289"), ('{"$date": "1969-12-31T23:59:59.5Z"}', "-1")),
    ),
    Kind(
        "timestamp", "integer, same unit", "its counter", (('{"$timestamp": {"t": 1714979289, "i": 7}}', "1714979289"),)
    ),
    Kind("object", "object", "", (('{"city": "Paris", "floor": null}', '{"city": "Paris"}'), ("{}", "{}"))),
    Kind("array", "array", "", (('[1, "a", null]', '[1, "a"]'), ("[]", "[]"))),
    Kind(
        "DBRef",
        "object with `$ref`, `$id`, and `$db` if present",
        "",
        (('{"$ref": "sellers", "$id": 7}', '{"$ref": "sellers", "$id": 7}'),),
    ),
    Kind(
        "GeoJSON Point",
        "`[latitude, longitude]`, two floats",
        "altitude, and members other than `coordinates`",
        (('{"type": "Point", "coordinates": [2, 48.85, 35]}', "[48.85, 2.0]"),),
    ),
    Kind(
        "other GeoJSON, including Points inside a GeometryCollection",
        "object, unchanged",
        "it cannot be searched as a shape",
        (
            (
                '{"type": "LineString", "coordinates": [[2.35, 48.85], [12.5, 41.9]]}',
                '{"type": "LineString", "coordinates": [[2.35, 48.85], [12.5, 41.9]]}',
            ),
        ),
    ),
    Kind(
        "null, undefined",
        "omitted, in arrays too",
        '"null" and "missing" look the same',
        (("null", LEFT_OUT), ('{"$undefined": true}', LEFT_OUT)),
    ),
    Kind(
        "other binary, regular expression, JavaScript, MinKey, MaxKey",
        "omitted, in arrays too",
        "the field",
        (
            ('{"$binary": {"base64": "AAE=", "subType": "00"}}', LEFT_OUT),
            ('{"$regularExpression": {"pattern": "a", "options": ""}}', LEFT_OUT),
            ('{"$code": "1"}', LEFT_OUT),
            ('{"$minKey": 1}', LEFT_OUT),
            ('{"$maxKey": 1}', LEFT_OUT),
        ),
    ),
)

# In a field of this type: a value in extended JSON, and what becomes of it.
TYPES = (
    ("int64", "1714979289999.0", "1714979289999"),
    ("int64", '{"$numberDecimal": "12"}', "12"),
    ("int64", "4.5", "refused: no whole number"),
    ("int64", "9007199254740994.0", "refused: no whole number"),
    ("int64[]", "[1.0, 2]", "[1, 2]"),
    ("int32", '{"$numberLong": "2147483648"}', "refused: value out of range"),
    ("float", "4.0", "4.0"),
    ("float", "4", "4"),
    ("string", "12", '"12"'),
    ("string", "12.5", '"12.5"'),
    ("string", "true", '"true"'),
    ("string", '{"$date": "2024-05-06T07:08:09.999Z"}', '"2024-05-06T07:08:09.999Z"'),
    ("string[]", '[1, "a"]', '["1", "a"]'),
    ("string[]", '"a"', '["a"]'),
    ("string[]", "12", '["12"]'),
    ("string[]", "null", "left out"),
    ("int64[]", "2.0", "[2]"),
    ("object[]", '{"a": 1}', '[{"a": 1}]'),
    ("string*", "12", '"12"'),
    ("geopoint", '{"type": "Point", "coordinates": [2.35, 48.85]}', "[48.85, 2.35]"),
    ("geopoint", '{"type": "Point", "coordinates": [2.35, 48.85], "city": "Paris"}', "[48.85, 2.35]"),
    ("geopoint", "[2.35, 48.85]", "[48.85, 2.35]"),
    ("geopoint", '{"lat": 48.85, "lng": 2.35}', "[48.85, 2.35]"),
    ("geopoint", '{"type": "Point", "coordinates": []}', "left out"),
    ("geopoint", '{"x": 2.35, "y": 48.85}', "refused: not a place"),
    ("geopoint", '{"type": "MultiPoint", "coordinates": [[2.35, 48.85]]}', "refused: not a place"),
    ("geopoint", "[[2.35, 48.85]]", "refused: not a place"),
    ("geopoint", "[48.85, 148.85]", "refused: not a place on Earth"),
    ("geopoint[]", '[{"type": "Point", "coordinates": [2.35, 48.85]}]', "[[48.85, 2.35]]"),
    (
        "geopoint[]",
        '{"type": "MultiPoint", "coordinates": [[2.35, 48.85], [12.5, 41.9]]}',
        "[[48.85, 2.35], [41.9, 12.5]]",
    ),
    ("geopoint[]", '{"type": "Point", "coordinates": [2.35, 48.85]}', "[[48.85, 2.35]]"),
    ("geopoint[]", "[[2.35, 48.85], [12.5, 41.9]]", "[[48.85, 2.35], [41.9, 12.5]]"),
    (
        "geopoint[]",
        '{"type": "GeometryCollection", "geometries": [{"type": "Point", "coordinates": [2.35, 48.85]}]}',
        "[[48.85, 2.35]]",
    ),
    ("geopoint[]", '{"type": "LineString", "coordinates": [[2.35, 48.85], [12.5, 41.9]]}', "refused: not a place"),
    (
        "object",
        '{"type": "Point", "coordinates": [2.35, 48.85], "city": "Paris"}',
        '{"type": "Point", "coordinates": [2.35, 48.85], "city": "Paris"}',
    ),
    ("auto", '{"type": "Point", "coordinates": [2.35, 48.85], "city": "Paris"}', "[48.85, 2.35]"),
    ("auto", '{"type": "Point", "coordinates": [500, 48.85]}', "refused: not a place on Earth"),
    ("auto", '{"type": "Point", "coordinates": ["2", "48"]}', '{"type": "Point", "coordinates": ["2", "48"]}'),
    ("auto", "[2.35, 48.85]", "[2.35, 48.85]"),
)


def written(page: str) -> str:
    """The page with both tables as they are here. Raises ValueError if it has no place for one."""
    values = [
        "| MongoDB | Typesense | for example | what is lost |",
        "| --- | --- | --- | --- |",
        *(f"| {kind.source} | {kind.target} | {_example(*kind.examples[0])} | {kind.lost} |" for kind in VALUES),
    ]
    types = [
        "| the field's type | in MongoDB | in Typesense |",
        "| --- | --- | --- |",
        *(f"| `{kind}` | `{source}` | {_result(target)} |" for kind, source, target in TYPES),
    ]
    return _between("types", types, _between("values", values, page))


def _between(name: str, lines: list[str], page: str) -> str:
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    if page.count(begin) != 1 or page.count(end) != 1:
        raise ValueError(f"the page needs {begin} and {end}, each once")
    table = "\n".join(lines)
    return re.sub(f"{begin}.*{end}", lambda _: f"{begin}\n\n{table}\n\n{end}", page, flags=re.DOTALL)


def _example(source: str, target: str) -> str:
    return f"`{source}` → {_result(target)}"


def _result(target: str) -> str:
    return target if target == LEFT_OUT or target.startswith(REFUSED) else f"`{target}`"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(written(path.read_text(encoding="utf-8")), encoding="utf-8")
