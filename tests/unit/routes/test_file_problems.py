"""What is wrong with a routes file: for each mistake where it is, and what the message says about it."""

import itertools
from pathlib import Path

import pytest

from tests.unit.routes.test_file import PLAIN, problems, route_of, table

FIRST_LINE = len(PLAIN.splitlines()) + 1  # of what a test adds to the plain route

# A key of the route, its value with a ^ before the place of the problem (without one: the key), words of the message.
Case = tuple[str, str, str]

FIELDS: list[Case] = [
    ("fields", "^[]", "it is empty; leave the key out"),
    ("fields", "^title", "it needs a list of field names"),
    ("fields", "[title, ^5]", "`fields[1]: 5` is not valid: it needs the name of a field"),
    ("fields", "^[title, title]", "one of its names is there twice"),
    ("fields", "^[a, a.b]", "one of its paths contains another"),
    ("fields", "[^a..b]", "without empty ones"),
    ("fields", '[^"$a"]', "does not begin with $"),
    ("fields", "[^_id]", "`_id` is always there"),
    ("exclude", "[^_id]", "`_id` is always there"),
    ("fields", "", "it is empty; leave the key out where nothing is meant"),
    ("max_rate", "^0", "it needs a whole number of documents a second, above 0"),
    ("max_rate", "^true", "it needs a whole number of documents a second, above 0"),
    ("max_rate", "^1.5", "it needs a whole number of documents a second, above 0"),
    ("depends_on", "[price]", "`depends_on` is about `pipeline` and `transform`, and there is neither"),
]
RENAMES: list[Case] = [
    ("rename", "{^_id: key}", "`id` is the key of a document"),
    ("rename", "{key: ^id}", "`id` is the key of a document"),
    ("rename", "{a: x, ^b: x}", "`a` gets the same name already"),
    ("rename", "{^a.b: x}", "a name at the top level, without dots"),
    ("rename", '{a: ^" x"}', "Typesense would misread it"),
    ("types", "{price: ^flaot}", "it needs one of float, int32, int64, string, bool, {date: s}, {date: ms}"),
    ("types", "{at: ^{date: us}}", "{date: ms}"),
    ("types", "{at: ^{date: ms, more: 1}}", "{date: ms}"),
    ("types", "{at: ^date_ms}", "{date: ms}"),
]
LOOKUPS: list[Case] = [
    ("lookups", "^{from: s}", "`lookups` is not valid: it needs a list of lookups"),
    ("lookups", "[^s]", "must be a mapping"),
    ("lookups", "[^{from: s, local: a}]", "`lookups[0].as` is missing: it needs a name at the top level"),
    (
        "lookups",
        "[{from: s, local: a, as: x, ^locl: b}]",
        "`lookups[0].locl` is not a key that is known here; did you mean `local`",
    ),
    ("lookups", "[{from: s, local: a, as: x, many: ^yes}]", "it needs true or false"),
    ("lookups", "[{from: s, local: a, as: x, ^summary: {count: n}}]", "only `children` are summarized"),
    ("lookups", "[{children: s, foreign: a, as: x, ^many: true}]", "children are always many"),
    ("lookups", "[{children: s, foreign: a, as: x, ^from: y}]", "a lookup has `from` or `children`, not both"),
    ("lookups", "[{from: s, local: a, as: x, ^lookups: []}]", "a lookup is not made inside another one"),
    ("lookups", "[{from: s, local: a, as: ^x.y}]", "a name at the top level"),
    ("lookups", "[{from: s, local: a, as: ^_id}]", "`id` is the key of a document"),
    ("lookups", "[{from: s, local: a, ^as: a}]", "this lookup reads its key from this field"),
    ("lookups", "[{from: s, local: a.b, ^as: a}]", "this lookup reads its key from this field"),
    (
        "lookups",
        "[{from: s, local: a, as: x}, {from: t, local: b, ^as: x}]",
        "lookups[0] shows something under this name",
    ),
    (
        "lookups",
        "[{from: s, local: a, as: x}, {from: t, ^local: x.b, as: y}]",
        "a lookup cannot begin in another one: what a document shows would depend on a chain of others",
    ),
    ("lookups", "[{from: s, local: a, as: x, fields: [^b.c]}]", "a name at the top level, without dots"),
    (
        "lookups",
        "[{from: s, local: a, as: x}, {children: s, foreign: a, ^as: x, summary: {count: n}}]",
        "lookups[0] has this name already",
    ),
    ("lookups", "[{children: s, foreign: a, as: x, ^summary: {}}]", "at least one of count, avg, sum, min, max"),
    (
        "lookups",
        "[{children: s, foreign: a, as: x, summary: {^mean: {a: b}}}]",
        "`lookups[0].summary.mean` is not a key",
    ),
    (
        "lookups",
        "[{children: s, foreign: a, as: x, fields: [stars], summary: {avg: {^starz: m}}}]",
        "this field is not among the lookup's `fields`, which are all that is read",
    ),
    (
        "lookups",
        "[{children: s, foreign: a, as: x, summary: {count: n, avg: {^b: n}}}]",
        "this lookup shows something under this name already",
    ),
]
QUERIES: list[Case] = [
    ("filter", "^[a]", "`filter` is not valid: it needs a MongoDB query, for example"),
    ("filter", '{^$where: "1"}', "`$where` is not possible: it runs JavaScript"),
    ("filter", "{$or: [{$and: [{^$where: 1}]}]}", "`$where` is not possible"),
    ("filter", "{$expr: {$gt: [{^$function: {}}, 1]}}", "`$function` is not possible: it runs JavaScript"),
    ("filter", "{$expr: {$lt: [$until, ^$$NOW]}}", "its result changes while the document stays as it is"),
    ("filter", "{^$sampleRate: 0.5}", "its result changes while the document stays as it is"),
    ("filter", "{^$text: {$search: a}}", "it needs an index that a read by keys does not use"),
    ("filter", "{at: {^$near: [1, 2]}}", "use `$geoWithin`"),
    ("filter", "{^$ro: []}", "`$ro` is no operator of a query; did you mean `$or`?"),
    ("filter", "{^$gt: 1}", "`$gt` is no operator of a query; it belongs to a field: `{price: {$gt: ...}}`"),
    ("filter", "{a: {$gte: 1, ^$lest: 2}}", "`$lest` is no operator of a field"),
    ("filter", "{a: {$not: {^$gtt: 1}}}", "`$gtt` is no operator of a field; did you mean `$gt`?"),
    ("filter", "{a: {$elemMatch: {^$gtt: 1, $lt: 2}}}", "`$gtt` is no operator of a field"),
    ("filter", "{a: {$elemMatch: {b: {^$gtt: 1}}}}", "`$gtt` is no operator of a field"),
    ("filter", "{^$and: {a: 1}}", "`$and` needs a list of queries"),
    ("filter", "{$or: [^1]}", "`$or` needs a list of queries"),
    ("filter", "{a: {^$in: x}}", "`$in` needs a list"),
    ("filter", "{a: {^$gte: 2024-05-06}}", 'a bare date is not valid here: write {$date: "2024-05-06T07:08:09Z"}'),
    ("filter", "{^a: {$oid: x}}", '`$oid` is not valid here: it needs the form {$oid: "65a1b2c3d4e5f60718293a4b"}'),
    ("filter", '{^a: {$date: "yesterday"}}', "`$date` is not valid here"),
    ("filter", "{a: ^9223372036854775808}", "a whole number must fit into 64 bits"),
    (
        "lookups",
        "[{from: s, local: k, ^as: a}]\n    filter: {a: 1}",
        "`filter` has this field of the source, and comes first",
    ),
]
TRANSFORMS: list[Case] = [
    ("transform", "^os", "it needs a Python function, as `module:function`, for example `shop.search:product`"),
    (
        "transform",
        "nosuch.module:function",
        "`nosuch.module:function` is not found: it needs a module that Python finds",
    ),
    ("transform", "json:nosuch", "its module has no such function"),
    ("transform", "sys:path", "cannot be imported (TypeError)"),
    ("schema", "^[]", "it needs a collection schema in Typesense's words, or the path of a JSON file"),
    ("schema", "{}", "a schema needs `fields`, a list of at least one field"),
    ("schema", "{fields: [^{name: a, type: flaot}]}", "the type `flaot`, which Typesense does not have; is it float?"),
    ("schema", "{fields: [{name: a, type: bool}, ^{name: a, type: bool}]}", "the same name as field 1"),
    ("schema", "{fields: [{name: a, type: int32}], ^default_sorting_field: b}", "the name of one of the `fields`"),
    ("schema", "nosuch.json", "there is no such file; a path counts from the folder of the routes file"),
]


