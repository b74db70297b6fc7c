"""What goes wrong during a soak run: each trouble is one method, chosen at random by a seed."""

import signal
import time
from collections import Counter
from collections.abc import Callable
from random import Random

from deployment import WITNESSES, Deployment, DeploymentError

READ_WITHIN = 1_800  # seconds: who reads the whole log of a long run needs a while


class Trouble:
    """Kills, stops and starts the servers of a deployment, and looks at the log in between.

    Attributes:
        done: How often each thing happened.
        faults: What should not have happened; empty in a good run.
        peak: Most resident memory seen of each server, in bytes.
    """

    def __init__(self, deployment: Deployment, seed: int, say: Callable[[str], None]) -> None:
        self._deployment = deployment
        self._random = Random(seed)
        self._say = say
        self.done: Counter[str] = Counter()
        self.faults: list[str] = []
        self.peak: Counter[str] = Counter()
        self._choices: list[tuple[Callable[[], None], int]] = [
            (self.kill_log, 4),
            (self.restart_log, 2),
            (self.pause_log, 2),
            (self.kill_witness, 3),
            (self.slow_witness, 3),
            (self.no_quorum, 2),
            (self.audit, 4),
            (self.check, 2),
            (self.back_up, 1),
        ]

    def next(self) -> None:
        """One trouble, and what it leaves behind is running again."""
        works, weights = zip(*self._choices, strict=True)
        (work,) = self._random.choices(works, weights)
        self.done[work.__name__.replace("_", " ")] += 1
        self._say(work.__name__.replace("_", " "))
        try:
            work()
        except DeploymentError as error:
            self.faults.append(f"{work.__name__}: {error}")
        self.measure()

    def measure(self) -> None:
        """Notes the memory of every server."""
        for name, process in self._deployment.processes.items():
            if process.poll() is None:
                self.peak[name] = max(self.peak[name], self._deployment.rss(name))

    def _away(self, least: float = 0.1, most: float = 2.0) -> None:
        time.sleep(self._random.uniform(least, most))

    def _end(self, name: str, how: signal.Signals) -> None:
        process = self._deployment.processes[name]
        if process.poll() is not None:
            raise DeploymentError(f"{name} had ended by itself, exit {process.returncode}")
        process.send_signal(how)
        code = process.wait(timeout=60)
        if code != (-signal.SIGKILL if how is signal.SIGKILL else 0):
            raise DeploymentError(f"{name}: exit {code} after {how.name}")

    def _pause(self, name: str, most: float) -> None:
        process = self._deployment.processes[name]
        process.send_signal(signal.SIGSTOP)
        try:
            self._away(0.2, most)
        finally:
            process.send_signal(signal.SIGCONT)

    def _witness(self) -> str:
        return self._random.choice(list(WITNESSES))

    def kill_log(self) -> None:
        """Kill (-9) and restart the log: nothing acknowledged may be gone."""
        self._end("log", signal.SIGKILL)
        self._away()
        self._deployment.start_log()

    def restart_log(self) -> None:
        """An orderly restart, as for an upgrade."""
        self._end("log", signal.SIGTERM)
        self._deployment.start_log()

    def pause_log(self) -> None:
        """The log's process stands still, as a machine does that swaps or migrates."""
        self._pause("log", 3.0)

    def kill_witness(self) -> None:
        """Kill (-9) and restart a witness; the other two are a quorum meanwhile."""
        name = self._witness()
        self._end(name, signal.SIGKILL)
        self._away()
        self._deployment.start_witness(name)

    def slow_witness(self) -> None:
        """A witness that does not answer for a while, with its connections open."""
        self._pause(self._witness(), 6.0)

    def no_quorum(self) -> None:
        """Two of three witnesses are away: records are taken, nothing is published."""
        names = self._random.sample(list(WITNESSES), 2)
        for name in names:
            self._end(name, signal.SIGKILL)
        self._away(0.5, 3.0)
        for name in names:
            self._deployment.start_witness(name)

    def audit(self) -> None:
        """An auditor goes on from where it was, while gateways write."""
        audit(self._deployment)

    def check(self) -> None:
        """What a start would read of the log's database is checked while it is written."""
        self._deployment.command("muniment-log", "check", "--quick", "--config", "log/log.toml")

    def back_up(self) -> None:
        """A copy is made while the log runs."""
        copy = self._deployment.place / "backup.db"
        copy.unlink(missing_ok=True)
        self._deployment.command("muniment-log", "backup", "--config", "log/log.toml", copy)


def audit(deployment: Deployment) -> str:
    """Audits the log from the state of the last audit; what the auditor says."""
    keys = [part for key in sorted(deployment.place.glob("*.vkey")) for part in ("--gateway", key)]
    argv = ["muniment", "audit", "--log", deployment.urls["log"], "--policy", "trust.policy"]
    return deployment.command(*argv, "--state", "audit.state", *keys, within=READ_WITHIN)
