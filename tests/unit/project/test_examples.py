"""The examples without their servers: what they declare, and the functions that need none."""

from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from examples import blog, homes, running, shop
from examples.blog.__main__ import EXAMPLE as BLOG
from examples.blog.search_text import post, text_of
from examples.homes.__main__ import EXAMPLE as HOMES
from examples.running import Documents, Example, ExampleFailed, Running, Search, address, listed, shown_lines
from examples.shop.__main__ import EXAMPLE as SHOP
from tests.unit.routes.test_file_schema import refused
from tsync_stream.demo.servers import Worker
from tsync_stream.routes.declared import declared_routes, load_all

ROOT = Path(__file__).parents[3]
EXAMPLES = {"blog": BLOG, "homes": HOMES, "shop": SHOP}


def test_every_example_is_tested() -> None:
    folders = {path.parent.name for path in (ROOT / "examples").glob("*/__main__.py")}
    assert set(EXAMPLES) == folders
    tests = (ROOT / "tests" / "acceptance" / "test_examples.py").read_text(encoding="utf-8")
    assert all(f'searches_of("{name}", tmp_path' in tests for name in folders)
    assert all(module.__doc__ for module in (blog, homes, shop))


@pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES)
def test_its_file_can_be_used_and_an_editor_completes_it(example: Example, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(example.folder))
    text = (example.folder / "tsync.yaml").read_text(encoding="utf-8")
    path = text.splitlines()[0].removeprefix("# yaml-language-server: $schema=")
    assert (example.folder / path).resolve() == ROOT / "docs" / "tsync.schema.json"
    assert refused(text) == []
    table = declared_routes(load_all(example.folder, {}))
    assert {route.target for route in table.routes} == set(example.loaded)
    assert {each.source[0] for each in table.values()} == {example.database}
    assert {path.stem for path in (example.folder / "data").iterdir()} == {name for _, name in table.namespaces}
    assert "schema" not in text.partition("\n")[2]  # none is needed: it is found


def test_the_text_of_a_post_is_what_a_reader_sees() -> None:
    assert text_of("<p>a<em>b</em>c</p><p>d &amp; e</p>") == "abc d & e"
    assert text_of("<h1>One</h1>two<script>var three</script><style>p{}</style> four") == "One two four"
    assert text_of("1 < 2 and <b>open") == "1 < 2 and open"
    assert text_of("") == ""


def test_a_post_is_shown_without_its_html() -> None:
    long = post({"id": "1", "html": f"<p>{'word ' * 450}</p>", "title": "t"})
    assert long == {"id": "1", "title": "t", "text": ("word " * 450).strip(), "excerpt": long["excerpt"], "minutes": 3}
    assert len(long["excerpt"]) <= 72
    assert long["excerpt"].endswith("word …")
    assert post({"id": "2"}) == {"id": "2", "text": "", "excerpt": "", "minutes": 1}


def test_what_was_found_is_one_line_each() -> None:
    search = Search("Things", "things", {"q": "*", "sort_by": "at(1, 2):asc"}, lambda document: document["name"])
    hits = [{"document": {"id": key, "name": f"n{key}"}} for key in ("1", "22")]
    facet = {"field_name": "kind", "counts": [{"value": "a", "count": 2}, {"value": "b", "count": 1}]}
    assert shown_lines(search, {"hits": hits, "facet_counts": [facet]}) == ["1   n1", "22  n22", "[kind: a 2, b 1]"]
    assert address(search) == "/collections/things/documents/search?per_page=100&q=*&sort_by=at(1,+2):asc"


def test_counts_are_a_sentence() -> None:
    assert listed({"sellers": 3}) == "3 sellers"
    assert listed({"sellers": 3, "reviews": 5, "products": 20}) == "3 sellers, 5 reviews and 20 products"


class HealthyWorker:
    """A worker that reports no problem."""

    def report(self) -> dict[str, Any]:
        return {"problems": []}


def answering(status: int, answer: dict[str, Any]) -> Running:
    """A running example whose Typesense always answers the same."""
    typesense = httpx.Client(
        base_url="http://typesense", transport=httpx.MockTransport(lambda _: httpx.Response(status, json=answer))
    )
    return Running(cast(Documents, None), typesense, cast(Worker, HealthyWorker()))


@pytest.mark.parametrize(
    ("status", "answer", "instead"),
    [
        (200, {"found": 1, "hits": [{"document": {"id": "b"}}]}, "['b']"),
        (200, {"found": 2, "hits": [{"document": {"id": "b"}}, {"document": {"id": "a"}}]}, "['b', 'a']"),
        (200, {"found": 0, "hits": []}, "0"),
        (404, {"message": "no such facet"}, "no such facet"),
    ],
)
def test_an_example_fails_if_a_search_finds_anything_else(
    status: int, answer: dict[str, Any], instead: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "PATIENCE_S", 0.0)
    with pytest.raises(ExampleFailed) as failed:
        answering(status, answer).finds(Search("Things", "things", {"q": "*"}, str), "a", "b")
    assert "“Things” should find ['a', 'b']" in str(failed.value)
    assert instead in str(failed.value)
