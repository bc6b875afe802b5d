"""Finding the function of a `transform`: from the working directory, and without a word of what an exception says."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tsync_stream.routes.transforms import transform_function, why_not_importable


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_module_of_the_working_directory_is_found(place: Path) -> None:
    (place / "shop_one").mkdir()
    (place / "shop_one" / "search.py").write_text("class Both:\n    @staticmethod\n    def product(d): return d\n")
    assert why_not_importable("shop_one.search:Both.product") == ""
    assert transform_function("shop_one.search:Both.product")({"a": 1}) == {"a": 1}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("raise ValueError('s3cret')", "cannot be imported (ValueError)"),
        ("raise SystemExit('s3cret')", "cannot be imported (SystemExit)"),
        ("import nosuch_s3cret", "cannot be imported (ModuleNotFoundError): its module needs another one"),
        ("def product(:", "cannot be imported (SyntaxError)"),
        ("from json import nosuch_s3cret", "cannot be imported (ImportError)"),
        ("", "is not found: its module has no such function"),
        ("product = 's3cret'", "cannot be imported (TypeError)"),
    ],
)
def test_what_fails_is_said_without_what_it_says(place: Path, content: str, says: str) -> None:
    (place / "shop_two.py").write_text(content)
    why = why_not_importable("shop_two:product")
    assert says in why
    assert "s3cret" not in why


@pytest.mark.parametrize("name", ["nosuch:product", "json.nosuch:product", "json.tool.nosuch:product"])
def test_a_module_that_is_not_there_is_told_from_one_that_needs_another(name: str) -> None:
    assert "is not found: it needs a module that Python finds" in why_not_importable(name)
