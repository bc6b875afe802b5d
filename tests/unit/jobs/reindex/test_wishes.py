"""What a person may ask of an open reindex. Pure."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import get_args

import pytest

from tsync_stream.jobs.reindex.wishes import ReindexRefused, what_is_next, wished
from tsync_stream.state.generations import Generation, Generations, Phase, Reindex, ReindexOptions, Wish

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
HEEDED: set[tuple[Wish, Phase]] = {
    ("cancel", "building"),
    ("cancel", "verifying"),
    ("cancel", "carrying"),
    ("cancel", "failed"),
    ("rollback", "watching"),
    ("rollback", "kept"),
    ("finish", "watching"),
    ("finish", "kept"),
    ("finish", "rolling back"),
    ("retry", "failed"),
}


def document(phase: Phase) -> Generations:
    """Route c, whose new collection is c_2."""
    reindex = Reindex("1f2e", 2, 1, phase, NOW, NOW, options=ReindexOptions(rate=5))
    return Generations("c", "c", 1, 3, (Generation(1, "c_1"), Generation(2, "c_2")), reindex=reindex)


@pytest.mark.parametrize("phase", get_args(Phase))
@pytest.mark.parametrize("wish", get_args(Wish))
def test_a_wish_is_stored_where_it_is_heeded_and_refused_with_a_way_out_elsewhere(wish: Wish, phase: Phase) -> None:
    if (wish, phase) in HEEDED:
        after = wished(document(phase), wish)
        assert after == document(phase).with_reindex(wish=wish)
        assert what_is_next(after, wish)
        return
    with pytest.raises(ReindexRefused) as refused:
        wished(document(phase), wish)
    text = str(refused.value)
    assert f"`{phase}`" in text
    ways_out = {"cancel": "--rollback", "rollback": "--cancel", "finish": "--cancel", "retry": "nothing to try again"}
    assert ("being deleted" if phase == "cleaning" else ways_out[wish]) in text or phase == "rolling back"


def test_what_was_refused_can_be_accepted_later() -> None:
    after = wished(document("failed"), "retry", accept_refused=True).reindex
    assert after is not None
    assert after.options == ReindexOptions(rate=5, accept_refused=True)
    kept = wished(replace(document("failed"), reindex=after), "cancel").reindex
    assert kept is not None
    assert kept.options.accept_refused


def test_without_an_open_one_nothing_can_be_asked() -> None:
    with pytest.raises(ReindexRefused, match="No reindex of route c is open"):
        wished(replace(document("kept"), reindex=None), "cancel")
