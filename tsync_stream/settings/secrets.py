"""Secrets that come from files: a setting `NAME` may be given as `NAME_FILE`, the path of a file that holds it.

Invariants: a secret is given once, as a variable or as a file. Nothing here puts its text into a message or a `repr`.
A `Secret` holds a valid text at any time: a file that becomes unreadable or unusable changes nothing.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tsync_stream.core.file_watch import stamp_of
from tsync_stream.settings.setting import Setting
from tsync_stream.settings.table import SETTINGS

SUFFIX = "_FILE"
MAX_BYTES = 64 * 1024

SECRETS: tuple[Setting, ...] = tuple(setting for setting in SETTINGS if setting.form.secret)
"""The settings that are secret; each has a second row, with the suffix."""


def without_files(environment: Mapping[str, str]) -> dict[str, str]:
    """`environment`, in which no secret that it names is taken from a file besides."""
    return {**{f"{setting.name}{SUFFIX}": "" for setting in SECRETS if setting.name in environment}, **environment}


def without_empty(texts: Mapping[str, str]) -> dict[str, str]:
    """`texts` without empty secrets that a file gives: a template may leave such a variable in place."""
    from_files = {setting.name for setting in SECRETS if texts.get(f"{setting.name}{SUFFIX}", "").strip()}
    return {name: text for name, text in texts.items() if text or name not in from_files}


def given_twice(texts: Mapping[str, str]) -> list[str]:
    """A problem for each secret that is given both ways."""
    return [
        f"{setting.name} and {setting.name}{SUFFIX} are both set: leave one of them out"
        for setting in SECRETS
        if texts.get(setting.name) and texts.get(f"{setting.name}{SUFFIX}", "").strip()
    ]


def read_secret(path: Path, setting: Setting) -> str:
    """The secret in a file, without line breaks at its end. Raises ValueError with a reason, as `Form.inspect` does."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        text = content.decode().rstrip("\r\n")
    except FileNotFoundError:
        raise ValueError("there is no such file") from None
    except UnicodeDecodeError:
        raise ValueError("the file is not a UTF-8 text file") from None
    except OSError as error:
        raise ValueError(f"the file cannot be read: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise ValueError(f"the file is larger than {MAX_BYTES // 1024} KB")
    if not text:
        raise ValueError("the file is empty")
    try:
        setting.form.parse(text)
        setting.form.inspect(text)
    except ValueError as error:
        reason = f" ({error})" if str(error) else ""
        raise ValueError(f"what it holds is not valid{reason}: {setting.name} needs {setting.form.needs}") from None
    return text


class Secret:
    """A secret of a running process. `value` is the one to use, `before` the one that it replaced, or None.

    `problem` says why the file holds none that can be used, since it last changed.
    """

    def __init__(self, name: str, value: str, path: Path | None = None) -> None:
        self.name = name
        self.path = path
        self.value = value
        self.before: str | None = None
        self.problem = ""
        self._setting = next((setting for setting in SECRETS if setting.name == name), None)
        self._seen = stamp_of(path)

    def __repr__(self) -> str:
        return f"Secret({self.origin})"

    @property
    def origin(self) -> str:
        """The setting that it comes from."""
        return self.name if self.path is None else f"{self.name}{SUFFIX}"

    @property
    def candidates(self) -> Sequence[str]:
        """What a server may accept: the current secret, and the one before, since either side may change first."""
        return [self.value] if self.before is None else [self.value, self.before]

    def look(self) -> bool:
        """Read the file again if it changed; True if it holds another secret now. `problem` says why it holds none."""
        stamp = stamp_of(self.path)
        if self.path is None or self._setting is None or stamp == self._seen:
            return False
        self._seen = stamp
        try:
            value, self.problem = read_secret(self.path, self._setting), ""
        except ValueError as error:
            self.problem = str(error)
            return False
        return self.offer(value)

    def offer(self, value: str) -> bool:
        """Use another text from now on; False if it is the same."""
        if value == self.value:
            return False
        self.before, self.value = self.value, value
        return True