@pytest.mark.parametrize(("key", "value", "says"), [*FIELDS, *RENAMES, *LOOKUPS, *QUERIES, *TRANSFORMS])
def test_a_mistake_has_a_place_and_a_message(tmp_path: Path, key: str, value: str, says: str) -> None:
    marked = f"    {key}: {value}\n"
    before = marked.partition("^")[0] if "^" in marked else "    "
    line, column = FIRST_LINE + before.count("\n"), len(before.rpartition("\n")[2]) + 1
    found = problems(tmp_path, PLAIN + marked.replace("^", ""))
    assert len(found) == 1
    assert found[0].startswith(f"tsync.yaml:{line}:{column}, route products: ")
    assert says in found[0]


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"fields": "[a]", "exclude": "[b]"}, "a route has `fields` or `exclude`, not both"),
        ({"fields": "[a, b]", "rename": "{a: b}"}, "another field is shown under this name"),
        ({"fields": "[a, b]", "rename": "{prize: x}"}, "`prize` is not among `fields`, so it is not shown"),
        ({"exclude": "[a]", "rename": "{a: x}"}, "`a` is in `exclude`, so it is not shown"),
        ({"lookups": "[{from: s, local: a, as: x}]", "rename": "{b: x}"}, "another field is shown under this name"),
        (
            {"fields": "[created_at]", "rename": "{created_at: listed_at}", "types": "{created_at: int64}"},
            "no field is shown under this name, after `rename`",
        ),
    ],
)
def test_parts_have_to_fit_together(tmp_path: Path, parts: dict[str, str], says: str) -> None:
    (found,) = problems(tmp_path, PLAIN + "".join(f"    {key}: {value}\n" for key, value in parts.items()))
    assert says in found


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("products", "a database and a collection, joined by a dot"),
        (".products", "joined by a dot"),
        ("admin.products", "MongoDB reserves it"),
        ("shop.system.views", "MongoDB reserves system collections"),
        ("shop." + "x" * 300, "MongoDB allows 255 bytes"),
        ("TSYNC.products", "this database holds our own state: set another STATE_DATABASE"),
    ],
)
def test_a_source_is_a_collection_that_can_be_followed(tmp_path: Path, source: str, says: str) -> None:
    (found,) = problems(tmp_path, PLAIN.replace("shop.products", source))
    assert says in found
    assert found.startswith("tsync.yaml:4:")


