"""What the documents name is there: files, folders, tests, and the places that their links lead to."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "tsync_stream"
FOLDERS = (".", "docs", "deploy", "examples", "examples/*")
DOCUMENTS = sorted(path.relative_to(ROOT).as_posix() for folder in FOLDERS for path in ROOT.glob(f"{folder}/*.md"))

# Made by a command, or by whoever follows the text.
MADE = {
    "build/bench/",
    "build/bench/results.md",
    "results.json",
    "results.md",
    ".tsync/",
    "redis.conf",
    "prices.py",
    "docker-compose.override.yml",
}

_CODE = re.compile(r"`([^`\n]+)`")
_FILE = re.compile(r"[\w./*-]+\.(?:py|md|yml|conf|js|toml|lock|dev|prod|svg)|[\w.-][\w./-]*/|Makefile|Dockerfile")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_DEFINITION = re.compile(r"`([\w/]+\.py)::([\w.]+)`")
_DEFINES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_SHELL = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
_ARGUMENT = re.compile(r"(?<![\w/~.-])(?:tests|docs|deploy|bench|tsync_stream)/[\w./-]*")


def text_of(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def named_files(document: str) -> Iterator[str]:
    """Whatever in code marks looks like a file or folder of this project."""
    for code in _CODE.findall(text_of(document)):
        name = code.partition("::")[0]
        if _FILE.fullmatch(name) and not name.startswith("/"):
            yield name


def exists(document: str, name: str) -> bool:
    """Whether a name leads to something: from the root, from the package, or from the document."""
    places = (ROOT, PACKAGE, (ROOT / document).parent)
    return any(any(place.glob(name)) if "*" in name else (place / name).exists() for place in places)


def anchor(heading: str) -> str:
    """The name under which a heading can be linked to, as GitHub makes it."""
    plain = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")


def leads_somewhere(document: str, link: str) -> bool:
    """Whether a relative link names a file or folder that exists, and a heading in it if it names one."""
    path, _, heading = link.partition("#")
    target = (ROOT / document).parent / path if path else ROOT / document
    if not target.exists():
        return False
    return not heading or heading in map(anchor, _HEADING.findall(target.read_text(encoding="utf-8")))


def defines(path: str, name: str) -> bool:
    """Whether a file, named from the root or from the package, defines a function, a class, or a `Class.method`."""
    file = ROOT / path if (ROOT / path).exists() else PACKAGE / path
    body: list[ast.stmt] = ast.parse(file.read_text(encoding="utf-8")).body
    for part in name.split("."):
        found = [node for node in body if isinstance(node, _DEFINES) and node.name == part]
        if not found:
            return False
        body = found[0].body
    return True


def test_the_documents_are_found() -> None:
    assert {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/architecture.md", "deploy/README.md"} <= set(
        DOCUMENTS
    )


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_file_that_a_document_names_exists(document: str) -> None:
    missing = {name for name in named_files(document) if name not in MADE and not exists(document, name)}

    assert missing == set()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_leads_somewhere(document: str) -> None:
    links = [link for link in _LINK.findall(text_of(document)) if "://" not in link]

    assert [link for link in links if not leads_somewhere(document, link)] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_function_class_and_test_that_a_document_names_exists(document: str) -> None:
    named = _DEFINITION.findall(text_of(document))

    assert [(path, name) for path, name in named if not defines(path, name)] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_file_that_a_command_names_exists(document: str) -> None:
    arguments = [name for block in _SHELL.findall(text_of(document)) for name in _ARGUMENT.findall(block)]

    assert [name for name in arguments if not (ROOT / name).exists()] == []


def comments_and_docstrings(path: Path) -> Iterator[str]:
    """What a Python file says to its readers."""
    source = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (*_DEFINES, ast.Module)) and (text := ast.get_docstring(node)) is not None:
            yield text
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string


def test_every_file_that_the_code_speaks_of_exists() -> None:
    files = [
        path
        for folder in ("tsync_stream", "tests", "bench", "examples", "deploy")
        for path in (ROOT / folder).rglob("*.py")
    ]
    names = {f"/{path.relative_to(ROOT).as_posix()}" for path in files}
    missing = {
        (path.relative_to(ROOT).as_posix(), name)
        for path in files
        for text in comments_and_docstrings(path)
        for name in re.findall(r"[\w/]+\.py\b", text)
        if not any(known.endswith(f"/{name}") for known in names)
    }

    assert missing == set()


def test_each_image_of_the_documents_is_there_and_shown() -> None:
    shown = {name for document in DOCUMENTS for name in re.findall(r"images/([\w.-]+)", text_of(document))}
    assert shown == {path.name for path in (ROOT / "docs" / "images").iterdir()}
