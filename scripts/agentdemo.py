# pyright: reportMissingImports=false
"""The demo with an agent: an MCP server behind the gate, and a model that follows a script.

The server, its client and both protocols are real (the package `mcp`); only the model is not. It
says what it was told to say, so that the same happens every time, without any network.
"""

import asyncio
import hashlib
import os
import sys
from pathlib import Path
from typing import Any

from deployment import BIN, DeploymentError
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from telling import Demo, say, step

HERE = Path(__file__).resolve().parent
SECURITY = "security.example/desk"
RULES = """\
permit(principal == identity::"planner", action == Action::"tools/call", resource == tool::"find_customer");
permit(principal == identity::"planner", action == Action::"tools/call", resource == tool::"send_invoice")
  when { context.arguments.euros <= 100 };
permit(principal, action, resource == mcp_server::"crm");
"""  # noqa: E501  # a rule a line, as it is shown


class Agent:
    """An agent whose model follows a script: it says something, and wants a tool called."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def call(self, thought: str, tool: str, **arguments: Any) -> bool:
        """Let the model say something and call a tool; return whether the tool ran."""
        shown = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
        say(f"  model: {thought}")
        say(f"  agent: calls {tool}({shown})")
        result = await self._client.call_tool(tool, arguments)
        text = "".join(getattr(one, "text", "") for one in result.content)
        say(f"  model reads: {text}")
        return not result.is_error


def start_everything(demo: Demo) -> tuple[list[str], str]:
    """Start log, witnesses, gateway key and replica; return the server's command, and its key."""
    step("1. A log, and three witnesses that watch it. The policy believes two of the three.")
    log_keys = demo.make_log()
    demo.write_policy(log_keys, demo.start_witnesses(log_keys), 2)
    security = demo.make_gateway(SECURITY, "security.pem")
    demo.configure_log(gateways=[security])
    url = demo.start_log()
    say(f"  log at {url}")

    step("2. The gateway, and what its agent may do. The log takes decisions signed by its key.")
    (demo.place / "authz.cedar").write_text(RULES, encoding="utf-8")
    argv = ("init", "gateway", "--name", "gw.example/edge", "--log", url)
    gateway = demo.command(
        "muniment-gateway", *argv, "--policy", "trust.policy", "--cedar", "authz.cedar"
    ).strip()
    for line in RULES.splitlines():
        say(f"  | {line}")
    with (demo.place / "log" / "log.toml").open("a", encoding="utf-8") as config:
        config.write(f'\n[[gateway]]\nvkey = "{gateway}"\n')
    demo.command("muniment-log", "reload", "--config", "log/log.toml")
    # The key of the program that runs the tools: permits are for it alone.
    thumbprint = f"sha256:{hashlib.sha256(os.urandom(32)).hexdigest()}"
    config_file = demo.place / "gateway" / "gateway.toml"
    text = config_file.read_text(encoding="utf-8")
    config_file.write_text(
        f'{text}\n[permit]\nthumbprint = "{thumbprint}"\n'.replace(
            "# deadline_seconds = 3.0", "deadline_seconds = 5.0"
        ),
        encoding="utf-8",
    )

    step(
        "3. The tools: an MCP server that runs nothing without a permit, which it verifies itself."
    )
    say("  It asks nobody: it has the policy, the keys of two gateways, and a copy of the log.")
    follow = ("muniment", "follow", url, "--policy", "trust.policy", "--replica", "replica.db")
    say(f"  $ {' '.join(follow)} &")
    demo.run_beside("follow", *follow, "--interval", "0.1")
    tools = [sys.executable, str(HERE / "agenttools.py"), "trust.policy", "replica.db", "ran"]
    return [*tools, thumbprint, gateway, security], thumbprint


async def tell(demo: Demo, server: list[str], thumbprint: str) -> None:
    """The agent's story, from its first call to the log that is gone."""
    argv = ["mcp", "--config", "gateway/gateway.toml", "--subject", "planner", "--server", "crm"]
    step("4. The agent starts the tools by way of the gate, and calls one that it may.")
    say(f"  $ muniment-gateway {' '.join(argv)} -- <the MCP server>")
    ran = demo.place / "ran"
    with (demo.place / "gate.err").open("w") as log:
        gate = StdioServerParameters(
            command=str(BIN / "muniment-gateway"), args=[*argv, "--", *server], cwd=demo.place
        )
        async with Client(stdio_client(gate, errlog=log)) as client:
            agent = Agent(client)
            expect(await agent.call("Who is Ada?", "find_customer", name="Ada"), ran=True)
            say("  The gateway asked its rules, logged the answer, waited for two witnesses, and")
            say(
                "  sent the permit along. The tool verified it, and ran: " + ran.read_text().strip()
            )
            expect(await agent.call("She owes 80.", "send_invoice", customer=7, euros=80), ran=True)

            step("5. It calls what it may not: other arguments, another tool.")
            expect(
                await agent.call("Make it 8000.", "send_invoice", customer=7, euros=8000),
                ran=False,
            )
            expect(await agent.call("Tidy up.", "delete_customer", customer=7), ran=False)
            say("  Both denials are in the log as well.")

            step("6. It goes around the gate, straight to the tools.")
            with (demo.place / "tools.err").open("w") as errors:
                bare = StdioServerParameters(command=server[0], args=server[1:], cwd=demo.place)
                async with Client(stdio_client(bare, errlog=errors)) as direct:
                    around = Agent(direct)
                    expect(
                        await around.call("Who needs a gate?", "delete_customer", customer=7),
                        ran=False,
                    )

            step(
                "7. The security desk takes the tools' key back. The gateway's rules still say yes."
            )
            demo.command(
                *("muniment", "revoke", "--log", demo.urls["log"], "--key", "security.pem"),
                *("--revoked-key", thumbprint, "--reason", "the host was broken into"),
                *("--policy", "trust.policy"),
            )
            expect(
                await agent.call("And Bob?", "find_customer", name="Bob"),
                ran=False,
            )
            say("  The gateway gave a permit; the tool saw the revocation in its copy of the log.")

            step("8. The log is gone. Whatever the agent asks for is denied.")
            demo.end("log")
            say("  (the log is stopped)")
            expect(await agent.call("Who is Ada?", "find_customer", name="Ada"), ran=False)
            expect(await agent.call("Once more!", "send_invoice", customer=7, euros=1), ran=False)
            say("  Nobody could have proven these calls later, so they do not happen. The denials")
            say("  wait beside the gateway, and are logged when the log is back.")
    demo.end("follow")

    step("9. What ran, and what the log has about it, from the copy: nobody has to be asked.")
    for line in ran.read_text().splitlines():
        say(f"  ran: {line}")
    found = demo.command(
        "muniment", "find", "--replica", "replica.db", "--subject", "identity:planner"
    )
    for line in found.splitlines():
        if "tools/call" in line:
            say(f"  {line}")


def expect(did_run: bool, *, ran: bool) -> None:  # noqa: FBT001
    """End the demo when it does not show what it says."""
    if did_run is not ran:
        raise DeploymentError(f"the tool {'ran' if did_run else 'did not run'}, see above")


def story(demo: Demo) -> None:
    """The whole demo."""
    server, thumbprint = start_everything(demo)
    asyncio.run(tell(demo, server, thumbprint))
