"""The command `tsync-stream`, also `python -m tsync_stream`: what `faust -A tsync_stream` does, under our own name.

Invariant: of the environment, only our own settings and FAUST_LOOP have an effect. Faust's command line reads variables
that begin with FAUST_ or F_ when it is imported, and fails if it cannot use a value; so they are removed first.
"""

import os
import sys

from tsync_stream.core import __version__

OURS = "FAUST_LOOP"


def main() -> None:
    """Run one command. Ends the process."""
    for name in [name for name in os.environ if name.startswith(("FAUST_", "F_")) and name != OURS]:
        del os.environ[name]
    # In place: Faust looks for the app in this list itself.
    sys.argv[1:1] = ["-A", "tsync_stream"]
    from click import version_option
    from faust.cli.faust import cli

    cli.params = [option for option in cli.params if option.name != "version"]
    version_option(__version__, prog_name="tsync-stream")(cli)
    cli.help = "Keeps Typesense equal to MongoDB. `worker` runs a replica; `check` tells whether all is in place."
    cli(prog_name="tsync-stream")


if __name__ == "__main__":
    main()
