"""The cases of the conformance kit, which every adapter plays with its real framework.

The model is scripted; gateway, log and witnesses are real. What must hold of each is in
tests/integration/test_frameworks.py.
"""

import asyncio
import contextlib
import json
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from muniment import ProcessGateway, current_run
from muniment.adapters.core import Gate

SECONDS = 120.0  # only a failure waits so long
AGENT = "planner"


@dataclass(frozen=True)
class Call:
    """What the scripted model asks for."""

    tool: str
    arguments: dict[str, Any]
    id: str


Script = Sequence[Sequence[Call]]
"""What the model asks for in each of its turns; after the last one it says "done"."""


@dataclass(frozen=True)
class Wanted:
    """What a case wants of a framework, besides that an agent calls tools.

    Attributes:
        edit: It changes the arguments of `send` so, where it can, before the gate.
        late: It does that as far behind the gate as anybody gets.
        retry: It calls a tool that failed a second time.
        helper: There is a tool "helper" that is an agent with tools of its own, and this script.
        handoff: The agent hands over to an agent "clerk" with this script.
        server: The tools are those of an MCP server: Python with these arguments.
        cut_off: The model's answers end at its limit of tokens, within the last call of each.
    """

    edit: dict[str, Any] | None = None
    late: bool = False
    retry: bool = False
    helper: Script | None = None
    handoff: Script | None = None
    server: list[str] | None = None
    cut_off: bool = False


@dataclass
class World:
    """What happens in one case.

    Attributes:
        ran: Tools that ran, with their arguments.
        asked: Arguments that the policy engine was asked about.
        runs: The run that was going on in each tool that ran.
        heard: What the model read of its calls' results.
        error: What the framework raised at the end, if anything.
    """

    ran: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    asked: list[Any] = field(default_factory=list)
    runs: list[str | None] = field(default_factory=list)
    heard: list[str] = field(default_factory=list)
    error: str | None = None
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    stalls: bool = False

    async def decide(self, request: Any) -> Any:
        """The policy: eve gets nothing, and a mention of a failure is one."""
        arguments = request["context"]["arguments"]
        self.asked.append(arguments)
        if self.stalls:
            self.reached.set()
            await asyncio.Event().wait()
        to = arguments.get("to")
        if to == "failure":
            raise RuntimeError("the policy engine broke")
        if to == "eve":
            return {"decision": False, "context": {"reason_user": "eve is not on the list"}}
        return {"decision": True}

    def note(self, tool: str, **arguments: Any) -> None:
        """Notes that a tool runs."""
        self.ran.append((tool, arguments))
        self.runs.append(current_run())

    def send(self, to: str, copies: int = 1) -> str:
        """Sends something to somebody."""
        self.note("send", to=to, copies=copies)
        return f"sent to {to}"

    def broken(self, to: str) -> str:
        """Sends something and fails."""
        self.note("broken", to=to)
        raise RuntimeError("the tool broke")

    async def hang(self, to: str) -> str:
        """Never ends by itself."""
        self.note("hang", to=to)
        self.reached.set()
        await asyncio.Event().wait()
        return to


class Side(Protocol):
    """What the module of a framework has.

    `play` runs an agent AGENT with the tools of the world through a gate.
    """

    PACKAGE: str

    async def play(self, gate: Gate, world: World, script: Script, wanted: Wanted) -> None: ...

    def play_in_threads(self, gate: Gate, world: World, script: Script) -> None:
        """As `play`, where the framework has a way without an event loop."""
        ...

    async def resume(self, gate: Gate, world: World, call: Call) -> None:
        """Plays one call that waits for an approval, and the resume after it."""
        ...


@dataclass
class Stage:
    """Where cases are played."""

    side: Side
    name: str
    gateway: Callable[..., ProcessGateway]

    def gate(self, world: World, case: str, **options: Any) -> Gate:
        options = {"timeout": SECONDS, "decide": world.decide, **options}
        return Gate(self.shared, user=f"{self.name}/{case}", **options)

    def __post_init__(self) -> None:
        self.shared = self.gateway()


def send(to: str, id: str = "c-1", **more: Any) -> Call:  # noqa: A002
    return Call("send", {"to": to, **more}, id)


async def allowed(stage: Stage, world: World) -> None:
    gate = stage.gate(world, "allowed")
    await stage.side.play(gate, world, [[send("ada", copies=2)]], Wanted())


async def denied(stage: Stage, world: World) -> None:
    await stage.side.play(stage.gate(world, "denied"), world, [[send("eve")]], Wanted())


async def failing_policy(stage: Stage, world: World) -> None:
    await stage.side.play(stage.gate(world, "failing_policy"), world, [[send("failure")]], Wanted())


async def failing_check(stage: Stage, world: World) -> None:
    def check(*_: Any) -> None:
        raise RuntimeError("the check broke")

    gate = stage.gate(world, "failing_check", check=check)
    await stage.side.play(gate, world, [[send("ada")]], Wanted())


async def away(stage: Stage, world: World) -> None:
    with stage.gateway(url="http://127.0.0.1:9") as gateway:  # nobody listens there
        gate = Gate(gateway, decide=world.decide, timeout=1)
        await stage.side.play(gate, world, [[send("ada")]], Wanted())


