"""The worker's process: a SIGHUP from a person is told apart from that of a terminal which is closed."""

import os
import signal
import subprocess
import sys

PROGRAM = """
import fcntl, signal, termios
from tsync_stream.cli.process import terminal_of_this_process

def tell(*_):
    print(terminal_of_this_process(), flush=True)

tell()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGHUP, tell)
tell()
while True:
    signal.pause()
"""


def test_a_process_notices_that_its_terminal_is_closed() -> None:
    terminal, end = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=end, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        os.close(end)
        assert process.stdout is not None
        assert process.stdout.readline() == "False\n", "a session of its own has none"
        assert process.stdout.readline() == "True\n"
        process.send_signal(signal.SIGHUP)
        assert process.stdout.readline() == "True\n", "somebody asks"
        os.close(terminal)
        assert process.stdout.readline() == "False\n", "it is closed"
    finally:
        process.kill()
        process.communicate()
