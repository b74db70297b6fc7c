"""Changes of what is in force (mode, key, policies): logged before they take effect.

A change is a decision of the gateway about itself: subject the gateway, action
``muniment.change``, resource ``muniment.mode``, ``muniment.key`` or ``muniment.policy`` with the
new one as its id;
the context has what was before, and what is now. A policy that follows another one has an edge
``derived_from`` beside it. What the log was told last is in the store, and is not told again.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from secrets import token_hex
from typing import Any, Final

import msgspec

from muniment.local.logs import event
from muniment.local.outside import Contained
from muniment.records.artifact import PolicyRef
from muniment.records.preparation import RecordInput
from muniment_gateway.config import GatewayConfig
from muniment_gateway.deciding.loglink import LogLink
from muniment_gateway.deciding.panel import Panel
from muniment_gateway.store.inforce import InForceStore

ACTION: Final = "muniment.change"

Submit = Callable[[Sequence[RecordInput]], Awaitable[int]]
"""Logs records; gives the index of the first one, and raises MunimentError when it is not sure."""

_LOGGER: Final = logging.getLogger(__name__)


class ChangeReporter:
    """Tells the log what is in force."""

    def __init__(self, gateway: str, store: InForceStore, submit: Submit) -> None:
        """Takes the gateway's key name, what was told before, and what logs."""
        self._gateway = gateway
        self._store = store
        self._submit = submit
        self._lock = asyncio.Lock()
        self._known: dict[str, PolicyRef] = {}

    def is_told(self, subject: str, content: str) -> bool:
        """Whether the log has it."""
        return self._store.told.get(subject) == content

    async def tell_mode(self, mode: str) -> None:
        """Logs the mode, unless it was the last one that was logged.

        Raises MunimentError if it is not in the log for certain: it must not take effect.
        """
        await self._tell("mode", mode, "muniment.mode", mode, [])

    async def tell_key(self, vkey: str) -> None:
        """Logs the gateway's key when it is another one than before, likewise.

        The first that a database knows is no change.
        """
        async with self._lock:
            if "key" not in self._store.told:
                await self._store.tell("key", vkey, "")
                return
        await self._tell("key", vkey, "muniment.key", vkey, [])

    async def tell_policy(self, authority: str, policy: PolicyRef) -> None:
        """Logs the policy of an authority, likewise."""
        if self._known.get(authority) == policy:  # on the path of each decision
            return
        content = json.dumps(msgspec.to_builtins(policy), sort_keys=True)
        before = self._store.told.get(f"policy of {authority}")
        edges: list[RecordInput] = []
        if before is not None and before != content:
            prior = _name(authority, msgspec.json.decode(before, type=PolicyRef))
            edges.append(
                {
                    "kind": "edge",
                    "relation": "derived_from",
                    "from": {"type": "policy", "id": _name(authority, policy)},
                    "to": {"type": "policy", "id": prior},
                }
            )
        await self._tell(
            f"policy of {authority}", content, "muniment.policy", _name(authority, policy), edges
        )
        self._known[authority] = policy

    async def _tell(
        self,
        subject: str,
        content: str,
        kind: str,
        id_: str,
        edges: list[RecordInput],
    ) -> None:
        async with self._lock:
            before = self._store.told.get(subject)
            if before == content:
                return
            context: dict[str, Any] = {"subject": subject, "now": content}
            if before is not None:
                context["before"] = before
            record = {
                "id": f"c-{token_hex(12)}",
                "kind": "decision",
                "request": {
                    "subject": {"type": "gateway", "id": self._gateway},
                    "action": {"name": ACTION},
                    "resource": {"type": kind, "id": id_},
                    "context": context,
                },
                "response": {"decision": True},
            }
            index = await self._submit([record, *edges])
            await self._store.tell(subject, content, str(record["id"]))
            event(
                _LOGGER,
                logging.INFO if before is None else logging.WARNING,  # nothing was told before
                "what is in force has changed",
                subject=subject,
                now=content,
                before=before,
                index=index,
            )


async def tell_in_force(
    config: GatewayConfig, changes: ChangeReporter, panel: Panel, link: LogLink
) -> None:
    """Tells the log what is in force, as far as it can be told now."""
    mode = config.file.mode
    with Contained("what is in force"):
        if not link.away:
            await changes.tell_mode(mode)
            await changes.tell_key(str(config.signer.vkey))
        # Until the log knows the mode this is done five times a second: too often to have those
        # who are silent asked something.
        found = await (panel.look() if changes.is_told("mode", mode) else panel.policies())
        for name, policy in found.items():
            if not link.away:
                await changes.tell_policy(name, policy)


def _name(authority: str, policy: PolicyRef) -> str:
    """A policy's name in an edge: who decides by it, and its digest."""
    return f"{authority}@{policy.digest}"
