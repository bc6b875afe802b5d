"""What a replica lacks and vouches for: only what was so for the whole patience."""

import asyncio

import pytest

from tsync_stream import clock
from tsync_stream.errors import DependencyUnavailable
from tsync_stream.replica.reach import Reach
from tsync_stream.wake import Wake

PATIENCE_S = 10.0


class Server:
    """Answers, or does not."""

    def __init__(self) -> None:
        self.answers = True

    async def look(self) -> None:
        if not self.answers:
            raise DependencyUnavailable("away")


async def test_between_lacking_and_vouching_lies_the_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    monkeypatch.setattr(clock, "now_s", lambda: now_s)
    server, other = Server(), Server()
    reach = Reach({"server": server.look, "other": other.look}, PATIENCE_S, Wake())
    said = []
    for second in range(50):
        server.answers = not 15 <= second < 30
        for name, look in (("server", server.look), ("other", other.look)):
            await reach._look(name, look)
        report = reach.report()
        said.append(("server" in report["lacks"], "server" in report["vouches"]))
        assert "other" not in report["lacks"]
        assert ("other" in report["vouches"]) == (second > PATIENCE_S)
        now_s += 1.0
    lacking = [second for second, (lacks, _) in enumerate(said) if lacks]
    vouching = [second for second, (_, vouches) in enumerate(said) if vouches]
    assert lacking == [25, 26, 27, 28, 29], "from the patience after its last answer until it answers"
    assert vouching == [11, 12, 13, 14, *range(40, 50)], "from the patience after its last silence until the next"


async def test_who_waits_for_a_server_is_woken_when_it_answers_again() -> None:
    server, wake = Server(), Wake()
    reach = Reach({"server": server.look}, PATIENCE_S, wake)
    server.answers = False
    await reach._look("server", server.look)
    waiting = asyncio.create_task(wake.wait(60.0))
    await reach._look("server", server.look)
    await asyncio.sleep(0)
    assert not waiting.done(), "it does not answer yet"
    server.answers = True
    await reach._look("server", server.look)
    async with asyncio.timeout(5):
        await waiting


async def test_looks_are_so_frequent_that_a_server_that_answers_is_never_lacked() -> None:
    patience_s = 0.2
    server = Server()
    reach = Reach({"server": server.look}, patience_s, Wake())
    looking = asyncio.create_task(reach.run())
    ends_s = clock.now_s() + 4 * patience_s
    try:
        while clock.now_s() < ends_s:
            assert reach.report()["lacks"] == []
            await asyncio.sleep(0.01)
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
    assert reach.report()["vouches"] == ["server"]
