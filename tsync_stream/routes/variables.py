"""`${NAME}` in the routes file: a variable of the environment or of `.env`. `$${` is a `${` that stands for itself.

Variables are filled into values, after YAML has been read: whatever a variable holds, it cannot add a key or a route.
Invariant: no message contains the value of a variable.
"""

import re
from collections.abc import Mapping

from tsync_stream.settings.routes_file import VARIABLE

_PART = re.compile(r"\$\$\{|\$\{[^}]*\}?")


class Missing(ValueError):
    """A variable that cannot be filled in. `written` is how the file names it, `reason` is for a person.

    `unset`: its name is valid, and it has no value.
    """

    def __init__(self, written: str, reason: str, *, unset: bool = False) -> None:
        super().__init__(reason)
        self.written = written
        self.reason = reason
        self.unset = unset


def filled(text: str, variables: Mapping[str, str]) -> str:
    """The text with every variable's value in its place (pure). Raises `Missing`."""
    if "${" not in text:
        return text

    def value(found: re.Match[str]) -> str:
        part = found[0]
        if part == "$${":
            return "${"
        name = VARIABLE.fullmatch(part)
        if name is None:
            raise Missing(
                part, f"`{part[:40]}` is not valid: it needs the name of a variable, for example `${{STAGE}}`"
            )
        if name[1] not in variables:
            reason = f"the variable {name[1]} is not set: set it in the environment or in .env"
            raise Missing(part, reason, unset=True)
        return variables[name[1]]

    return _PART.sub(value, text)
