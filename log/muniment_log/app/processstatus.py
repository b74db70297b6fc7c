"""What a process of a cluster says of itself and of the whole.

A frontend is ready as long as it sees the database, and with it can order records: they are durable
and have their index, whether or not anybody leads, until as many as may wait for the tree. Who
needs them published is told that nobody leads. An integrator is ready as long as it sees the
database, and could take over.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from muniment_log.publish.published import published_size
from muniment_service.http import Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from muniment.tlog.note import Signer
    from muniment_log.app.leadership import Leadership
    from muniment_log.cluster.metrics import ClusterMetrics
    from muniment_log.cluster.order import Backlog
    from muniment_log.cluster.view import PublishedView
    from muniment_log.publish.publisher import Publisher

NOBODY_LEADS: Final = (
    "no integrator leads: records are accepted and keep their index, but nothing is published"
)
TOO_FAR_BEHIND: Final = (
    "the tree is too far behind what is ordered: records are answered with 503 until it catches up"
)


@dataclass(kw_only=True, eq=False)
class ProcessStatus:
    """Tells how the cluster is, as this process sees it."""

    view: PublishedView
    backlog: Backlog
    leadership: Leadership | None
    signers: Sequence[Signer]
    metrics: ClusterMetrics
    made: datetime

    def __post_init__(self) -> None:
        self.metrics.leads.set_function(lambda: float(self._leads))

    def cluster(self) -> dict[str, Any]:
        """What everybody may know; see `describe`.

        Raises Problem 503 while the database is not seen.
        """
        cluster = self.describe()
        if self.view.is_blind:
            detail = "the database cannot be seen: nothing is accepted"
            raise Problem(503, "database-unseen", detail, members={"cluster": cluster})
        return cluster

    def describe(self) -> dict[str, Any]:
        """Whether the cluster is led, how far integration is, when it published."""
        view = self.view
        described: dict[str, Any] = {
            "led": view.is_led,
            "epoch": view.epoch,
            "ordered": view.ordered,
            "lag_leaves": max(0, view.ordered - view.integrated.size),
            "lag_seconds": round(view.lag, 3),
            "published_at": _iso(view.published_time),
        }
        if self.backlog.is_full(view.ordered - view.integrated.size, view.waiting_bytes):
            nobody = "" if view.is_led else "no integrator leads, and "
            described["notice"] = nobody + TOO_FAR_BEHIND
        elif not view.is_led:
            described["notice"] = NOBODY_LEADS
        return described

    def integrator(self) -> dict[str, Any]:
        """The same at an integrator, with its own part; see `cluster`."""
        return {**self._part(), "cluster": self.cluster()}

    def status(self) -> dict[str, Any]:
        """What the operator may know besides: who leads, and what this process signs with."""
        view = self.view
        eraser = None if self.leadership is None else self.leadership.eraser
        return {
            "keys": [f"{signer.vkey.key_id:08x}" for signer in self.signers],
            "stalled": view.is_stalled,
            "database": {"made": self.made.isoformat(timespec="seconds"), "by": "migrate"},
            **self._part(),
            "cluster": {**self.describe(), "holder": view.holder, "unseen": view.is_blind},
            **({} if eraser is None else {"addenda": eraser.describe()}),
        }

    def _part(self) -> dict[str, Any]:
        view, publisher = self.view, self._publisher
        return {
            "integrating": publisher is not None,
            "integrated": view.integrated.size,
            "published": published_size(view.published),
            "witnesses": view.witnesses if publisher is None else publisher.witnesses,
        }

    @property
    def _publisher(self) -> Publisher | None:
        return None if self.leadership is None else self.leadership.publisher

    @property
    def _leads(self) -> bool:
        return self.leadership is not None and self.leadership.holder is not None


def _iso(seconds: float | None) -> str | None:
    return (
        None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat("T", "seconds")
    )
