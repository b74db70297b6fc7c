"""What is counted of decisions: one set of metrics for all that decide in a process."""

from typing import Final

from muniment_service.metrics import Metrics


class Counts:
    """The metrics of decisions and answers."""

    def __init__(self, metrics: Metrics) -> None:
        """Makes them in a registry."""
        self.answers: Final = metrics.counter(
            "answers", "Answers of policy engines.", ("authority", "answer")
        )
        self.answer_seconds: Final = metrics.histogram(
            "answer_seconds", "Time in which policy engines answered.", ("authority",)
        )
        self.decisions: Final = metrics.counter("decisions", "Decisions.", ("decision", "code"))
        self.decision_seconds: Final = metrics.histogram(
            "decision_seconds", "Time from a request to its answer."
        )
        self.unrecorded: Final = metrics.counter(
            "unrecorded", "Decisions that could be neither logged nor kept: the disk is full, say."
        )
        self.proxied: Final = metrics.counter(
            "proxied", "Answers to proxies: allow, deny, refused.", ("proxy", "answer")
        )
        self.proxied_seconds: Final = metrics.histogram(
            "proxied_seconds", "Time in which proxies were answered.", ("proxy",)
        )
        self.approvals: Final = metrics.counter(
            "approvals",
            "Calls that people were asked about, by what became of them.",
            ("authority", "status"),
        )
        self.approvals_waiting: Final = metrics.gauge(
            "approvals_waiting", "Calls that wait for people.", ("authority",)
        )
        self.approvals_oldest: Final = metrics.gauge(
            "approvals_oldest_seconds", "How long the oldest of them waits.", ("authority",)
        )
        self.permits_too_long: Final = metrics.counter(
            "permits_too_long", "Permits that were too long for a header.", ("proxy",)
        )
