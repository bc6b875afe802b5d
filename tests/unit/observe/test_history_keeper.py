"""One sample of the deployment is what all its replicas have published together."""

from tsync_stream.observe.history_keeper import sample_of
from tsync_stream.state.history import Sample


def test_a_sample_is_the_sum_of_all_replicas() -> None:
    published = [{"captured_per_s": 10.0, "synced_per_s": 4.25}, {"captured_per_s": 0.0, "synced_per_s": 5.5}, {}]
    assert sample_of(published, 1.234) == Sample(10.0, 9.8, 1.2)


def test_what_is_not_known_stays_unknown() -> None:
    assert sample_of([], None) == Sample(0.0, 0.0, None)
