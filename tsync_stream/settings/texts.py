"""The texts of settings, from the process environment, which takes precedence, or from `.env`.

python-decouple reads `.env`: one NAME=value per line, without surrounding blanks, and without one pair of quotes around
a value. It supports neither `export` nor comments after a value. We do, as shells do, because files may be shared with
them. Invariants: `.env` is read from the working directory only. Unused variables are reported, never their values.
"""

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from decouple import RepositoryEnv

from tsync_stream.core.errors import ConfigurationError
from tsync_stream.settings.table import SETTINGS

PREFIXES = ("MONGODB_", "MONGO_", "TYPESENSE_", "PRIMARY_REDIS_", "BACKUP_REDIS_", "TSYNC_")
# How similar a name must be to one of ours for a suggestion: little, if it has one of our prefixes. Most names in
# `.env` are meant for us; most names in the environment are not.
LIKENESS_OF_OURS, LIKENESS_IN_DOTENV, LIKENESS_ELSEWHERE = 0.6, 0.75, 0.9
# Otherwise a byte order mark, which some editors write, would become part of the first name.
ENCODING = "utf-8-sig"

# Kubernetes adds links for services named like ours.
_SERVICE_LINK = re.compile(r"_SERVICE_(HOST|PORT)|_PORT_[0-9]+_(TCP|UDP)")
_LINKED_PORT = "tcp://"
_EXPORT = re.compile(r"export\s+")
_COMMENT = re.compile(r"\s#.*")
_QUOTED = re.compile(r"""(?P<quote>["'])(?P<value>.*?)(?P=quote)\s+#.*""")


def read_texts(directory: Path, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Every variable's text, ours or not: `.env` in `directory`, overlaid by `environ` (os.environ).

    Raises ConfigurationError if there is a `.env` that cannot be read.
    """
    return {**dotenv_texts(directory), **(os.environ if environ is None else environ)}


def dotenv_texts(directory: Path) -> dict[str, str]:
    """What `.env` in `directory` says; nothing if there is none. Raises as `read_texts` does."""
    return _read_dotenv(directory / ".env")


def hidden(before: Mapping[str, str], after: Mapping[str, str], environ: Mapping[str, str] | None = None) -> list[str]:
    """Settings that `.env` says something else of than before, without effect: the environment has them too."""
    given = os.environ if environ is None else environ
    names = (setting.name for setting in SETTINGS)
    return [name for name in names if name in given and before.get(name) != after.get(name)]


def unused(directory: Path, environ: Mapping[str, str] | None = None) -> list[str]:
    """A warning about everything that seems meant for us and is ignored. Raises as `read_texts` does."""
    dotenv = directory / ".env"
    in_dotenv = _read_dotenv(dotenv)
    numbers = [str(number) for number, line in enumerate(_lines(dotenv), 1) if _says_nothing(line)]
    warnings = [f"line {number} of .env is not NAME=value and is ignored" for number in numbers]
    given = os.environ if environ is None else environ
    elsewhere = {name: text for name, text in given.items() if name not in in_dotenv}
    return warnings + unknown_names(in_dotenv, LIKENESS_IN_DOTENV) + unknown_names(elsewhere)


def unknown_names(texts: Mapping[str, str], likeness: float = LIKENESS_ELSEWHERE) -> list[str]:
    """A warning for each variable that looks like a setting but is none."""
    known = [setting.name for setting in SETTINGS]
    warnings = []
    for name in sorted(set(texts).difference(known)):
        ours = name.upper().startswith(PREFIXES)
        likely = difflib.get_close_matches(name.upper(), known, n=1, cutoff=LIKENESS_OF_OURS if ours else likeness)
        linked = _SERVICE_LINK.search(name) or texts[name].startswith(_LINKED_PORT)
        if (ours or likely) and not linked:
            suggestion = f"; did you mean {likely[0]}?" if likely else ""
            warnings.append(f"{name} is not a setting and is ignored{suggestion}")
    return warnings


def _read_dotenv(path: Path) -> dict[str, str]:
    try:
        if not path.is_file():
            return {}
        return _as_shells_read(RepositoryEnv(str(path), encoding=ENCODING).data, _lines(path))
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} cannot be read: it is not a UTF-8 text file") from None


def _as_shells_read(texts: Mapping[str, str], lines: Iterable[str]) -> dict[str, str]:
    """What python-decouple read, without `export` and without comments after values (pure)."""
    given: dict[str, str] = {}
    for line in lines:
        name, _, text = line.partition("=")
        given.pop(name.strip(), None)  # keeps the position of the last one, which counts
        given[name.strip()] = text
    return {_EXPORT.sub("", name, count=1): _value(texts[name], text) for name, text in given.items() if name in texts}


def _value(text: str, given: str) -> str:
    """`given` is the file's text, `text` what python-decouple made of it."""
    if quoted := _QUOTED.fullmatch(given.strip()):
        return quoted["value"]
    return text if text != given.strip() else _COMMENT.sub("", given).strip()  # if they differ, it was quoted


def _says_nothing(line: str) -> bool:
    text = line.strip()
    return bool(text) and not text.startswith("#") and "=" not in text


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding=ENCODING).split("\n") if path.is_file() else []
