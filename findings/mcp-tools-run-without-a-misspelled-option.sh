#!/usr/bin/env bash
# An agent asks an MCP server to preview an edit, spells the option otherwise, and the edit is made.
#
# Packages: @modelcontextprotocol/server-filesystem 2026.8.31, @modelcontextprotocol/sdk 1.32.2, zod 4.6.7 and 3.25.76
#   (npm), mcp 2.3.0, fastmcp 4.2.3 (PyPI).
# Seen: edit_file of MCP's own server for files has the option dryRun. A call with dry_run true is valid by the schema
#   that the server lists; it answers with the diff, no error, and has changed the file. Servers of the TypeScript
#   SDK leave out what they do not know, within objects too. With zod 4 their schema does not forbid it; the same code
#   with zod 3 lists "additionalProperties": false, and leaves it out all the same. Servers of mcp do as with zod 4.
#   FastMCP forbids it, and refuses the call.
# Not expected because: a tool that cannot follow an instruction is expected to say so before it acts, and a schema that
#   forbids a member is expected to be what the server checks.
# For users: a policy that looks at the arguments, and the record of the call, have dry_run true, for a tool that ran in
#   earnest. Let a policy deny members that the tool's listed schema does not name; in a server of your own take
#   z.strictObject, in Python a model with extra="forbid".
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3 or Node.js.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
command -v npm >/dev/null || { echo "skipped: Node.js is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund @modelcontextprotocol/server-filesystem@2026.8.31 \
  @modelcontextprotocol/sdk@1.32.2 zod@4.6.7 zod3@npm:zod@3.25.76
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check mcp==2.3.0 fastmcp==4.2.3
cat >run.mjs <<'JS'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { InMemoryTransport } from '@modelcontextprotocol/sdk/inMemory.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { z as zod3 } from 'zod3';
import { z as zod4 } from 'zod';

function expect(what, seen, expected) {
  console.log(`${what}: ${JSON.stringify(seen)}`);
  if (JSON.stringify(seen) === JSON.stringify(expected)) return;
  console.log(`changed: expected ${JSON.stringify(expected)}`);
  process.exit(1);
}

// The server for files, by its own command.
mkdirSync('files');
const file = `${process.cwd()}/files/letter.txt`;
const args = ['node_modules/@modelcontextprotocol/server-filesystem/dist/index.js', `${process.cwd()}/files`];
const files = new Client({ name: 'agent', version: '1' });
await files.connect(new StdioClientTransport({ command: 'node', args, stderr: 'ignore' }));
const { inputSchema } = (await files.listTools()).tools.find(({ name }) => name === 'edit_file');
const says = [Object.keys(inputSchema.properties), inputSchema.additionalProperties ?? 'not said'];
expect('edit_file lists', says, [['path', 'edits', 'dryRun'], 'not said']);
for (const [option, after] of [['dryRun', 'one'], ['dry_run', 'two']]) {
  writeFileSync(file, 'one');
  const edit = { path: file, edits: [{ oldText: 'one', newText: 'two' }], [option]: true };
  const { isError = false } = await files.callTool({ name: 'edit_file', arguments: edit });
  expect(`edit_file with ${option}: true`, [isError, readFileSync(file, 'utf8')], [false, after]);
}
await files.close();

// A server of one's own, with either zod.
for (const [name, z, forbids] of [['zod 4', zod4, 'not said'], ['zod 3', zod3, false]]) {
  const server = new McpServer({ name: 'cleaner', version: '1' });
  let got;
  const shape = { path: z.string(), dryRun: z.boolean().optional(), keep: z.object({ days: z.number() }) };
  server.registerTool('clean', { inputSchema: shape }, async (given) => {
    got = given;
    return { content: [] };
  });
  const [one, other] = InMemoryTransport.createLinkedPair();
  await server.connect(one);
  const client = new Client({ name: 'agent', version: '1' });
  await client.connect(other);
  const listed = (await client.listTools()).tools[0].inputSchema.additionalProperties ?? 'not said';
  const given = { path: '/', dry_run: true, keep: { days: 1, weeks: 4 } };
  const { isError = false } = await client.callTool({ name: 'clean', arguments: given });
  const expected = [forbids, false, { path: '/', keep: { days: 1 } }];
  expect(`${name}: additionalProperties, isError, what the tool gets`, [listed, isError, got], expected);
}
JS
timeout 60 node run.mjs
cat >run.py <<'PY'
import asyncio
import sys

import fastmcp
import mcp
from mcp.server.mcpserver import MCPServer


async def call(server, client):
    """Returns what is said of further members, and what the tool gets, or nothing."""
    got = []

    @server.tool()
    def clean(path: str, dry_run: bool = False) -> str:
        got.append((path, dry_run))
        return "cleaned"

    async with client(server) as session:
        tools = await session.list_tools()
        [tool] = getattr(tools, "tools", tools)
        try:
            await session.call_tool("clean", {"path": "/", "dryRun": True})
        except Exception as error:
            print(str(error).splitlines()[-2].strip()[:60])
    return tool.input_schema.get("additionalProperties", "not said"), got


async def main():
    for name, server, client, expected in (
        ("mcp", MCPServer("cleaner"), mcp.Client, ("not said", [("/", False)])),
        ("fastmcp", fastmcp.FastMCP("cleaner"), fastmcp.Client, (False, [])),
    ):
        seen = await call(server, client)
        print(f"{name}: additionalProperties {seen[0]}, the tool gets {seen[1]}")
        if seen != expected:
            sys.exit(f"changed: expected {expected}")


asyncio.run(main())
PY
timeout 60 venv/bin/python run.py 2>errors || { status=$?; tail -n 3 errors; exit "$status"; }
