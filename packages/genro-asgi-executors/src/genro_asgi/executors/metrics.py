"""What a pool counts: outcomes, and how long calls waited and ran."""

from bisect import bisect_left
from typing import Any

BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Histogram:
    """Durations in seconds, counted in the buckets of BOUNDS."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        # Most calls are shorter than the first bound, and the search costs three times the rest.
        self.counts[0 if seconds <= BOUNDS[0] else bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds

    def add(self, other: "Histogram") -> None:
        """Count everything `other` has counted."""
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        self.total += other.total

    def as_dict(self) -> dict[str, Any]:
        """`{"count", "sum", "buckets": {upper bound: calls at or below it}}`, cumulative as Prometheus wants them."""
        buckets: dict[str, int] = {}
        seen = 0
        for bound, count in zip((*BOUNDS, float("inf")), self.counts, strict=True):
            seen += count
            buckets["+Inf" if bound == float("inf") else f"{bound:g}"] = seen
        return {"count": seen, "sum": self.total, "buckets": buckets}


class Tally:
    """Outcomes of calls; `submitted` is the sum of the outcomes and of what is still pending."""

    __slots__ = ("cancelled", "completed", "failed", "ran", "rejected", "submitted", "timed_out", "waited")

    def __init__(self) -> None:
        self.submitted = self.completed = self.failed = self.cancelled = self.timed_out = self.rejected = 0
        self.waited = Histogram()
        self.ran = Histogram()

    def add(self, other: "Tally") -> None:
        """Count everything `other` has counted."""
        self.submitted += other.submitted
        self.completed += other.completed
        self.failed += other.failed
        self.cancelled += other.cancelled
        self.timed_out += other.timed_out
        self.rejected += other.rejected
        self.waited.add(other.waited)
        self.ran.add(other.ran)

    def as_dict(self) -> dict[str, Any]:
        """The outcome counters, `avg_duration_ms` of the calls that ran, and the two histograms."""
        ran = self.ran.as_dict()
        return {
            "submitted": self.submitted,
            "completed": self.completed,
            "failed": self.failed,
            "cancelled": self.cancelled,
            "timed_out": self.timed_out,
            "rejected": self.rejected,
            "avg_duration_ms": ran["sum"] / ran["count"] * 1000 if ran["count"] else 0.0,
            "wait_seconds": self.waited.as_dict(),
            "run_seconds": ran,
        }
