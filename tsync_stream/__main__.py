"""The command `tsync`, also `tsync-stream` and `python -m tsync_stream`.

Invariant: of the environment, only our own settings and FAUST_LOOP have an effect. Faust's command line, which `worker`
loads, reads variables that begin with FAUST_ or F_ when it is imported, and fails if it cannot use a value; so they are
removed first.
"""

import os

from tsync_stream.cli.console_script import NAME, console_script
from tsync_stream.core.terminal import write_anywhere

OURS = "FAUST_LOOP"


def main() -> None:
    """Run one command. Ends the process."""
    for name in [name for name in os.environ if name.startswith(("FAUST_", "F_")) and name != OURS]:
        del os.environ[name]
    write_anywhere()
    console_script()(prog_name=NAME)


if __name__ == "__main__":
    main()
