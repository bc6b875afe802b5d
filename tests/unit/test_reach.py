"""What a replica lacks and vouches for: only what was so for the whole patience."""

import pytest

from tsync_stream import clock
from tsync_stream.errors import DependencyUnavailable
from tsync_stream.replica.reach import Reach

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
    reach = Reach({"server": server.look, "other": other.look}, PATIENCE_S)
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
