"""The witnesses of the policy in force (C2SP tlog-policy): asked by workers, one for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from muniment.local.backoff import Backoff
from muniment_log.publish.rounds import WitnessTask, Workers

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from muniment.tlog.policy import Policy
    from muniment_log.publish.clock import Clock
    from muniment_log.publish.pace import PublisherLimits
    from muniment_log.publish.rounds import Round, Rounds
    from muniment_log.publish.witness import WitnessClient


class Cosigners:
    """Has rounds cosigned by a policy's witnesses, and tells when they make its quorum."""

    def __init__(
        self,
        rounds: Rounds,
        *,
        policy: Policy | None,
        witnesses: Sequence[WitnessClient],
        limits: PublisherLimits,
        clock: Clock,
    ) -> None:
        """Takes the policy, None for a log that publishes uncosigned, and whom the workers tell."""
        self._rounds = rounds
        self._limits = limits
        self._clock = clock
        self._group: asyncio.TaskGroup | None = None
        self._asking: list[asyncio.Task[None]] = []
        self._set(policy, witnesses)

    def _set(self, policy: Policy | None, witnesses: Sequence[WitnessClient]) -> None:
        first, longest = self._limits.backoff_first_seconds, self._limits.backoff_most_seconds
        self._policy = policy
        self._workers = Workers(
            [
                WitnessTask(self._rounds, witness, Backoff(first, longest), self._clock)
                for witness in witnesses
            ],
            self._makes_quorum,
            self._clock,
        )

    def use(self, policy: Policy | None, witnesses: Sequence[WitnessClient]) -> None:
        """Asks the witnesses of another policy from now on, and those of the one before no more."""
        for task in self._asking:
            task.cancel()
        self._workers.stop()
        self._set(policy, witnesses)
        if self._group is not None:
            self.start(self._group)

    def start(self, group: asyncio.TaskGroup) -> None:
        """Begins to ask, with a task of the group for each witness."""
        self._group = group
        self._asking = [
            group.create_task(worker.run(), name=f"witness {worker.client.label}")
            for worker in self._workers
        ]

    def stop(self) -> None:
        """The group has ended: nobody is asked any more."""
        self._group = None
        self._workers.stop()

    def ask(self) -> None:
        """There is a new round; see `Workers.wake_first`."""
        self._workers.wake_first()

    def ask_all(self) -> None:
        """Also asks those held in reserve; see `Workers.wake_reserve`."""
        self._workers.wake_reserve()

    def ask_others(self) -> None:
        """The head is out; see `Workers.wake_others`."""
        self._workers.wake_others()

    def _makes_quorum(self, names: set[str]) -> bool:
        return self._policy is None or self._policy.is_met(names)

    def have_met(self, current: Round) -> bool:
        """Whether those who have cosigned make the quorum."""
        return self._makes_quorum(current.names)

    def have_failed(self, current: Round) -> bool:
        """Whether each has cosigned or failed, so that there is nobody to wait for."""
        return all(
            worker.client in current.answered or worker.failure is not None
            for worker in self._workers
        )

    def missing(self, current: Round | None) -> str:
        """The labels of those who have not cosigned."""
        answered = current.answered if current is not None else set()
        return ", ".join(w.client.label for w in self._workers if w.client not in answered)

    @property
    def witnesses(self) -> list[dict[str, str | int | bool | None]]:
        """Each witness; see `Asker.described`."""
        return [worker.described for worker in self._workers]
