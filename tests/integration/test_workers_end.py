"""A worker that a test or a bench starts ends with it, even if that is killed: nothing is left behind."""

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.support.processes import ended
from tests.support.waiting import wait_for

PROGRAM = """
import sys
from pathlib import Path
from types import SimpleNamespace

from tests.support.forked import ForkedWorker
from tests.support.stack import Names
from tests.support.worker import Worker

if __name__ == "__main__":
    kind = {"Worker": Worker, "ForkedWorker": ForkedWorker}[sys.argv[1]]
    worker = kind(SimpleNamespace(environment=dict), Names.new(), Path(sys.argv[2]))
    worker.launch()
    print(worker.pid, flush=True)
    input()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
@pytest.mark.parametrize("kind", ["Worker", "ForkedWorker"])
def test_a_worker_ends_with_the_process_that_started_it(kind: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    command = [sys.executable, str(program), kind, str(tmp_path)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"PYTHONPATH": str(root)}, cwd=root
    ) as starting:
        assert starting.stdout is not None
        worker = psutil.Process(int(starting.stdout.readline()))
        assert not ended([worker])
        starting.send_signal(signal.SIGKILL)
    try:
        wait_for(lambda: ended([worker]), 10.0, "the worker is left behind")
    finally:
        if worker.is_running():
            worker.kill()
