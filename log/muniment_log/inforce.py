"""What a running log takes from the files that its configuration names, as it is in force.

A reload reads all of them again: the policy, the keys, their passphrase, the CAs. What does not
load is refused as a whole, by name, and what was in force stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Self

from muniment.tlog.policy import PolicyChain, show
from muniment_log.config import load
from muniment_log.publish.cosigners import CosignerSet
from muniment_log.publish.mirrorclient import mirror_clients_of
from muniment_log.publish.rated import RatedWitness
from muniment_log.publish.witness import clients_of, new_session
from muniment_service.inforce import InForce
from muniment_service.servicefile import reread_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from muniment.tlog.policy import Policy
    from muniment_log.config import LogConfig

RELOADED: Final = frozenset(
    {
        "gateway",
        "token",
        "read",
        "policy",
        "witness",
        "outgoing",
        "key_passphrase_file",
        "pruning",
        "retention",
    }
)
"""What of the file a running log takes up; all else takes a restart."""


def reread(now: LogConfig, at: int | None = None) -> LogConfig:
    """Reads a configuration in force again, and all that it names; blocks.

    `at` is the time in Unix seconds, by default that of this machine.

    Raises ConfigError if something cannot be used, or has changed that takes a restart; names it.
    """
    reread_file(now.path, now.file, now.signers, use="log", taken=RELOADED)
    found = load(now.path, signers=now.signers, now=at)
    found.check_in_force()
    return found


class Witnesses:
    """The witnesses of the policy in force, and the connections to them.

    An async context manager, which closes the connections.

    Attributes:
        asked: they, and the policy.
    """

    def __init__(self, config: LogConfig) -> None:
        """Takes what is in force at the start.

        Raises InputError if a file of `[outgoing]` cannot be used.
        """
        file, policy = config.file, config.policy
        self._session = new_session(file.limits.witness_seconds, file.outgoing.access)
        self.asked = CosignerSet()
        if policy is not None:
            clients = clients_of(policy, self._session)
            rates = {entry.url.rstrip("/"): entry.per_day for entry in file.witness}
            self.asked = CosignerSet(
                policy,
                [each for each in clients if each.url not in rates],
                [RatedWitness(each, rates[each.url]) for each in clients if each.url in rates],
                mirror_clients_of(policy, self._session),
            )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._session.__aexit__(*error)

    async def replace(
        self,
        config: LogConfig,
        use: Callable[[CosignerSet], object],
    ) -> None:
        """Takes another configuration's policy and connections.

        `use` puts the new ones in the place of the old ones, before those are closed. Raises
        InputError if a file of `[outgoing]` cannot be used; nothing has changed then.
        """
        other = Witnesses(config)
        # A witness and a mirror may share a URL, and know different heads.
        sizes = {(type(client), client.url): client.size for client in self.asked.all}
        for client in other.asked.all:
            client.size = sizes.get((type(client), client.url), 0)
        use(other.asked)
        before, self._session = self._session, other._session
        self.asked = other.asked
        await before.__aexit__()


class PolicyInForce:
    """What the status tells of the policy and the configuration in force."""

    def __init__(self, config: LogConfig) -> None:
        self._config = config
        self._file = InForce(config.path)
        self._since = self._file.since

    def accepted(self, config: LogConfig) -> None:
        """Another configuration is in force."""
        self._file.accepted()
        if config.policy_sha256 != self._config.policy_sha256:
            self._since = self._file.since
        self._config = config

    def refusing(self) -> AbstractContextManager[None]:
        """See `InForce.refusing`."""
        return self._file.refusing()

    def describe(self) -> dict[str, Any]:
        """As JSON values."""
        policy = self._config.policy
        described: dict[str, Any] | None = None
        if policy is not None:
            described = {
                "file": str(self._config.file.policy),
                "sha256": self._config.policy_sha256,
                "quorum": _quorum(policy),
                "witnesses": [show(witness.name) for witness in policy.witnesses],
                "since": self._since,
            }
        if described is not None and isinstance(policy, PolicyChain):
            described["versions"] = [
                {"number": one.number, "from": one.start, "until": one.until}
                for one in policy.counted
            ]
        return {"policy": described, "configuration": self._file.describe()}


def _quorum(policy: Policy) -> str:
    for group in policy.groups:
        if group.name == policy.quorum:
            members = ", ".join(map(show, group.members))
            return f"{show(group.name)}: {group.threshold} of {members}"
    return show(policy.quorum)