def test_two_routes_may_share_a_source_and_never_a_target(tmp_path: Path) -> None:
    second = "  drafts:\n    source: shop.products\n    target: "
    assert [route.target for route in table(tmp_path, f"{PLAIN}{second}drafts\n").routes] == ["products", "drafts"]
    (found,) = problems(tmp_path, f"{PLAIN}{second}products\n")
    assert found.startswith("tsync.yaml:8:5, route drafts: route products has the same target")


def test_the_collection_of_marks_is_no_target(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, PLAIN.replace("target: products", "target: tsync_stream_markers"))
    assert "this collection is our own" in found


@pytest.mark.parametrize(
    ("content", "begins", "says"),
    [
        (b"", "tsync.yaml:1:1: ", "the file is empty: it needs `routes:`"),
        (b"~\n", "tsync.yaml:1:1: ", "the file is empty"),
        (b"- a\n", "tsync.yaml:1:1: ", "must be a mapping"),
        (b"routes: {}\n", "tsync.yaml:1:9: ", "`routes` is not valid (it is empty)"),
        (b"rotues: {}\n", "tsync.yaml:1:1: ", "did you mean `routes`?"),
        (b"routes:\n  a: {\n", "tsync.yaml:3:1: ", "this is not YAML"),
        (b"routes:\n  \xff\n", "tsync.yaml:2:3: ", "the file is not UTF-8 text from here on"),
        (b"routes: {a: {source: ${DB}.x}}", "tsync.yaml:1:23: ", 'write a variable in quotes: "${NAME}"'),
        (b"routes: !!python/name:os.system x", "tsync.yaml:1:9: ", "tags (!name) are not read"),
        (b"%YAML 1.1\n---\nroutes: {}\n", "tsync.yaml:1:1: ", "the file is read as YAML 1.2"),
        (b"routes: {}\n---\nroutes: {}\n", "tsync.yaml:2:1: ", "this is not YAML"),
        (b"a: &a [*a]\n", "tsync.yaml:1:4: ", "this is more than a routes file may hold: 60 levels"),
        (b"[" * 5000, "tsync.yaml:1:1: ", "nested deeper than 60 levels"),
        (b"routes: *a\n", "tsync.yaml:1:9: ", "this is not YAML"),
        (b"? [a]\n: b\n", "tsync.yaml:1:3: ", "a key must be a text"),
    ],
)
def test_a_file_that_declares_no_routes_says_where_it_fails(
    tmp_path: Path, content: bytes, begins: str, says: str
) -> None:
    found = problems(tmp_path, content)
    assert any(each.startswith(begins) and says in each for each in found), found


