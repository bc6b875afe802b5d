"""Which metrics an expression of PromQL names, and which of these nobody measures."""

import re

from tsync_stream.observe.metrics import Metrics

# Prometheus' own, and what every process shows.
_OTHERS = {"up", "process_resident_memory_bytes", "process_cpu_seconds_total", "process_start_time_seconds"}
_HISTOGRAM_SUFFIXES = ("_bucket", "_sum", "_count")


def metrics_of(expression: str) -> set[str]:
    """The names of metrics in an expression; texts in quotes are none."""
    bare = re.sub(r'"[^"]*"', "", expression)
    return set(re.findall(r"\b(?:tsync_\w+|process_\w+|up)\b", bare))


def unknown_metrics(expression: str) -> set[str]:
    """The metrics in an expression that no replica shows."""
    known = set(_OTHERS)
    for declared in Metrics().instruments.declared:
        histogram = declared.kind == "histogram"
        known |= {declared.name + suffix for suffix in _HISTOGRAM_SUFFIXES} if histogram else {declared.name}
    return metrics_of(expression) - known
