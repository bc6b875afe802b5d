"""The command line: `faust -A tsync_stream …`."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tsync_stream.app import TsyncApp


def add_commands(app: "TsyncApp") -> None:
    """Add our commands to Faust's."""
