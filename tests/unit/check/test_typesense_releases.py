"""What `check` says of releases of Typesense, and docs/compatibility.md: which are tested, which were only read."""

import re
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from tests.support.releases import RELEASES
from tsync_stream.check.findings import Finding
from tsync_stream.check.typesense import (
    CREATE,
    DELETE,
    EXPORT,
    GET,
    IMPORT,
    TargetFacts,
    TypesenseFacts,
    _look,
    judge_typesense,
)
from tsync_stream.check.typesense_releases import reference_findings, release_findings
from tsync_stream.routes.declared import declared_routes
from tsync_stream.settings.load import load_settings

SETTINGS = load_settings(Path("/nowhere"), {})
TABLE = declared_routes(SETTINGS)
ANSWERS = {GET: 200, CREATE: 400, IMPORT: 200, DELETE: 404, EXPORT: 200}
GOOD = {"name": "seller_id", "type": "string", "reference": "s.id", "async_reference": True, "cascade_delete": False}
PAGE = (Path(__file__).parents[3] / "docs" / "compatibility.md").read_text(encoding="utf-8")


def found(version: str = "29.0", collection: Any = None, schema: str | None = None) -> list[Finding]:
    facts = TypesenseFacts(None, 200, {"ok": True}, version, {TABLE.routes[0].target: TargetFacts(ANSWERS, collection)})
    return list(judge_typesense(SETTINGS.typesense, TABLE, "http://t", facts, schema).findings)


@pytest.mark.parametrize("version", ["0.24.1", "0.25.2", "26.1", "27.1", "28.0", "29.0", "30.0", "30.2", "", "nightly"])
def test_releases_that_may_be_used(version: str) -> None:
    assert found(version) == []


@pytest.mark.parametrize(
    ("version", "says", "fix"),
    [
        ("26.0", "may end early", "26.1"),
        ("26.0.rc12", "may end early", "26.1"),
        ("27.0", "leave out fields", "27.1"),
        ("0.23.1", "too old", "0.24"),
    ],
)
def test_releases_that_may_not(version: str, says: str, fix: str) -> None:
    (finding,) = found(version)
    assert finding.level == "wrong"
    assert says in finding.text
    assert fix in finding.fix


@pytest.mark.parametrize("version", ["31.0", "31.0.rc1", "100"])
def test_a_release_that_nobody_has_read_is_noted(version: str) -> None:
    (finding,) = found(version)
    assert (finding.level, version in finding.text) == ("note", True)


@pytest.mark.parametrize("changed", [{"async_reference": False}, {"cascade_delete": True}, {"cascade_delete": None}])
def test_a_reference_has_to_take_documents_in_any_order_and_to_keep_them(changed: dict[str, Any]) -> None:
    schema = {"fields": [{**GOOD, **changed}, {"name": "title", "type": "string"}]}
    for findings in (found(collection=schema), found(schema=orjson.dumps(schema).decode())):
        (finding,) = findings
        assert finding.level == "wrong"
        assert "with seller_id:" in finding.text
        assert "`async_reference: true` and `cascade_delete: false`" in finding.fix


def test_references_that_are_right_are_found_right_where_there_are_references() -> None:
    assert found(collection={"fields": [GOOD]}) == []
    (finding,) = found("26.1", {"fields": [GOOD]})
    assert "which Typesense 26.1 does not support" in finding.text


def test_a_finding_names_some_fields_only() -> None:
    fields = [{"name": f"f{number}", "reference": "a.id"} for number in range(4_000)]
    (finding,) = reference_findings({"fields": fields}, "it")
    assert "f0, f1, f2, f3, f4 and 3995 more:" in finding.text


@pytest.mark.parametrize(
    "shape", [None, [], 1, "x", {}, {"fields": None}, {"fields": {}}, {"fields": [None, 1, []]}, {"fields": [{}]}]
)
def test_no_shape_of_a_schema_is_too_odd(shape: Any) -> None:
    assert found(collection=shape) == []
    assert next(reference_findings({"fields": [{"reference": 1}]}, "it")).level == "wrong"


@pytest.mark.parametrize("debug", ["[]", "null", "1", '"x"', "{}", '{"version":null}', '{"version":[1]}', "<html>"])
async def test_no_answer_of_debug_is_too_odd(debug: str) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, text=debug if request.url.path == "/debug" else '{"ok":true}')

    async with httpx.AsyncClient(base_url="http://t", transport=httpx.MockTransport(answer)) as client:
        list(release_findings((await _look(client, ["c"])).version))


# ---- the page ----


def test_every_release_that_is_imitated_is_on_the_page_with_what_check_says() -> None:
    rows = dict(re.findall(r"^\| Typesense ([\d.]+)[^|]* \| ([^|]+) \|", PAGE, re.MULTILINE))
    for release in RELEASES.values():
        row = rows[release.version]
        assert ("*wrong*" in row) is any(finding.level == "wrong" for finding in release_findings(release.version)), row
        assert ("run" in row) is (release.version == "0.24.1"), row


def test_every_test_that_the_page_names_is_there() -> None:
    tests = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE)
    assert len(tests) > 10
    for path, name in tests:
        text = (Path(__file__).parents[3] / path).read_text(encoding="utf-8")
        assert f"def {name}(" in text or not name, f"{path}::{name}"
