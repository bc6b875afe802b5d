"""How much Typesense is given follows how it answers: within bounds, less while it is slow, and all of it again."""

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsync_stream.sink.load_control import BEST_OF_S, LEAST_DOCUMENTS, MOST_DOCUMENTS, LoadControl

DEADLINE_S = 5.0
MOST = 8


class Write(NamedTuple):
    """A write that waits at the server, with the documents of all writes that were under way when it came."""

    since_s: float
    documents: int
    under_way: list[int]


class Server:
    """Works off writes one after the other. As many clients as may send the next one as soon as their last is done."""

    def __init__(self, most: int = MOST, each_s: float = 0.0001, overhead_s: float = 0.003) -> None:
        self.control = LoadControl(most, DEADLINE_S)
        self.each_s = each_s
        self.overhead_s = overhead_s
        self.now_s = 100.0
        self.lowest = (most, MOST_DOCUMENTS)
        self._waiting: deque[Write] = deque()

    def write(self, *, wanted: int = MOST_DOCUMENTS) -> None:
        """One write, to its end."""
        control = self.control
        while len(self._waiting) < control.writes:
            documents = min(wanted, control.documents)
            under_way = [*(write.documents for write in self._waiting), documents]
            self._waiting.append(Write(self.now_s, documents, under_way))
        write = self._waiting.popleft()
        self.now_s += self.overhead_s + write.documents * self.each_s
        took_s = self.now_s - write.since_s
        if took_s > DEADLINE_S:
            control.failed()
        else:
            control.done(write.documents, took_s, write.under_way, self.now_s)
        self.lowest = (min(self.lowest[0], control.writes), min(self.lowest[1], control.documents))

    def until(self, holds: Callable[[], bool], most: int) -> int:
        """Write until something holds; returns how many writes that took."""
        for count in range(most):
            if holds():
                return count
            self.write()
        pytest.fail(f"{self.control} after {most} writes")


def full(server: Server) -> bool:
    return not server.control.is_lowered


@pytest.mark.parametrize(
    ("most", "each_s"), [(1, 0.0001), (1, 0.0004), (2, 0.00005), (2, 0.0001), (2, 0.0004), (8, 0.00005), (8, 0.0001)]
)
def test_a_server_that_is_in_time_gets_all_there_is(most: int, each_s: float) -> None:
    server = Server(most, each_s)
    for count in range(300):
        server.each_s = each_s * (2 if count % 7 == 0 else 1)  # no two batches are alike
        server.write(wanted=MOST_DOCUMENTS if count % 3 else 30)
    assert server.lowest == (most, MOST_DOCUMENTS)


def test_large_documents_are_not_taken_for_a_slow_server() -> None:
    server = Server(2, each_s=0.004)  # 160 of them make a request of IMPORT_MAX_BYTES
    for _ in range(200):
        server.write(wanted=160)
    assert server.lowest == (2, MOST_DOCUMENTS)


@pytest.mark.parametrize("times", [8, 20, 60])
def test_a_slump_lowers_the_limits_and_its_end_raises_them(times: int) -> None:
    server = Server(2)
    for _ in range(20):
        server.write()
    server.each_s *= times
    server.until(lambda: server.control.is_lowered, most=20)
    for _ in range(30):
        server.write()
    takes_s = server.control.documents * server.each_s * server.control.writes
    assert takes_s < 0.6 * DEADLINE_S, "no write comes near its deadline"
    server.each_s /= times
    assert server.until(lambda: full(server), most=60) > 1


def test_a_server_that_stays_slow_for_long_is_the_usual_one() -> None:
    server = Server(2)
    for _ in range(20):
        server.write()
    server.each_s *= 4  # updates take as long
    began_s = server.now_s
    for _ in range(1_000):
        server.write()
        if server.now_s - began_s > 3 * BEST_OF_S:
            break
    server.until(lambda: full(server), most=30)


def test_a_server_that_lags_is_left_alone_by_half_at_a_time_and_never_quite() -> None:
    control = LoadControl(8, DEADLINE_S)
    seen = []
    for _ in range(40):
        control.failed()
        seen.append((control.writes, control.documents))
    assert seen[0] == (4, 500)
    assert seen[1] == seen[0], "those that were under way say nothing new"
    assert seen[-1] == (1, LEAST_DOCUMENTS)
    assert "1 of 8 writes, 50 documents" in repr(control)


DOCUMENTS = st.integers(0, MOST_DOCUMENTS)
EVENT = st.tuples(st.booleans(), DOCUMENTS, st.floats(0, 60), st.lists(DOCUMENTS, max_size=MOST), st.floats(0, 100))


@given(most=st.integers(1, MOST), events=st.lists(EVENT, max_size=200))
def test_the_limits_stay_within_their_bounds_whatever_happens_and_recover(
    most: int, events: list[tuple[bool, int, float, list[int], float]]
) -> None:
    control, now_s = LoadControl(most, DEADLINE_S), 0.0
    for good, documents, took_s, others, pause_s in events:
        now_s += took_s + pause_s
        if good:
            control.done(documents, took_s, [*others, documents], now_s)
        else:
            control.failed()
        assert 1 <= control.writes <= most
        assert LEAST_DOCUMENTS <= control.documents <= MOST_DOCUMENTS
    for _ in range(100):
        now_s += 0.1
        control.done(500, 0.1, [500], now_s)
    assert not control.is_lowered
