"""Work that goes on in its own thread while a test runs."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def repeated(step: Callable[[int], object]) -> Iterator[None]:
    """Repeat a step, numbered from 0, as long as the block runs."""
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
