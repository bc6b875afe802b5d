"""Whatever bytes the routes file holds, there is a table or a list of problems, and no message shows a variable."""

from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from tests.unit.routes.test_file import FULL
from tsync_stream.core.errors import ConfigurationError
from tsync_stream.routes.file import table_of
from tsync_stream.settings.routes_file import RoutesFile

SECRET = "s3cret/ {x: [1]}"
FILE = Path("/nowhere/tsync.yaml")

# What YAML, the models, queries and variables react to.
TOKENS = (
    *(
        "{",
        "}",
        "[",
        "]",
        ": ",
        "- ",
        "\n",
        "  ",
        "&a ",
        "*a",
        "!!int ",
        "!x ",
        "|\n",
        ">\n",
        "'",
        '"',
        "\t",
        "\r",
        "#",
    ),
    *("---\n", "...\n", "%YAML 1.1\n", "? ", "<<: ", "~", "null", "0o9", "0x", ".inf", "9" * 30, "2024-01-01", "\x85"),
    *("${SECRET}", "${", "$${", "${NONE}", "\ufeff", "\u2028", "é", "\x00", "_id", "$where", "$date", "$oid", "$and"),
    *('"\\ud800"', '"\\0"', "${BYTES}"),
    *("routes", "lookups", "children", "summary", "schema", "fields", "$unwind", "$group", "$replaceWith", "$$NOW"),
)


@st.composite
def changed_files(draw: st.DrawFn) -> bytes:
    """A good file with a few pieces put in, taken out or repeated."""
    text = FULL.encode()
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, len(text)))
        removed = draw(st.integers(0, 30))
        put_in = draw(st.one_of(st.sampled_from(TOKENS).map(str.encode), st.binary(max_size=4)))
        text = text[:at] + put_in + text[at + removed :]
    return text


FILES = st.one_of(
    changed_files(),
    st.lists(st.sampled_from(TOKENS), max_size=40).map(lambda tokens: "".join(tokens).encode()),
    st.binary(max_size=100),
)


@given(FILES)
@example(
    FULL.replace("name: price", "name: '${SECRET}'").replace("type: float, facet", "type: '${SECRET}', facet").encode()
)
@example(FULL.replace("[title, price,", "['${SECRET}', '${SECRET}',").encode())
@example(b"routes: {a: {source: '${SECRET}', target: b, schema: '${SECRET}', transform: '${SECRET}'}}")
@example(b"[" * 2000)
@example(b"a: !!int x")
def test_a_file_is_a_table_or_a_list_of_problems(content: bytes) -> None:
    problems: list[str] | None = None
    try:
        table = table_of(RoutesFile(FILE, content, (("BYTES", "\udcff"), ("SECRET", SECRET))), "tsync")
    except ConfigurationError as error:
        problems = error.problems
    if problems is None:
        assert table.version
        assert "s3cret" not in repr(table)
    else:
        assert problems
        assert all(problem.startswith("/nowhere/tsync.yaml:") for problem in problems)
        assert "s3cret" not in "\n".join(problems)
