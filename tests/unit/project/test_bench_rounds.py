"""Several rounds of a benchmark become one result: the median of measurements, the worst of failures."""

from bench.results import EQUAL, NOT_COMPARED, Result, middle


def result(rate_per_s: float, memory_mb: float = 100.0, comparison: str = EQUAL, failure: str = "") -> Result:
    return Result(
        scenario="burst",
        contender="tsync",
        rate_per_s=rate_per_s,
        latency_ms={"p50": rate_per_s / 10},
        cpu_us={"contender": rate_per_s / 100},
        cpu_percent={"redis": rate_per_s / 1000},
        figures={"s to all": rate_per_s * 2},
        peak_memory_mb=memory_mb,
        comparison=comparison,
        failure=failure,
    )


def test_a_single_round_is_the_result() -> None:
    assert middle([result(5000)]) == result(5000)


def test_measurements_become_their_median() -> None:
    assert middle([result(7000), result(1000), result(5000)]) == result(5000)


def test_memory_becomes_its_maximum() -> None:
    assert middle([result(5000, 100), result(5000, 140), result(5000, 120)]).peak_memory_mb == 140


def test_a_round_that_did_not_end_equal_shows() -> None:
    assert middle([result(5000), result(5000, comparison="2 are missing"), result(5000)]).comparison == "2 are missing"
    assert middle([result(5000, comparison="2 are missing"), result(5000)]).comparison == "2 are missing"
    assert middle([result(5000, comparison=NOT_COMPARED)] * 2).comparison == NOT_COMPARED


def test_a_failed_round_shows() -> None:
    failed = Result(scenario="burst", contender="tsync", failure="it has ended")
    assert middle([result(5000), failed, result(7000)]).failure == "it has ended"
    assert middle([failed, result(7000)]).failure == "it has ended"
