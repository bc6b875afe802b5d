"""Reads a YAML 1.2 text into plain values, and remembers where each stands (pure).

Whatever the bytes are, they are read or there is a problem with a place: duplicate keys, tags, merge keys and numbers
that BSON does not have are problems. Aliases are read as what they name, within a bound on the whole: ten of ten of
ten would otherwise be a billion.

Invariant: values of variables appear in `Read.value` alone; `Read.written` has the text of the file.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from tsync_stream.routes.problems import Place, Problem
from tsync_stream.routes.variables import Missing, filled

MAX_NODES = 20_000
MAX_DEPTH = 60
_CORE = "tag:yaml.org,2002:"
_INT64 = range(-(2**63), 2**63)
_RULES = YAML(typ="safe", pure=True)  # of YAML 1.2, to ask about single scalars


class Date(str):
    """A bare date: YAML 1.2 reads it as text, which is rarely meant where values are compared."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Spot:
    """A line and a column, from 1."""

    line: int
    column: int


@dataclass(slots=True)
class Read:
    """What was read: `value` in plain types, and by place where its key and its value stand and how it is written."""

    value: Any = None
    keys: dict[Place, Spot] = field(default_factory=dict)
    values: dict[Place, Spot] = field(default_factory=dict)
    written: dict[Place, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    broken: set[Place] = field(default_factory=set)
    """Places with a problem: what is checked later says nothing more about them."""

    def spot(self, place: Place) -> Spot:
        """Where a value stands; of one that is missing, where the nearest thing around it stands."""
        for length in range(len(place), 0, -1):
            if found := self.values.get(place[:length]):
                return found if length == len(place) else self.keys.get(place[:length], found)
        return Spot(1, 1)

    def key_spot(self, place: Place) -> Spot:
        """Where the key of a value stands; for an item of a list, where its value does."""
        return self.keys.get(place) or self.spot(place)

    def add(self, spot: Spot, place: Place, text: str) -> None:
        """Note a problem of the route that the place is in."""
        route = str(place[1]) if len(place) > 1 and place[0] == "routes" else ""
        self.problems.append(Problem(spot.line, spot.column, route, text))
        self.broken.add(place)


def read_yaml(content: bytes, variables: Mapping[str, str]) -> Read:
    """Read a whole file. If there are problems, `value` may lack what they are about."""
    read = Read()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        spot = Spot(before.count(b"\n") + 1, error.start - (before.rfind(b"\n") + 1) + 1)
        read.add(spot, (), "the file is not UTF-8 text from here on")
        return read
    if node := _compose(text, read):
        read.value = _Building(read, variables, text.splitlines()).value(node, (), 0)
    if read.value is None and not read.problems:
        read.add(Spot(1, 1), (), "the file is empty: it needs `routes:` with at least one route")
    return read


def _compose(text: str, read: Read) -> Node | None:
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("%"):
            read.add(Spot(number, 1), (), "the file is read as YAML 1.2: leave lines that begin with % out")
            return None
        if line.strip() and not line.startswith("#"):
            break
    try:
        node: Node | None = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        spot = Spot(mark.line + 1, mark.column + 1) if mark else Spot(1, 1)
        read.add(spot, (), f"this is not YAML: {error.problem or error.context}{_hint(text, spot)}")
    except RecursionError:
        read.add(Spot(1, 1), (), f"the file is nested deeper than {MAX_DEPTH} levels")
    except (YAMLError, ValueError, TypeError, LookupError, AttributeError, AssertionError) as error:
        # The parser's own mistakes over odd texts included. Its messages would repeat the text.
        read.add(Spot(1, 1), (), f"this is not YAML ({type(error).__name__})")
    else:
        return node
    return None


def _hint(text: str, spot: Spot) -> str:
    lines = text.splitlines()
    if spot.line <= len(lines) and "${" in lines[spot.line - 1]:
        return '; inside { } and [ ], write a variable in quotes: "${NAME}"'
    return ""


class _Building:
    """Makes plain values of nodes. Nodes are counted, so that aliases cannot multiply without end."""

    def __init__(self, read: Read, variables: Mapping[str, str], lines: list[str]) -> None:
        self._read = read
        self._variables = variables
        self._lines = lines
        self._nodes = 0

    def value(self, node: Node, place: Place, depth: int) -> Any:
        self._nodes += 1
        spot = _spot(node)
        self._read.values[place] = spot
        if depth > MAX_DEPTH or self._nodes > MAX_NODES:
            if self._nodes <= MAX_NODES + 1:
                bound = f"{MAX_DEPTH} levels" if depth > MAX_DEPTH else f"{MAX_NODES} values, aliases counted each time"
                self._read.add(spot, place, f"this is more than a routes file may hold: {bound}")
            self._nodes = MAX_NODES + 1  # one such problem is enough
            return None
        if isinstance(node, MappingNode) and node.tag == f"{_CORE}map":
            return dict(self._pairs(node, place, depth))
        if isinstance(node, SequenceNode) and node.tag == f"{_CORE}seq":
            return [self.value(each, (*place, at), depth + 1) for at, each in enumerate(node.value)]
        if isinstance(node, ScalarNode):
            return self._scalar(node, place, spot)
        self._read.add(spot, place, "tags (!name) are not read: leave it out")
        return None

    def _pairs(self, node: MappingNode, place: Place, depth: int) -> Iterator[tuple[str, Any]]:
        seen: dict[str, Spot] = {}
        for key, child in node.value:
            spot = _spot(key)
            if not isinstance(key, ScalarNode):
                self._read.add(spot, place, "a key must be a text")
                continue
            name = str(key.value)
            if not _is_unicode(name) or "\x00" in name:
                self._read.add(spot, place, "a key must be a text in Unicode, without the character 0")
            elif name in seen:
                self._read.add(spot, (*place, name), f"`{name}` is here twice: before, in line {seen[name].line}")
            elif name == "<<" and key.style is None:
                self._read.add(spot, (*place, name), "YAML 1.2 has no merge keys (`<<`): write the keys out")
            else:
                seen[name] = self._read.keys[(*place, name)] = spot
                yield name, self.value(child, (*place, name), depth + 1)

    def _scalar(self, node: ScalarNode, place: Place, spot: Spot) -> Any:
        written = str(node.value)
        if not written and node.style is None:  # nothing stands there, and the node begins somewhere behind
            self._read.values[place] = self._read.keys.get(place, spot)
        self._read.written[place] = written
        try:
            text = filled(written, self._variables)
        except Missing as missing:
            if not (missing.unset and is_secret(place)):
                self._read.add(self._within(node, missing.written), place, missing.reason)
            return written
        if not _is_unicode(text):
            self._read.add(spot, place, "this is not a text in Unicode")
            return None
        if is_secret(place):
            return text
        plain = node.style is None
        # A variable that stands alone without quotes is read as if its value stood there.
        tag = str(node.tag) if text == written or not plain else _tag_of(text)
        try:
            return _plain_value(text, tag)
        except ValueError as error:
            self._read.add(spot, place, str(error))
            return None

    def _within(self, node: ScalarNode, part: str) -> Spot:
        """Where a part of a scalar's text stands; where the scalar begins if it cannot be found."""
        begin, end = node.start_mark, node.end_mark
        for number in range(begin.line, min(end.line + 1, len(self._lines))):
            column = self._lines[number].find(part, begin.column if number == begin.line else 0)
            if column >= 0:
                return Spot(number + 1, column + 1)
        return _spot(node)


def is_secret(place: Place) -> bool:
    """Whether the value there is a secret: always a text, and missed by those alone who use it."""
    return len(place) == 3 and place[0] == "search_keys" and place[2] == "value"


def _spot(node: Node) -> Spot:
    return Spot(node.start_mark.line + 1, node.start_mark.column + 1)


def _is_unicode(text: str) -> bool:
    """Whether it has no lone surrogates, which escapes and variables may bring, and BSON does not have."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _tag_of(text: str) -> str:
    """The tag that YAML 1.2 gives a text without quotes."""
    return str(_RULES.resolver.resolve(ScalarNode, text, (True, False)))


def _plain_value(text: str, tag: str) -> Any:
    kind = tag.removeprefix(_CORE)
    if kind in {"str", "merge", "value"}:
        return text
    if kind == "null":
        return None
    if kind == "bool" and text.lower() in {"true", "false"}:
        return text.lower() == "true"
    if kind == "timestamp":
        return Date(text)
    if kind in {"int", "float"}:
        return _number(text, kind)
    raise ValueError(
        "tags (!name) are not read: leave it out, and write a text that looks like something else in quotes"
    )


def _number(text: str, kind: str) -> int | float:
    constructor = _RULES.constructor
    construct = constructor.construct_yaml_int if kind == "int" else constructor.construct_yaml_float
    try:
        number: int | float = construct(ScalarNode(f"{_CORE}{kind}", text))
    except (ValueError, OverflowError, LookupError):
        raise ValueError("this is not a number that can be read: write a text in quotes") from None
    if isinstance(number, int) and number not in _INT64:
        raise ValueError("a whole number must fit into 64 bits: write a text in quotes")
    return number
