"""Plays cases with one framework, and prints what was seen: play.py FRAMEWORK PLACE.json [CASE…]

Run by the interpreter that scripts/frameworks installs.
"""

import asyncio
import importlib
import json
import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from kit import CASES, SECONDS, Stage, World

from muniment import ProcessGateway, parse_policy, signer_for


def main(name: str, place: Path, only: Sequence[str]) -> None:
    """Plays the cases that are named, or all."""
    place_of = json.loads(place.read_text())
    folder = Path(place_of["folder"])
    folder.mkdir(exist_ok=True)
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(place_of["seed"]))
    side: Any = importlib.import_module(f"with_{name}")

    def gateway(url: str = place_of["url"]) -> ProcessGateway:
        return ProcessGateway(
            url,
            signer_for(place_of["gateway"], key, use="gateway"),
            policy=parse_policy(Path(place_of["policy"]).read_bytes()),
            spools=folder / ("away" if url != place_of["url"] else "spools"),
            decide=lambda _: {"decision": False},
        )

    stage = Stage(side, name, gateway)
    seen: dict[str, Any] = {}
    for case in only or CASES:
        play = CASES[case]
        world = World()

        async def timed(play: Any = play, world: World = world) -> None:
            async with asyncio.timeout(SECONDS):
                await play(stage, world)

        try:
            asyncio.run(timed())
        except Exception as error:  # noqa: BLE001 - it is what was seen
            traceback.print_exc()
            world.error = world.error or f"{type(error).__name__}: {error}"
        seen[case] = {
            "ran": world.ran,
            "asked": world.asked,
            "runs": world.runs,
            "heard": world.heard,
            "error": world.error,
        }
    stage.shared.close(SECONDS)
    print(json.dumps(seen))  # noqa: T201


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
