"""The forms a setting can have: how its text is read, how its value is shown, and what a person is told.

Invariants: `parse` needs nothing but the text, and for every form that is no secret `parse(show(value))` is
the value again.
Reasons name no value, so a form that holds a secret cannot give it away.
What depends on the machine (does a file exist?) is asked by `inspect`, after all texts have been read.
"""

import ipaddress
import json
import os
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Generic, TypeVar

from pymongo.errors import PyMongoError
from pymongo.uri_parser import parse_uri

from tsync_stream.settings.field_types import field_problems

T = TypeVar("T")
N = TypeVar("N", int, float)

HIDDEN = "***"


def _nothing_to_inspect(_value: object) -> None:
    """Most values are right or wrong whatever the machine looks like."""


@dataclass(frozen=True, slots=True)
class Form(Generic[T]):
    """One form. `parse` and `inspect` raise ValueError, whose text, if any, is a reason without the value."""

    needs: str
    """Completes the sentence "it needs …"."""
    parse: Callable[[str], T]
    show: Callable[[T], str] = str
    example: str = ""
    """Shown when a value does not fit; where empty, the setting's default serves."""
    inspect: Callable[[T], None] = _nothing_to_inspect
    secret: bool = False
    """The text as given is never printed; `show` gives a form that may be."""


def pattern(needs: str, expression: str, *, secret: bool = False) -> Form[str]:
    """Text that matches the whole `expression`, taken exactly as it stands: nothing is stripped."""
    matcher = re.compile(expression)

    def parse(text: str) -> str:
        if matcher.fullmatch(text) is None:
            raise ValueError
        return text

    return Form(needs, parse, _hide if secret else str, secret=secret)


def _hide(value: str) -> str:
    return HIDDEN if value else ""


API_KEY = pattern("printable ASCII characters without spaces", r"[!-~]+", secret=True)
PASSWORD = pattern("text on one line, or nothing", r"[^\x00-\x1f\x7f]*", secret=True)
TYPESENSE_COLLECTION = pattern("a collection or alias name without spaces or slashes", r"[^\s/\x00-\x1f]+")
ROUTE_NAME = pattern("1 to 100 letters, digits, `_`, `-` or `.`, or nothing", r"[A-Za-z0-9_.-]{0,100}")
# Each partition's keys share a hash tag of their own, so the prefix must not open or close one.
QUEUE_KEY = pattern("1 to 200 characters without spaces or braces", r"[^\s{}\x00-\x1f]{1,200}")
FILE_NAME = pattern(
    "a plain file name (letters, digits, . _ -), without a folder", r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,199}"
)


def choice(*options: str) -> Form[str]:
    """One of `options`, in any case; the value is spelled as in `options`."""

    def parse(text: str) -> str:
        for option in options:
            if text.strip().lower() == option.lower():
                return option
        raise ValueError

    return Form("one of " + ", ".join(options), parse)


_TRUTH = dict.fromkeys(("true", "t", "yes", "y", "on", "1"), True)
_TRUTH |= dict.fromkeys(("false", "f", "no", "n", "off", "0"), False)


def _parse_boolean(text: str) -> bool:
    value = _TRUTH.get(text.strip().lower())
    if value is None:
        raise ValueError
    return value


BOOLEAN: Form[bool] = Form(
    "true or false (also yes/no, on/off, 1/0)", _parse_boolean, lambda value: "true" if value else "false"
)


def _between(low: N, high: N, needs: str, parse: Callable[[str], N], show: Callable[[N], str] = str) -> Form[N]:
    def parse_within(text: str) -> N:
        value = parse(text)
        if not low <= value <= high:
            raise ValueError
        return value

    return Form(needs, parse_within, show)


def whole_number(smallest: int, largest: int, *, of: str = "") -> Form[int]:
    """A whole number from `smallest` to `largest`; `of` is the unit that messages and tables name."""
    unit = f" of {of}" if of else ""
    return _between(smallest, largest, f"a whole number{unit} from {smallest} to {largest}", _parse_whole)


def _parse_whole(text: str) -> int:
    if re.fullmatch(r"[0-9]{1,18}", text.strip()) is None:
        raise ValueError
    return int(text)


