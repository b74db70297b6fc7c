"""Webhooks that tell people what waits for them: one for each URL of a configuration."""

from collections.abc import Iterable, Mapping
from typing import Any

from muniment.monitor.webhook import Webhook
from muniment_gateway.core.approvals import People


class Notices:
    """The webhooks; messages go out in the background, and are dropped when nobody takes them."""

    def __init__(self) -> None:
        """Begins with none."""
        self._hooks: dict[str, Webhook] = {}

    async def take_up(self, people: Iterable[People]) -> None:
        """Tells these from now on, and no others."""
        wanted = {one.webhook for one in people if one.webhook is not None}
        for url in wanted - self._hooks.keys():
            hook = Webhook(url)
            await hook.__aenter__()
            self._hooks[url] = hook
        for url in self._hooks.keys() - wanted:
            await self._hooks.pop(url).__aexit__(None, None, None)

    async def close(self) -> None:
        """Sends what can be sent soon, and ends."""
        await self.take_up(())

    def tell(self, people: People, message: Mapping[str, Any]) -> None:
        """Queues a message to people; never waits."""
        hook = self._hooks.get(people.webhook or "")
        if hook is not None:
            hook.put(message)
