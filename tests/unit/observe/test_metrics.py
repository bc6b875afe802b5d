"""Metrics: a value that is not known is absent, not 0."""

from tsync_stream.observe.metrics import Metrics


def names(metrics: Metrics) -> set[str]:
    text = metrics.exposition().decode()
    return {line.partition(" ")[0].partition("{")[0] for line in text.splitlines() if not line.startswith("#")}


MEASURED_WHILE_CAPTURING = {"tsync_lag_seconds", "tsync_oplog_left_seconds", "tsync_epoch"}
LABELLED = {"tsync_backlog_entries", "tsync_tier"}


def test_only_the_capturing_replica_shows_what_only_it_measures() -> None:
    metrics = Metrics()
    assert not names(metrics) & (MEASURED_WHILE_CAPTURING | LABELLED)
    assert "tsync_capturing 0.0" in metrics.exposition().decode()


def test_the_measurements_of_a_term_end_with_it() -> None:
    metrics = Metrics()
    for measured in (metrics.lag_seconds, metrics.oplog_left_seconds, metrics.epoch):
        measured.set(7)
    metrics.backlog_entries.labels("primary", "0").set(7)
    metrics.tier.labels("primary").set(1)
    metrics.capturing.set(1)
    assert names(metrics) > MEASURED_WHILE_CAPTURING | LABELLED
    assert "tsync_lag_seconds 7.0" in metrics.exposition().decode()
    metrics.end_term()
    assert not names(metrics) & (MEASURED_WHILE_CAPTURING | LABELLED)
    assert "tsync_capturing 0.0" in metrics.exposition().decode()


def test_a_value_that_is_no_longer_known_is_absent_although_the_term_goes_on() -> None:
    metrics = Metrics()
    metrics.oplog_left_seconds.set(7)
    metrics.oplog_left_seconds.set(None)
    assert "tsync_oplog_left_seconds" not in names(metrics)


def test_its_representation_is_short() -> None:
    metrics = Metrics()
    metrics.capturing.set(1)
    metrics.entries_acked.labels("listings").inc(7)
    assert repr(metrics) == "Metrics(capturing=True, entries_acked=7)"


def test_what_is_counted_of_a_route_carries_its_name_and_is_shown_from_the_start() -> None:
    metrics = Metrics()
    metrics.show_route("listings")
    metrics.entries_acked.labels("listings").inc(3)
    metrics.entries_acked.labels("orders").inc(4)
    shown = metrics.exposition().decode()
    assert 'tsync_entries_acked_total{route="listings"} 3.0' in shown
    assert 'tsync_changes_captured_total{route="listings"} 0.0' in shown
    assert 'tsync_documents_drifted_total{kind="extra",route="listings"} 0.0' in shown
    assert (metrics.total("entries_acked"), metrics.total("changes_captured")) == (7, 0)


def test_open_dead_letters_of_one_route_do_not_hide_those_of_another() -> None:
    metrics = Metrics()
    metrics.show_refused("listings", {"id collision": 1, "nested too deeply": 2})
    metrics.show_refused("orders", {"id collision": 3})
    metrics.show_refused("listings", {"nested too deeply": 2})
    lines = metrics.exposition().decode().splitlines()
    assert [line for line in lines if line.startswith("tsync_dead_letters_open{")] == [
        'tsync_dead_letters_open{reason="nested too deeply",route="listings"} 2.0',
        'tsync_dead_letters_open{reason="id collision",route="orders"} 3.0',
    ]