def _parse_port(text: str) -> int:
    if text.startswith("tcp://"):
        # For a service called "typesense", Kubernetes gives every pod TYPESENSE_PORT=tcp://… unasked.
        raise ValueError("a Kubernetes service link; set enableServiceLinks: false, or this variable")
    return _parse_whole(text)


PORT = _between(1, 65535, "a port from 1 to 65535", _parse_port)


def _parse_share(text: str) -> float:
    if re.fullmatch(r"0(\.[0-9]{1,15})?|1(\.0{1,15})?", text.strip()) is None:
        raise ValueError
    return float(text)


SHARE: Form[float] = Form("a share from 0 to 1", _parse_share, lambda value: f"{Decimal(repr(value)):f}")


# ---- quantities with a unit: durations and sizes ----

_MILLISECONDS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}
_BYTES = {"b": 1, "kb": 1024, "mb": 1024**2, "gb": 1024**3}


def parse_duration(text: str) -> float:
    """Seconds of a duration such as `100ms`, `5s`, `1.5m`, `1h`; a bare number means seconds.

    Raises ValueError for anything else, negative durations and sums such as `1h30m` included.
    """
    match = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)(ms|s|m|h)?", text.strip())
    if match is None:
        raise ValueError
    # Decimal, because 0.001 has no exact float: `7ms` must be the float nearest to 0.007.
    return float(Decimal(match[1]) * _MILLISECONDS[match[2] or "s"] / 1000)


def show_duration(seconds: float) -> str:
    """The shortest text that `parse_duration` reads back as exactly these seconds: the largest whole unit."""
    milliseconds = Decimal(repr(seconds)) * 1000
    for unit, size in reversed(_MILLISECONDS.items()):
        if milliseconds % size == 0:
            return f"{milliseconds // size:f}{unit}"
    return f"{Decimal(repr(seconds)):f}s"


def duration(shortest: str, longest: str) -> Form[float]:
    """A duration between two durations, both included; the value is in seconds."""
    low, high = parse_duration(shortest), parse_duration(longest)
    return _between(low, high, f"a duration from {shortest} to {longest}", parse_duration, show_duration)


def parse_size(text: str) -> int:
    """Bytes of a size such as `512KB`, `8MB`, `1GB` (1 KB is 1024 bytes); a bare number means bytes.

    Raises ValueError for anything else.
    """
    match = re.fullmatch(r"([0-9]{1,15})(b|kb|mb|gb)?", text.strip().lower())
    if match is None:
        raise ValueError
    return int(match[1]) * _BYTES[match[2] or "b"]


def show_size(size: int) -> str:
    """The text that `parse_size` reads back as this number of bytes, in the largest whole unit."""
    unit = next(unit for unit, factor in reversed(_BYTES.items()) if size % factor == 0 or unit == "b")
    return f"{size // _BYTES[unit]}{unit.upper()}"


def size_in_bytes(smallest: str, largest: str) -> Form[int]:
    """A size between two sizes, both included; the value is in bytes."""
    low, high = parse_size(smallest), parse_size(largest)
    return _between(low, high, f"a size from {smallest} to {largest}", parse_size, show_size)


# ---- names of servers, databases, collections ----


def _parse_host(text: str) -> str:
    host = text.strip()
    if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}", host):
        return host
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        return str(ipaddress.IPv6Address(bare))
    except ValueError:
        # The address parser's own message would only repeat the value.
        raise ValueError from None


HOST: Form[str] = Form("one host name or IP address, without protocol or port", _parse_host)
HOSTS: Form[tuple[str, ...]] = Form(
    "host names or IP addresses, separated by commas, without protocol or port",
    lambda text: tuple(_parse_host(host) for host in text.split(",")),
    ",".join,
    example="search-1,search-2,search-3",
)


def _parse_database(text: str) -> str:
    if re.fullmatch(r'[^/\\. "$\x00-\x1f]+', text) is None or len(text.encode()) > 63:
        raise ValueError
    if text in {"admin", "config", "local"}:
        raise ValueError("MongoDB keeps this one for itself, and it has no change streams")
    return text


def _parse_collection(text: str) -> str:
    if re.fullmatch(r"[^.$\x00-\x1f\s]+(\.[^.$\x00-\x1f\s]+)*", text) is None:
        raise ValueError
    if text.startswith("system."):
        raise ValueError("MongoDB keeps system collections for itself")
    return text


