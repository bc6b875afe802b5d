"""The forms that a setting's text can have: how it is parsed, how its value is shown, and what an error says.

Invariants: `parse` depends on the text alone, and `parse(show(value))` is the value again, unless the form is secret.
Reasons contain no value, so they cannot give a secret away. `inspect` checks what depends on the machine, such as
whether a file exists, after all texts have been parsed.
"""

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Generic, TypeVar

from tsync_stream.settings.field_types import field_problems
from tsync_stream.settings.tls import inspect_authorities

T = TypeVar("T")
N = TypeVar("N", int, float)

HIDDEN = "***"


def _nothing_to_inspect(_value: object) -> None:
    """Most values are valid or not on any machine."""


@dataclass(frozen=True, slots=True)
class Form(Generic[T]):
    """One form. `parse` and `inspect` raise ValueError with a reason that leaves the value out, or without one."""

    needs: str
    """Completes the sentence "it needs …"."""
    parse: Callable[[str], T]
    show: Callable[[T], str] = str
    example: str = ""
    """Shown when a value is not valid; if empty, the setting's default is shown instead."""
    inspect: Callable[[T], None] = _nothing_to_inspect
    secret: bool = False
    """The text is never printed; what `show` returns may be."""


def pattern(needs: str, expression: str, *, secret: bool = False) -> Form[str]:
    """Text that matches the whole `expression`; it is used as it is, not stripped."""
    matcher = re.compile(expression)

    def parse(text: str) -> str:
        if matcher.fullmatch(text) is None:
            raise ValueError
        return text

    return Form(needs, parse, _hide if secret else str, secret=secret)


def _hide(value: str) -> str:
    return HIDDEN if value else ""


OTLP_URL = replace(
    pattern("a URL with http or https, without a user or query, or nothing", r"(https?://[^\s/@?#]+(/[^\s@?#]*)?)?"),
    example="http://collector:4318",
)
API_KEY = pattern("printable ASCII characters without spaces", r"[!-~]+", secret=True)
API_TOKEN = pattern("16 to 500 printable ASCII characters without spaces, or nothing", r"([!-~]{16,500})?", secret=True)
PASSWORD = pattern("text on one line, or nothing", r"[^\x00-\x1f\x7f]*", secret=True)
USERNAME = pattern("text without spaces, or nothing", r"[^\s\x00-\x1f\x7f]*")
ROUTE_NAME = pattern("1 to 100 letters, digits, `_`, `-` or `.`, or nothing", r"[A-Za-z0-9_.-]{0,100}")
FILE_NAME = pattern(
    "a plain file name (letters, digits, . _ -), without a folder", r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,199}"
)


def choice(*options: str) -> Form[str]:
    """One of `options`, in upper or lower case; the value is spelled as in `options`."""

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
        # Unasked, Kubernetes sets TYPESENSE_PORT=tcp://… in every pod if there is a service called "typesense".
        raise ValueError(
            "it is a Kubernetes service link; set enableServiceLinks: false, or set this variable yourself"
        )
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
    # Decimal: `7ms` must become the float nearest to 0.007, and 0.001 has no exact float.
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
    """The text that `parse_size` reads back as these bytes, in the largest whole unit."""
    unit = next(unit for unit, factor in reversed(_BYTES.items()) if size % factor == 0 or unit == "b")
    return f"{size // _BYTES[unit]}{unit.upper()}"


def size_in_bytes(smallest: str, largest: str) -> Form[int]:
    """A size between two sizes, both included; the value is in bytes."""
    low, high = parse_size(smallest), parse_size(largest)
    return _between(low, high, f"a size from {smallest} to {largest}", parse_size, show_size)


# ---- paths: a relative path is completed with the working directory before it is inspected ----


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
        raise ValueError("there is no such file, or it is not executable")


def parse_age(text: str) -> float:
    """Seconds of an age such as `90s`, `15m`, `1h` or `7d`. Raises ValueError for anything else."""
    text = text.strip()
    return 24 * parse_duration(f"{text[:-1]}h") if text.endswith("d") else parse_duration(text)


def _parse_optional_age(text: str) -> float | None:
    if not text.strip():
        return None
    if not (age_s := parse_age(text)):
        raise ValueError
    return age_s


OPTIONAL_AGE: Form[float | None] = Form(
    "an age such as 12h or 30d, or nothing",
    _parse_optional_age,
    lambda age_s: "" if age_s is None else show_duration(age_s),
    "30d",
)


def _parse_cron(text: str) -> str:
    text = " ".join(text.split())
    if text:
        from cronsim import CronSim, CronSimError  # only where there is a schedule

        try:
            next(CronSim(text, datetime(2000, 1, 1, tzinfo=UTC)))
        except CronSimError as error:
            raise ValueError(str(error)) from None
        except StopIteration:
            raise ValueError("no time ever matches") from None
    return text


CRON: Form[str] = Form("a cron expression of five fields, in UTC, or nothing", _parse_cron, example="0 3 * * *")
SERVER_PATH = replace(
    pattern("an absolute path on a server, or nothing", r"(/[^\x00-\x1f\x7f]*)?"), example="/backups/typesense"
)
OPTIONAL_DIRECTORY: Form[Path | None] = Form(
    "the path of a folder, or nothing", _parse_optional_path, _show_optional_path, "/var/backups/tsync"
)
DIRECTORY: Form[Path] = Form("the path of a folder", _parse_path)
SCHEMA_FILE: Form[Path | None] = Form(
    "the path of a readable JSON file, or nothing",
    _parse_optional_path,
    _show_optional_path,
    "typesense-schema.json",
    _inspect_schema,
)
# What the file holds is for `routes/` to check: settings know nothing of routes.
ROUTES_FILE: Form[Path | None] = Form(
    "the path of a readable YAML file, or nothing", _parse_optional_path, _show_optional_path, "tsync.yaml"
)
EXECUTABLE: Form[Path | None] = Form(
    "the path of an executable file, or nothing",
    _parse_optional_path,
    _show_optional_path,
    "/usr/local/bin/server",
    _inspect_executable,
)
# What it holds is checked together with the secret's own setting.
SECRET_FILE: Form[Path | None] = Form(
    "the path of a readable file, or nothing", _parse_optional_path, _show_optional_path, "/run/secrets/tsync"
)
PEM_FILE: Form[Path | None] = Form(
    "the path of a readable PEM file, or nothing", _parse_optional_path, _show_optional_path, "/etc/tsync/client.pem"
)
CA_FILE: Form[Path | None] = Form(
    "the path of a readable PEM file, or nothing",
    _parse_optional_path,
    _show_optional_path,
    "/etc/tsync/ca.pem",
    inspect_authorities,
)
