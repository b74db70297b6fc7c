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