@pytest.mark.parametrize(
    ("filter_", "says"),
    [
        (r'{"a\0": 1}', "a key must be a text in Unicode, without the character 0"),
        (r'{"a\ud800": 1}', "a key must be a text in Unicode"),
        (r'{a: "\ud800"}', "this is not a text in Unicode"),
        ("{a: '${BYTES}'}", "this is not a text in Unicode"),
    ],
)
def test_what_bson_cannot_hold_is_a_problem(tmp_path: Path, filter_: str, says: str) -> None:
    (found,) = problems(tmp_path, f"{PLAIN}    filter: {filter_}\n", BYTES="\udcff")
    assert says in found


def test_a_key_twice_is_a_problem(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, f"{PLAIN}    source: shop.others\n")
    assert found == "tsync.yaml:6:5, route products: `source` is here twice: before, in line 4"


def test_aliases_are_read_within_a_bound(tmp_path: Path) -> None:
    found = route_of(tmp_path, exclude="&internal [cost, margin]", filter="{tags: {$nin: *internal}}")
    assert found.filter == {"tags": {"$nin": ["cost", "margin"]}}
    names = "abcdefgh"
    bomb = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
        f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in itertools.pairwise(names)
    )
    assert "20000 values, aliases counted each time" in "\n".join(problems(tmp_path, bomb))


def test_merge_keys_are_refused(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, f"{PLAIN}    filter: {{<<: {{a: 1}}}}\n")
    assert "YAML 1.2 has no merge keys" in found


@pytest.mark.parametrize(("name", "column"), [("a b", 3), ("é", 3), ("x" * 101, 3), ('""', 3)])
def test_a_name_that_does_not_fit_is_refused(tmp_path: Path, name: str, column: int) -> None:
    (found,) = problems(tmp_path, PLAIN.replace("products:", f"{name}:"))
    assert found.startswith(f"tsync.yaml:3:{column}")
    assert "1 to 100 letters, digits, `_`, `-` or `.`" in found


def test_very_many_problems_are_cut_off(tmp_path: Path) -> None:
    found = problems(tmp_path, PLAIN + "".join(f"    key{number}: 1\n" for number in range(500)))
    assert len(found) == 101
    assert found[-1] == "tsync.yaml: 400 further problems are not shown"
