"""Changes written as fast as MongoDB takes them. The clock stops when Typesense shows all of them."""

import time

from bench.contenders import Raw
from bench.documents import Load, batches, hot_load, mixed_load
from bench.results import Result
from bench.running import Run


def insert(run: Run, count: int, size_bytes: int) -> Result:
    """New documents. The ceiling has them in memory and imports them without MongoDB."""
    count = run.share_of(count)
    contender = run.contender
    if isinstance(contender, Raw):
        contender.prepare(count, size_bytes)
        write = contender.go
    else:
        documents = list(batches(count, size_bytes))
        run.begin()

        def write() -> None:
            for batch in documents:
                run.surroundings.source.insert_many(batch)

    meter, started_s = run.meter(), time.monotonic()
    write()
    run.wait_until_shown(count)
    passed_s = time.monotonic() - started_s
    return Result(rate_per_s=count / passed_s, cpu_us=meter.per_change_us(count))


def mixed(run: Run) -> Result:
    """60% inserts, 30% updates, 10% deletes."""
    return _change(run, mixed_load(run.share_of(run.sizes.mixed)))


def hot(run: Run) -> Result:
    """Many updates of a few documents."""
    return _change(run, hot_load(run.share_of(run.sizes.hot)))


def _change(run: Run, load: Load) -> Result:
    run.begin()
    source = run.surroundings.source
    source.insert_many(load.existing)
    run.wait_until_shown(len(load.existing))
    meter, started_s = run.meter(), time.monotonic()
    for batch in load.changes:
        source.bulk_write(batch)
    written_s = time.monotonic() - started_s
    run.wait_until_all_shown(load)
    passed_s = time.monotonic() - started_s
    return Result(
        rate_per_s=load.count / passed_s,
        cpu_us=meter.per_change_us(load.count),
        figures={"written to MongoDB, a second": load.count / written_s},
    )
