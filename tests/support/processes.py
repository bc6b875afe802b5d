"""Processes that a test starts: what is below them, whether they have ended, and what they left behind."""

from pathlib import Path

import psutil


def children_of(process: psutil.Process) -> list[psutil.Process]:
    """All processes below `process`: supervisors, servers, workers."""
    return process.children(recursive=True)


def ended(processes: list[psutil.Process]) -> bool:
    """Whether none of them runs any more."""
    return not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes)


def left_behind(directory: Path) -> list[str]:
    """The command lines of processes that name the directory or work in it."""
    found = []
    for process in psutil.process_iter():
        try:
            command = " ".join(process.cmdline())
            if str(directory) in f"{command} {process.cwd()}":
                found.append(command)
        except psutil.Error:  # it has just ended, or belongs to another user
            continue
    return found
