#!/usr/bin/env bash
# An argument that a hook of LangChain.js takes out of an MCP call is sent all the same.
#
# Packages: @langchain/mcp-adapters 1.1.4, @langchain/core 1.4.0, @modelcontextprotocol/sdk 1.32.2 (npm).
# Seen: a model calls send with {"to":"ada","cc":"eve"}. The client's beforeToolCall hook gives back the arguments
#   without cc. The MCP server gets {"to":"ada","cc":"eve"}. afterToolCall is told that these were the
#   arguments, so nobody but the hook knows of its edit. A hook that gives back another value for cc is
#   obeyed, and so is one that says cc: undefined, which JSON has no word for.
# Not expected because: the hook returns `args`, and in the package's own example all of them, with one more: as
#   what is to be sent, not as a patch over what the model wrote. "Add/override an argument" is all that its
#   README says of it.
# For users: a hook that sends a call without its copy or its attachment has its record say so, and the effect
#   has them. Set what is to go to undefined, or throw, which refuses the call; or put the MCP gate behind the
#   client, which decides on what is sent.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without npm or Node.
set -euo pipefail
command -v npm >/dev/null || { echo "skipped: npm is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund \
  @langchain/mcp-adapters@1.1.4 @langchain/core@1.4.0 @modelcontextprotocol/sdk@1.32.2
cat >server.mjs <<'JS'
import { Server } from "@modelcontextprotocol/sdk/server/index.js";
import { StdioServerTransport } from "@modelcontextprotocol/sdk/server/stdio.js";
import { CallToolRequestSchema, ListToolsRequestSchema } from "@modelcontextprotocol/sdk/types.js";

const server = new Server({ name: "mail", version: "1" }, { capabilities: { tools: {} } });
const inputSchema = { type: "object", properties: { to: { type: "string" }, cc: { type: "string" } }, required: ["to"] };
server.setRequestHandler(ListToolsRequestSchema, () => ({ tools: [{ name: "send", inputSchema }] }));
server.setRequestHandler(CallToolRequestSchema, ({ params }) => ({ content: [{ type: "text", text: JSON.stringify(params.arguments) }] }));
await server.connect(new StdioServerTransport());
JS
cat >main.mjs <<'JS'
import { MultiServerMCPClient } from "@langchain/mcp-adapters";

const written = { to: "ada", cc: "eve" };
let same = true;
for (const [title, hook, sent] of [
  ["leaves cc out", ({ args: { cc, ...others } }) => ({ args: others }), written],
  ["sets cc to bob", ({ args }) => ({ args: { ...args, cc: "bob" } }), { to: "ada", cc: "bob" }],
  ["sets cc to undefined", ({ args }) => ({ args: { ...args, cc: undefined } }), { to: "ada" }],
]) {
  let told;
  const client = new MultiServerMCPClient({
    mcpServers: { mail: { transport: "stdio", command: process.execPath, args: ["server.mjs"] } },
    beforeToolCall: hook,
    afterToolCall: ({ args }) => { told = JSON.stringify(args); },
  });
  const [send] = await client.getTools();
  const got = await send.invoke({ ...written });
  await client.close();
  console.log(`a hook that ${title}: the server gets ${got}, afterToolCall is told ${told}`);
  same &&= got === JSON.stringify(sent) && told === got;
}
if (!same) console.log("changed: what a hook leaves out is not sent, or is sent otherwise");
process.exit(same ? 0 : 1);
JS
timeout 120 node main.mjs
