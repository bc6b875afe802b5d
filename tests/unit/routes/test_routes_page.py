"""docs/routes.md and README: each file that they show declares routes, and an editor accepts it; lists are complete."""

import re
import sys
from pathlib import Path

import pytest

from tests.unit.routes.test_file import problems, table
from tests.unit.routes.test_file_schema import refused
from tsync_stream.routes.declared import load_all
from tsync_stream.routes.extended_json import EXAMPLES
from tsync_stream.routes.file_models import ChildrenPart, ParentPart, RoutePart
from tsync_stream.routes.filters import OF_A_FIELD, REFUSED, REFUSED_VARIABLES
from tsync_stream.routes.stages import ALLOWED
from tsync_stream.settings.routes_file import REPLACED

PAGE = Path("docs/routes.md").read_text(encoding="utf-8")
README = Path("README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", PAGE + README, re.MULTILINE | re.DOTALL)
FILES = [block for block in BLOCKS if block.startswith(("routes:", "# yaml-language-server"))]


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The module that the page shows."""
    (tmp_path / "shop").mkdir()
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / "shop" / "search.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("shop", "shop.search"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def test_the_files_are_found() -> None:
    assert len(FILES) >= 9
    assert FILES[0].startswith("# yaml-language-server: $schema=docs/tsync.schema.json\n")


@pytest.mark.parametrize("text", FILES)
def test_a_file_of_the_page_declares_routes(tmp_path: Path, text: str) -> None:
    assert table(tmp_path, text, STAGE="test", REGION="north").routes
    assert load_all(tmp_path, {"STAGE": "test", "REGION": "north"}, imports=True)
    assert refused(text) == []


def test_the_problems_of_the_page_are_those_that_a_start_reports(tmp_path: Path) -> None:
    file = "routes:\n  products:\n    # changed\n    sorce: shop.products\n    source: shop.products\n"
    found = problems(tmp_path, f"{file}    target: products\n    filter: {{$where: '1'}}\n")
    assert [f"  - {problem}" for problem in found] == re.findall(r"^  - tsync.yaml.*$", PAGE, re.MULTILINE)


@pytest.mark.parametrize(
    ("heading", "names"),
    [
        ("The keys of a route", {field.alias or name for name, field in RoutePart.model_fields.items()}),
        ("Filter", {*REFUSED, *REFUSED_VARIABLES} - {"$geoNear", "$$USER_ROLES"}),
        ("Filter", {name for name in OF_A_FIELD if name in {"$in", "$elemMatch", "$geoWithin", "$regex"}}),
        ("Filter", {"$oid", "$date", "$uuid", "$numberDecimal", "$numberLong", "$regularExpression"} & set(EXAMPLES)),
        ("Lookups", {field.alias or name for name, field in ParentPart.model_fields.items()}),
        ("Lookups", {field.alias or name for name, field in ChildrenPart.model_fields.items()}),
        ("Pipeline", set(ALLOWED)),
        ("Where the file is, and changing it", REPLACED),
    ],
)
def test_a_section_names_everything(heading: str, names: set[str]) -> None:
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    assert section
    named = set(re.findall(r"[`{]\s*([$\w]+)", section))
    assert names - named == set()
