"""The memory of a batch is kept for the next one; large blocks go back to the system."""

import platform
import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc",
    reason="tune() sets glibc's mallopt and does nothing with another libc, so there is nothing to test",
)

# A page fault is how a page of memory comes from the system.
_BATCHES = textwrap.dedent("""
    import resource

    def work():
        body = b"\\n".join(bytes(1_000) for _ in range(900))
        return body.decode().encode("latin-1").replace(b"1", b"22")

    def faults():
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

    for _ in range(3):
        work()
    before = faults()
    for _ in range(20):
        work()
    print((faults() - before) // 20)
""")
# By itself glibc takes no block that is smaller than one that was given back already straight from the system again.
_LARGE_BLOCKS = textwrap.dedent("""
    import os
    from tests.support.memory import resident_bytes

    bytes(16 << 20)
    before = resident_bytes([os.getpid()])
    kept, large = [], []
    for _ in range(60):
        large.append(b"x" * (2 << 20))
        kept.append(b"x" * 40_000)
    del large
    print((resident_bytes([os.getpid()]) - before) >> 20)
""")
_TUNE = "from tsync_stream.core import malloc; malloc.tune()\n"


def number_printed_by(code: str) -> int:
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=200)
    return int(ended.stdout)


def test_a_batch_of_a_thousand_documents_reuses_the_memory_of_the_one_before() -> None:
    assert number_printed_by(_TUNE + _BATCHES) < 10


def test_without_tuning_each_batch_requests_its_memory_again() -> None:
    assert number_printed_by(_BATCHES) > 100, "the test above shows nothing any more"


def test_large_blocks_go_back_to_the_system() -> None:
    assert number_printed_by(_TUNE + _LARGE_BLOCKS) < 10


def test_without_tuning_large_blocks_stay_if_small_ones_lie_between_them() -> None:
    assert number_printed_by(_LARGE_BLOCKS) > 50, "the test above shows nothing any more"
