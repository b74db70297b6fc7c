"""Two gateways that let agents call tools, as aiohttp services; and their callers.

    python agents.py serve --config east.json       a gateway service, until it is stopped
    python agents.py call URL TOOL ARGUMENT [--run RUN]

A service hosts one agent. Its tools are governed: each call asks the policy, is logged and
cosigned, is judged on the service's own verified replica, and only then runs. A run that another
service has started is continued by the header ``Muniment-Run``.
"""

import argparse
import asyncio
import json
import sys
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from muniment import Denied, Gateway, parse_policy, read_key_file, signer_for
from muniment.gateway.governed import Call, governed
from muniment.gateway.guard import Guard
from muniment.gateway.runs import current_run, running
from muniment.local.lifecycle import stop_requested
from muniment.permit import Context, ExpectedPolicy, Permit, Trust
from muniment.records.kinds import Entity

POLICY_ID, REVISION = "tools", "7"
RUN_HEADER = "Muniment-Run"


class Service:
    """One agent behind one gateway."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.agent: str = config["agent"]
        self.spiffe_id: str = config["spiffe_id"]
        trust = parse_policy(Path(config["policy"]).read_bytes())
        key = read_key_file(Path(config["key"]))
        assert key.vkey is not None
        self.gateway = Gateway(
            config["log"],
            signer_for(key.vkey.name, key.private, use="gateway"),
            policy=trust,
            stream=self.agent,
            spool=config["spool"],
            deadline=config.get("deadline", 5.0),
        )
        self.guard = Guard(Trust(policy=trust), config["replica"])
        self.permits = Path(config["permits"])
        rules: dict[str, Any] = {
            "decide": self.decide,
            "subject": {"type": "agent", "id": self.agent},
            "delegator": config.get("delegator"),
            "complete": self.complete,
            "check": self.check,
        }
        self.tools = {
            name: governed(self.gateway, resource={"type": "tool", "id": name}, **rules)(tool)
            for name, tool in (("search", self.search), ("plan", self.plan))
        }

    # The tools

    async def search(self, argument: str) -> str:
        return f"{self.agent} found {argument}"

    async def plan(self, argument: str) -> str:
        """The orchestrator's own tool: asks another agent, as part of this run."""
        answers = [await call(url, "search", argument) for url in self.config["peers"]]
        return json.dumps(answers)

    # The policy, and what it grants

    def decide(self, request: Any) -> dict[str, Any]:
        """Stands in for a policy engine: which agent may call which tool."""
        return {"decision": request["resource"]["id"] in self.config["allowed"]}

    def complete(self, call: Call, decision: dict[str, Any]) -> dict[str, Any]:
        """Adds the authorization artifact: to whom, for what, until when, on whose behalf."""
        if not decision["response"]["decision"]:
            return decision
        now = int(time.time())
        actor: dict[str, Any] = {"sub": self.agent}
        if "delegator" in self.config:
            actor["act"] = {"sub": self.config["delegator"]}
        return decision | {
            "artifact": {
                "scope": {"actions": ["call"], "resources": [dict(call.request["resource"])]},
                "binding": {"spiffe_id": self.spiffe_id},
                "policy": {
                    "id": POLICY_ID,
                    "revision": REVISION,
                    "digest": f"sha256:{sha256(b'tools 7').hexdigest()}",
                },
                "validity": {"not_before": now - 5, "not_after": now + 300},
                "attribution": {"authority": "acme", "act": actor},
            }
        }

    async def check(self, permit: Permit, call: Call) -> None:
        """The runtime's own judgement, on what it knows of itself and of the log."""
        resource = call.request["resource"]
        known: dict[str, Any] = {
            "action": call.request["action"]["name"],
            "resource": resource,
            "execution": call.execution,
            "spiffe_id": self.spiffe_id,
            "policy": {"id": POLICY_ID, "revision": REVISION},
        }
        if call.parent is not None:
            known["parent"] = call.parent
        # Kept for people and for the command line; nothing here depends on these files.
        (self.permits / f"{call.execution}.permit").write_bytes(permit.encode())
        (self.permits / f"{self.agent}.run").write_text(call.execution)
        (self.permits / f"{self.agent}.context.json").write_text(json.dumps(known))
        context = Context(
            now=int(time.time()),
            action=call.request["action"]["name"],
            resource=Entity(resource["type"], resource["id"]),
            execution=call.execution,
            parent=call.parent,
            spiffe_id=self.spiffe_id,
            policy=ExpectedPolicy(id=POLICY_ID, revision=REVISION),
        )
        await self.guard.check(permit, context)

    # HTTP

    async def handle(self, request: web.Request) -> web.Response:
        tool = self.tools.get(request.match_info["tool"])
        if tool is None:
            raise web.HTTPNotFound
        body = await request.json()
        parent = request.headers.get(RUN_HEADER)
        try:
            if parent is None:
                result = await tool(body["argument"])
            else:
                with running(parent):
                    result = await tool(body["argument"])
        except Denied as denied:
            return web.json_response(
                {"denied": denied.codes, "reasons": denied.reasons, "leaf": denied.index},
                status=403,
            )
        return web.json_response({"result": result})

    async def serve(self) -> None:
        stop = stop_requested()  # before anybody is told that the service is ready
        app = web.Application()
        app.router.add_post("/tools/{tool}", self.handle)
        async with self.gateway:
            runner = web.AppRunner(app)
            await runner.setup()
            host, _, port = self.config["listen"].rpartition(":")
            await web.TCPSite(runner, host, int(port)).start()
            host, port = runner.addresses[0][:2]
            print(json.dumps({"event": "ready", "url": f"http://{host}:{port}"}), flush=True)
            await stop
            await runner.cleanup()


async def call(url: str, tool: str, argument: str, run: str | None = None) -> Any:
    """Calls a tool of a service; hands on the current run."""
    run = run or current_run()
    headers = {} if run is None else {RUN_HEADER: run}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{url}/tools/{tool}", json={"argument": argument}, headers=headers) as answer,
    ):
        return await answer.json()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    commands = parser.add_subparsers(dest="command", required=True)
    serving = commands.add_parser("serve")
    serving.add_argument("--config", type=Path, required=True)
    calling = commands.add_parser("call")
    calling.add_argument("url")
    calling.add_argument("tool")
    calling.add_argument("argument")
    calling.add_argument("--run")
    options = parser.parse_args()
    if options.command == "serve":
        config = json.loads(options.config.read_text())
        Path(config["permits"]).mkdir(exist_ok=True)
        asyncio.run(Service(config).serve())
        return 0
    answer = asyncio.run(call(options.url, options.tool, options.argument, options.run))
    print(json.dumps(answer))
    return 1 if "denied" in answer else 0


if __name__ == "__main__":
    sys.exit(main())