async def failing_gate(stage: Stage, world: World) -> None:
    """An error that no gateway raises: an option that there is none of."""
    gate = stage.gate(world, "failing_gate", nonsense=True)
    await stage.side.play(gate, world, [[send("ada")]], Wanted())


async def cancelled_gate(stage: Stage, world: World) -> None:
    world.stalls = True
    gate = stage.gate(world, "cancelled_gate")
    await _cancelled(stage.side.play(gate, world, [[send("ada")]], Wanted()), world)


async def cancelled_tool(stage: Stage, world: World) -> None:
    gate = stage.gate(world, "cancelled_tool")
    script = [[Call("hang", {"to": "ada"}, "c-1")]]
    await _cancelled(stage.side.play(gate, world, script, Wanted()), world)


async def _cancelled(play: Awaitable[None], world: World) -> None:
    task = asyncio.ensure_future(play)
    reached = asyncio.ensure_future(world.reached.wait())
    await asyncio.wait({task, reached}, return_when=asyncio.FIRST_COMPLETED)
    reached.cancel()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def edited(stage: Stage, world: World) -> None:
    gate = stage.gate(world, "edited")
    await stage.side.play(gate, world, [[send("ada")]], Wanted(edit={"to": "bob"}))


async def edited_to_denied(stage: Stage, world: World) -> None:
    gate = stage.gate(world, "edited_to_denied")
    await stage.side.play(gate, world, [[send("ada")]], Wanted(edit={"to": "eve"}))


async def edited_late(stage: Stage, world: World) -> None:
    gate = stage.gate(world, "edited_late")
    await stage.side.play(gate, world, [[send("ada")]], Wanted(edit={"to": "eve"}, late=True))


async def cut_off(stage: Stage, world: World) -> None:
    """Of two calls the second is where the model's answer ends at its limit of tokens."""
    gate = stage.gate(world, "cut_off")
    script = [[send("ada"), send("bob", "c-2", copies=15)]]
    await stage.side.play(gate, world, script, Wanted(cut_off=True))


async def asked_again(stage: Stage, world: World) -> None:
    """The model tries again what it did."""
    gate = stage.gate(world, "asked_again")
    await stage.side.play(gate, world, [[send("ada")], [send("ada", "c-2")]], Wanted())


async def same_id(stage: Stage, world: World) -> None:
    """As `asked_again`, and the model gives both calls one id: two calls all the same."""
    gate = stage.gate(world, "same_id")
    await stage.side.play(gate, world, [[send("ada")], [send("ada")]], Wanted())


async def retried(stage: Stage, world: World) -> None:
    gate = stage.gate(world, "retried")
    await stage.side.play(gate, world, [[Call("broken", {"to": "ada"}, "c-1")]], Wanted(retry=True))


async def resumed(stage: Stage, world: World) -> None:
    await stage.side.resume(stage.gate(world, "resumed"), world, send("ada"))


async def parallel(stage: Stage, world: World) -> None:
    calls = [send(to, f"c-{to}") for to in ("ada", "eve", "bob", "cy")]
    await stage.side.play(stage.gate(world, "parallel"), world, [calls], Wanted())


async def threads(stage: Stage, world: World) -> None:
    """As `parallel`, without an event loop."""
    calls = [send(to, f"c-{to}") for to in ("ada", "eve", "bob", "cy")]
    gate = stage.gate(world, "threads")
    await asyncio.to_thread(stage.side.play_in_threads, gate, world, [calls])


async def from_mcp(stage: Stage, world: World) -> None:
    """The tools are those of an MCP server, which is another process."""
    gate = stage.gate(world, "from_mcp")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ran"
        file.touch()
        wanted = Wanted(server=[str(Path(__file__).parent / "mcp_server.py"), str(file)])
        await stage.side.play(gate, world, [[send("ada"), send("eve", "c-2")]], wanted)
        world.ran += [(tool, arguments) for tool, arguments in map(json.loads, file.open())]


async def failing_tool(stage: Stage, world: World) -> None:
    gate = stage.gate(world, "failing_tool")
    await stage.side.play(gate, world, [[Call("broken", {"to": "ada"}, "c-1")]], Wanted())


async def helped(stage: Stage, world: World) -> None:
    gate = stage.gate(world, "helped")
    script = [[Call("helper", {"input": "help"}, "c-1")]]
    await stage.side.play(gate, world, script, Wanted(helper=[[send("ada", "h-1")]]))


async def handed_over(stage: Stage, world: World) -> None:
    """All of it is a governed job's, which the calls of both agents have for a parent."""
    gate = stage.gate(world, "handed_over")
    job = stage.shared.call("job", agent="host", timeout=SECONDS, decide=world.decide)
    async with job as run:
        await stage.side.play(gate, world, [[send("ada")]], Wanted(handoff=[[send("bob", "c-2")]]))
        run.result(None)
    world.runs.append(run.execution)


CASES: dict[str, Callable[[Stage, World], Awaitable[None]]] = {
    one.__name__: one
    for one in (
        allowed,
        denied,
        failing_policy,
        failing_check,
        failing_gate,
        away,
        cancelled_gate,
        cancelled_tool,
        edited,
        edited_to_denied,
        edited_late,
        cut_off,
        asked_again,
        same_id,
        retried,
        resumed,
        parallel,
        threads,
        from_mcp,
        failing_tool,
        helped,
        handed_over,
    )
}
