"""The page: small, whole, without a request to the outside, and safe under its own policy."""

import re
from pathlib import Path

import pytest

from tsync_stream.web.headers import CONTENT_SECURITY_POLICY
from tsync_stream.web.static_files import FOLDER, INDEX, StaticFile, static_files, static_response

FILES = static_files()
LARGEST = 100_000


def text_of(name: str) -> str:
    return FILES[name].content.decode()


def test_the_page_is_small() -> None:
    assert sum(len(file.content) for file in FILES.values()) < LARGEST
    assert {path.name for path in FOLDER.iterdir()} == FILES.keys()


@pytest.mark.parametrize("name", FILES)
def test_nothing_is_asked_of_the_outside(name: str) -> None:
    found = re.findall(r"(?:https?:)?//[a-z0-9][\w.-]*\.[a-z]{2,}[^\s\"']*", text_of(name), flags=re.IGNORECASE)
    assert [url for url in found if url != "http://www.w3.org/2000/svg"] == []


def test_no_script_or_style_is_inline_and_no_text_becomes_markup() -> None:
    index = text_of(INDEX)
    assert re.findall(r"<script(?![^>]*\ssrc=)[^>]*>|<style|\sstyle=|\son\w+=|javascript:", index) == []
    for name in FILES:
        if name.endswith(".js"):
            unsafe = r"(?:inner|outer)HTML|insertAdjacentHTML|document\.(?:write|cookie)|\beval\(|localStorage"
            assert re.findall(unsafe, text_of(name)) == [], name
    assert "unsafe" not in CONTENT_SECURITY_POLICY


def test_every_file_that_the_page_names_is_there() -> None:
    named = set(re.findall(r"/dashboard/([\w.-]+)", text_of(INDEX)))
    for name in FILES:
        named |= set(re.findall(r'from "\./([\w.-]+)"', text_of(name)))
    assert named == FILES.keys() - {INDEX}


def test_every_element_that_a_script_looks_for_is_in_the_page() -> None:
    ids = set(re.findall(r'\sid="([\w-]+)"', text_of(INDEX)))
    wanted = {
        name for file in FILES if file.endswith(".js") for name in re.findall(r'byId\("([\w-]+)"\)', text_of(file))
    }
    assert wanted
    assert wanted <= ids
    assert len(ids) == len(re.findall(r'\sid="', text_of(INDEX)))


def test_a_browser_that_has_the_file_gets_no_body() -> None:
    file = StaticFile(b"text", "text/css", '"abc"')
    first = static_response(file, {})
    assert (first.status, first.body, first.headers["ETag"]) == (200, b"text", '"abc"')
    assert first.headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
    for sent in ('"abc"', 'W/"abc"', '"x", "abc"'):
        again = static_response(file, {"If-None-Match": sent})
        assert (again.status, again.body) == (304, None)
    assert static_response(file, {"If-None-Match": '"other"'}).status == 200


def test_only_files_of_the_page_are_served(tmp_path: Path) -> None:
    (tmp_path / "page.css").write_text("a {}")
    (tmp_path / "notes.txt").write_text("not for browsers")
    assert static_files(tmp_path).keys() == {"page.css"}
