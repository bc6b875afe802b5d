"""Something that goes on beside a test, in a thread of its own."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def repeated(step: Callable[[int], object]) -> Iterator[None]:
    """Do a step over and over, numbered from 0, as long as the block runs."""
    stopping = threading.Event()

    def run() -> None:
        number = 0
        while not stopping.is_set():
            step(number)
            number += 1

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()
