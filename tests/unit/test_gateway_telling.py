"""What is in force is told to the log; engines are looked at as often as that has a use."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from muniment_gateway.deciding.changes import tell_in_force


class Told:
    """Notes in `did` what it is asked to do: the log, all authorities, and what is in force."""

    def __init__(self, *, knows_mode: bool) -> None:
        self.knows_mode = knows_mode
        self.did: list[str] = []

    def is_told(self, *_: str) -> bool:
        return self.knows_mode

    async def tell_mode(self, _: str) -> None:
        self.knows_mode = True
        self.did.append("mode")

    async def tell_key(self, _: str) -> None:
        self.did.append("key")

    async def tell_policy(self, name: str, _: object) -> None:
        self.did.append(f"policy of {name}")

    async def look(self) -> dict[str, Any]:
        self.did.append("look")
        return {"cedar": None}

    async def policies(self) -> dict[str, Any]:
        self.did.append("policies")
        return {"cedar": None}


@pytest.mark.parametrize(
    ("away", "knows_mode", "did"),
    [
        ("", False, ["mode", "key", "look", "policy of cedar"]),
        ("", True, ["mode", "key", "look", "policy of cedar"]),
        ("no route", True, ["look"]),
        # Then it is done five times a second, which is too often for engines that are silent.
        ("no route", False, ["policies"]),
    ],
)
async def test_silent_engines_are_asked_once_the_log_knows_the_mode(
    away: str, knows_mode: bool, did: list[str]
) -> None:
    told = cast(Any, Told(knows_mode=knows_mode))
    config: Any = SimpleNamespace(file=SimpleNamespace(mode="enforce"), signer=SimpleNamespace())
    config.signer.vkey = "gw.example/a+1+a"
    await tell_in_force(config, told, told, cast(Any, SimpleNamespace(away=away)))
    assert told.did == did
