"""Artefacts in the routes file: what they become, what is wrong with them, and that no message shows a secret."""

from pathlib import Path

import pytest

from tests.unit.routes.test_file import PLAIN, problems, table
from tsync_stream.core.errors import ConfigurationError
from tsync_stream.routes.artefact_declarations import DeclaredArtefacts
from tsync_stream.routes.declared import declared_artefacts, load_all

SECRET = "s3cret-of-the-storefront"
OF_ROUTE = """
    synonyms:
      coats: [coat, jacket]
      phones: {root: phone, synonyms: [iphone], locale: en}
    curations:
      apple:
        rule: {query: apple, match: exact}
        includes: [{id: "422", position: 1}]
        effective_to_ts: 1767225600
"""
OF_ALL = """
stopwords:
  common: [a, the]
  german: {stopwords: [der, die], locale: de}
presets:
  storefront: {query_by: title, per_page: 24}
aliases:
  shop: products
search_keys:
  web:
    value: ${WEB_KEY}
    collections: [products]
    embed: {filter_by: "published:=true", expires_at: 1767225600}
  app:
    value_file: app.key
    collections: [products, shop]
    expires_at: 1767225600
"""


@pytest.fixture(autouse=True)
def dotenv(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("STAGE=test\n", encoding="utf-8")


def artefacts(directory: Path, text: str, **environ: str) -> DeclaredArtefacts:
    (directory / "tsync.yaml").write_text(text, encoding="utf-8")
    return declared_artefacts(load_all(directory, environ))


def test_artefacts_are_declared_in_typesenses_words(tmp_path: Path) -> None:
    found = artefacts(tmp_path, PLAIN + OF_ROUTE + OF_ALL, WEB_KEY=SECRET)
    assert found.routes["products"].synonyms == {
        "coats": {"synonyms": ["coat", "jacket"]},
        "phones": {"root": "phone", "synonyms": ["iphone"], "locale": "en"},
    }
    assert found.routes["products"].curations == {
        "apple": {
            "rule": {"query": "apple", "match": "exact"},
            "includes": [{"id": "422", "position": 1}],
            "effective_to_ts": 1767225600,
        }
    }
    assert found.stopwords == {
        "common": {"stopwords": ["a", "the"]},
        "german": {"stopwords": ["der", "die"], "locale": "de"},
    }
    assert found.presets == {"storefront": {"query_by": "title", "per_page": 24}}
    assert found.aliases == {"shop": "products"}
    web, app = found.search_keys["web"], found.search_keys["app"]
    assert web.secret() == SECRET
    assert web.embed == {"filter_by": "published:=true", "expires_at": 1767225600}
    assert (app.collections, app.expires_at) == (("products", "shop"), 1767225600)
    (tmp_path / "app.key").write_text(f"{SECRET}2\n")
    assert app.secret() == f"{SECRET}2"
    assert SECRET not in repr(found)


def test_they_are_no_part_of_the_table_of_routes(tmp_path: Path) -> None:
    without = table(tmp_path, PLAIN).version
    assert table(tmp_path, PLAIN + OF_ROUTE + OF_ALL, WEB_KEY=SECRET).version == without


def test_without_a_file_there_are_none(tmp_path: Path) -> None:
    environ = {"MONGODB_DATABASE": "shop", "MONGODB_COLLECTION": "products", "TYPESENSE_COLLECTION_NAME": "products"}
    assert declared_artefacts(load_all(tmp_path, environ)) == DeclaredArtefacts()


def test_only_who_uses_a_key_needs_its_variable(tmp_path: Path) -> None:
    key = artefacts(tmp_path, PLAIN + OF_ALL).search_keys["web"]
    with pytest.raises(ConfigurationError, match=r"search key web \(`\$\{WEB_KEY\}`\): the variable is not set here"):
        key.secret()


@pytest.mark.parametrize("value", ["short", "with spaces in between", "ümläute-are-not-ascii", "x" * 201])
def test_a_value_that_cannot_be_a_key_is_refused_without_being_shown(tmp_path: Path, value: str) -> None:
    key = artefacts(tmp_path, PLAIN + OF_ALL, WEB_KEY=value).search_keys["web"]
    with pytest.raises(ConfigurationError, match="16 to 200 characters") as caught:
        key.secret()
    assert value not in str(caught.value)


def test_a_value_of_digits_stays_a_text(tmp_path: Path) -> None:
    assert artefacts(tmp_path, PLAIN + OF_ALL, WEB_KEY="0123456789012345").search_keys["web"].secret()[0] == "0"


# What is added to the plain route, with a ^ before the place of the problem, and words of the message.
OF_A_ROUTE = [
    ("synonyms: ^[a, b]", "`synonyms` is not valid: it needs synonyms by name"),
    ("synonyms: {^coats: [coat]}", "a synonym needs at least two words"),
    ("synonyms: {coats: [coat, ^5]}", "it needs a text"),
    ("synonyms: {coats: {^synonyms: [coat]}}", "a synonym needs at least two words, or a `root`"),
    ("synonyms: {coats: {root: a, ^synonym: [b], synonyms: [c]}}", "did you mean `synonyms`?"),
    ("synonyms: {coats: ^coat}", "a synonym must be a mapping"),
    ("synonyms: {^..: [a, b]}", "Typesense would read it as a folder"),
    ("synonyms: {^tsync-stream-marker: [a, b]}", "this name is our own"),
    ("curations: {^x: {includes: []}}", "`curations.x.rule` is missing: it needs which searches it is for"),
    ("curations: {x: {^rule: {query: a}, filter_by: b}}", "`query` and `match` belong together"),
    ("curations: {x: {^rule: {stem: true}, filter_by: b}}", "a rule needs `query` and `match`"),
    ("curations: {x: {rule: {query: a, match: ^exactly}, filter_by: b}}", "it needs `exact` or `contains`"),
    ("curations: {^x: {rule: {tags: [a]}}}", "a curation needs at least one of includes"),
    ("curations: {x: {rule: {tags: [a]}, ^include: []}}", "did you mean `includes`?"),
    ("curations: {x: {rule: {tags: [a]}, includes: [{id: a, ^posn: 1, position: 1}]}}", "did you mean `position`?"),
    ("curations: {x: {rule: {tags: [a]}, includes: [{id: a, position: ^0}]}}", "a position from 1 on"),
    ("curations: {x: {rule: {tags: [a]}, excludes: [{id: ^7}]}}", "it needs a text"),
    (
        "curations: {x: {rule: {tags: [a]}, ^replace_query: b, remove_matched_tokens: true}}",
        "`replace_query` or `remove_matched_tokens`, not both",
    ),
    ("curations: {x: {rule: {tags: [a]}, filter_by: b, effective_from_ts: 9, ^effective_to_ts: 9}}", "ends before"),
]
OF_THE_FILE = [
    ("stopwords: {common: ^[]}", "it needs a list of texts"),
    ("stopwords: {common: {^words: [a], stopwords: [b]}}", "did you mean `stopwords`?"),
    ("presets: {storefront: ^title}", "`presets.storefront: title` is not valid: it needs a mapping"),
    ("aliases: {^products: other}", "this is the target of route products, which keeps its alias itself"),
    ("aliases: {a: b, ^c: a}", "an alias shows a collection, and no other alias"),
    ("aliases: {a: ^b c}", "it needs the name of a Typesense collection or alias"),
    ("search_keys: {^web: {collections: [a]}}", "a search key needs `value` or `value_file`, and not both"),
    ('search_keys: {web: {^value: "literal-s3cret-in-the-file", collections: [a]}}', "a secret does not belong"),
    ('search_keys: {web: {^value: "${STAGE}literal-s3cret", collections: [a]}}', "a secret does not belong"),
    ('search_keys: {web: {value: "${KEY}", collections: ^[]}}', "it needs a list of collections or aliases"),
    ('search_keys: {^web: {value: "${KEY}"}}', "`search_keys.web.collections` is missing"),
    ('search_keys: {web: {value: "${KEY}", collections: [a], ^filter_by: b}}', "is not a key that is known here"),
    ('search_keys: {web: {value: "${KEY}", collections: [a], embed: ^{a: [b]}}}', "it needs parameters of a search"),
    ('search_keys: {web: {value: "${KEY}", collections: [a], embed: {^expires_at: soon}}}', "seconds since 1970"),
    (
        'search_keys: {a: {value: "${KEY}", collections: [a]}, ^b: {value: "${KEY}", collections: [b]}}',
        "search key a has the same value",
    ),
    ("synonym: {}", "`synonym` is not a key that is known here"),
]


@pytest.mark.parametrize(("written", "says"), [*OF_A_ROUTE, *OF_THE_FILE])
def test_a_mistake_has_a_place_and_a_message(tmp_path: Path, written: str, says: str) -> None:
    indent = "    " if (written, says) in OF_A_ROUTE else ""
    marked = f"{PLAIN}{indent}{written}\n"
    before = marked.partition("^")[0] if "^" in marked else PLAIN
    line, column = before.count("\n") + 1, len(before.rpartition("\n")[2]) + 1
    found = problems(tmp_path, marked.replace("^", "", 1))
    assert len(found) == 1, found
    route = ", route products" if indent else ""
    assert found[0].startswith(f"tsync.yaml:{line}:{column}{route}: "), found
    assert says in found[0]
    assert "s3cret" not in found[0]


def test_all_problems_are_found_at_once(tmp_path: Path) -> None:
    text = PLAIN + "    synonyms: {a: [b]}\n    fields: 5\naliases: {products: x}\nstopwords: {a: 5}\n"
    assert len(problems(tmp_path, text)) == 4
