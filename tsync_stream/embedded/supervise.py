"""Starts one server, and ends it when the process that wanted it has gone. Uses the standard library alone.

    python -I -S supervise.py <command> [argument ...] < pipe > pipe 2> log

Standard input is a pipe that nothing is written to, and whose other end only the starting process holds. When that
process ends, even by SIGKILL, the pipe reaches its end, and the server gets SIGTERM, then after GRACE_S SIGKILL.
Standard output gets one line, the server's process id. The server's own output goes to standard error, the log.

Invariants:
- This process ends only after the server, with its exit code (128 + number if a signal ended it).
- The server leads a process group of its own, so signals to the group also reach its child processes.
- There is only one thread: on Linux the server's death signal, which ends it even if this process is killed, belongs to
  the thread that forked it.
- Ctrl-C or a closed terminal does not reach this process: the starting process stops its servers in order.
"""

import contextlib
import ctypes
import os
import select
import signal
import sys
import time
from collections.abc import Callable

GRACE_S = 5.0

_PR_SET_PDEATHSIG = 1


def main(command: list[str]) -> int:
    """Run `command` until it ends, or until the end of standard input or a SIGTERM ends it."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    awakened, awaken = os.pipe()
    os.set_blocking(awaken, False)
    signal.set_wakeup_fd(awaken)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, lambda *_: None)

    server = _start(command)
    with contextlib.suppress(BrokenPipeError):  # the starting process has gone: `_watch` will notice
        os.write(sys.stdout.fileno(), f"{server}\n".encode())
    exit_code = _watch(server, awakened)
    _signal_group(server, signal.SIGKILL)  # child processes that the server left behind
    return exit_code


def _start(command: list[str]) -> int:
    die_with_this_process = death_signal_setter()
    supervisor = os.getpid()
    server = os.fork()
    if server == 0:
        try:
            _become(command, supervisor, die_with_this_process)
        except BaseException as error:  # noqa: BLE001  # a forked child must never return to its parent's code
            os.write(sys.stderr.fileno(), f"cannot run {command[0]}: {error}\n".encode())
        os._exit(127)
    with contextlib.suppress(OSError):  # the child does the same; the first of them succeeds
        os.setpgid(server, server)
    return server


def _become(command: list[str], supervisor: int, die_with_this_process: Callable[[], None]) -> None:
    die_with_this_process()
    if os.getppid() != supervisor:
        return  # it died before the death signal was set
    os.setpgid(0, 0)
    # An ignored signal stays ignored across exec.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    os.dup2(os.open(os.devnull, os.O_RDONLY), sys.stdin.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    os.execv(command[0], command)  # noqa: S606  # without a shell


def death_signal_setter() -> Callable[[], None]:
    """For a process between fork and exec: have it killed when the thread that forked it ends. Linux alone has that."""
    if sys.platform != "linux":
        return lambda: None
    # Loaded before the fork: the child should do as little as possible.
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _watch(server: int, awakened: int) -> int:
    wait_for = [sys.stdin.fileno(), awakened]
    kill_at_s: float | None = None
    while True:
        ended, status = os.waitpid(server, os.WNOHANG)
        if ended:
            exit_code = os.waitstatus_to_exitcode(status)
            return exit_code if exit_code >= 0 else 128 - exit_code
        timeout_s = None if kill_at_s is None else max(0.0, kill_at_s - time.monotonic())
        readable, _, _ = select.select(wait_for, [], [], timeout_s)
        asked_to_stop = sys.stdin.fileno() in readable
        if awakened in readable:
            asked_to_stop |= signal.SIGTERM in os.read(awakened, 64)
        if asked_to_stop and kill_at_s is None:
            wait_for = [awakened]
            kill_at_s = time.monotonic() + GRACE_S
            _signal_group(server, signal.SIGCONT)
            _signal_group(server, signal.SIGTERM)
        elif kill_at_s is not None and time.monotonic() >= kill_at_s:
            _signal_group(server, signal.SIGKILL)
            kill_at_s += GRACE_S


def _signal_group(server: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # PermissionError: a group of zombies on macOS
        os.killpg(server, number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