MONGODB_DATABASE: Form[str] = Form(
    'a database name: up to 63 bytes, without spaces or any of / \\ . " $', _parse_database
)
MONGODB_COLLECTION: Form[str] = Form(
    "a collection name: without spaces or $, no dot at an end or beside another", _parse_collection
)


def parse_mongodb_uri(text: str) -> str:
    """The URI, when its form is right. No name is resolved, that of a `mongodb+srv://` URI neither.

    Raises ValueError. pymongo's own messages can repeat parts of a password, so none of them is passed on.
    """
    scheme, separator, rest = text.partition("://")
    if not separator or scheme not in {"mongodb", "mongodb+srv"}:
        raise ValueError("it does not begin with mongodb:// or mongodb+srv://")
    if re.search(r"\s", text):
        raise ValueError("it has a space or a line break in it")
    try:
        with warnings.catch_warnings():
            # An option that the driver does not know is no fault to it either; it warns when it connects.
            warnings.simplefilter("ignore")
            nodes = parse_uri(f"mongodb://{_without_srv_options(scheme, rest)}", None, warn=True)["nodelist"]
    except OSError:
        raise ValueError("a file that its TLS options name cannot be read") from None
    except (PyMongoError, ValueError):
        raise ValueError(
            "the driver cannot read it; in a user name or password, : / ? # [ ] @ and % are percent-encoded"
        ) from None
    if scheme == "mongodb+srv" and (len(nodes) != 1 or nodes[0][1] is not None):
        raise ValueError("mongodb+srv:// takes one host name and no port")
    return text


def _without_srv_options(scheme: str, rest: str) -> str:
    """A srv URI as an ordinary one, which the driver reads without asking DNS."""
    if scheme == "mongodb":
        return rest
    place, _, options = rest.partition("?")
    kept = [option for option in options.split("&") if option and not option.lower().startswith("srv")]
    return f"{place}?{'&'.join(kept)}" if kept else place


def redacted_uri(uri: str) -> str:
    """The URI without user, password and options: any of them can be a secret."""
    scheme, _, rest = uri.partition("://")
    place, question_mark, _ = rest.partition("?")
    _, at, hosts = place.rpartition("@")
    return f"{scheme}://{HIDDEN + at if at else ''}{hosts}{question_mark + HIDDEN if question_mark else ''}"


MONGODB_URI: Form[str] = Form(
    "a connection string that begins with mongodb:// or mongodb+srv://",
    parse_mongodb_uri,
    redacted_uri,
    secret=True,
)


# ---- paths: relative ones are completed with the working directory before they are inspected ----


def _parse_path(text: str) -> Path:
    if not text.strip() or "\x00" in text:
        raise ValueError
    return Path(text.strip())


def _parse_optional_path(text: str) -> Path | None:
    return _parse_path(text) if text.strip() else None


def _show_optional_path(path: Path | None) -> str:
    return "" if path is None else str(path)


def _inspect_schema(path: Path | None) -> None:
    if path is None:
        return
    try:
        schema = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError("there is no such file") from None
    except OSError as error:
        raise ValueError(f"the file cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise ValueError("the file is not JSON") from None
    has_fields = isinstance(schema, dict) and isinstance(schema.get("fields"), list)
    if not has_fields:
        raise ValueError('the file is not a collection schema: an object with a list of "fields"')
    if problem := next(field_problems(schema["fields"]), None):
        raise ValueError(problem)


def _inspect_executable(path: Path | None) -> None:
    if path is not None and not (os.access(path, os.X_OK) and path.is_file()):
        raise ValueError("there is no such file, or it may not be executed")


DIRECTORY: Form[Path] = Form("a path of a folder", _parse_path)
SCHEMA_FILE: Form[Path | None] = Form(
    "a path of a readable JSON file, or nothing",
    _parse_optional_path,
    _show_optional_path,
    "typesense-schema.json",
    _inspect_schema,
)
EXECUTABLE: Form[Path | None] = Form(
    "a path of an executable file, or nothing",
    _parse_optional_path,
    _show_optional_path,
    "/usr/local/bin/server",
    _inspect_executable,
)
