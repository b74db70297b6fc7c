#!/usr/bin/env bash
# A run of Strands for TypeScript that a hook's error ends goes on: the model is asked again, and tools run.
#
# Packages: @strands-agents/sdk 1.19.0 (npm), on Node.js 20 or newer.
# Seen: an AfterToolCallEvent hook writes each call down, and raises at the first, as its journal is away. The
#   model made that call, and would make two more. The agent goes on behind the error: it asks the model three
#   times more, with prompts that have neither the call nor its result, and runs both calls. Only then does
#   invoke() raise, with the error of the first. The agent's messages have the two later calls as successes,
#   and the first, which has run too, is in none. An AfterModelCallEvent hook that raises ends the run at once.
# Not expected because: an error that leaves invoke() reads as one that the run ended with, and what runs in
#   between runs within the clean-up of a run that has failed. Upstream's pull request 737, which brought that
#   clean-up, is about events that are to be heard after an error, not about the model and the tools.
# For users: effects come after the error, and a caller who tries again makes them again. Catch inside of the
#   hook whatever it raises, and end the run by what the events have for it: `event.cancel` before a call,
#   `event.endTurn` after the tools.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without npm or Node.
set -euo pipefail
command -v npm >/dev/null || { echo "skipped: npm is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund @strands-agents/sdk@1.19.0 zod@4.6.7
cat >main.mjs <<'JS'
import { AfterModelCallEvent, AfterToolCallEvent, AfterToolsEvent, Agent, Model, tool } from "@strands-agents/sdk";
import { z } from "zod";

// A model that makes three calls, one after the other, and then says that it is done.
class Scripted extends Model {
  prompts = [];
  updateConfig() {}
  getConfig() { return { modelId: "scripted" }; }
  async *stream(messages) {
    this.prompts.push(JSON.stringify(messages));
    const start = { type: "toolUseStart", name: "pay", toolUseId: `call-${this.prompts.length}` };
    const calls = this.prompts.length <= 3;
    yield { type: "modelMessageStartEvent", role: "assistant" };
    yield { type: "modelContentBlockStartEvent", ...(calls && { start }) };
    yield { type: "modelContentBlockDeltaEvent", delta: calls
      ? { type: "toolUseInputDelta", input: '{"to":"ada"}' } : { type: "textDelta", text: "done" } };
    yield { type: "modelContentBlockStopEvent" };
    yield { type: "modelMessageStopEvent", stopReason: calls ? "toolUse" : "endTurn" };
  }
}

// run has `hook` be called at each event of a kind, and gives what was asked, ran, was raised and is kept.
async function run(kind, hook) {
  const seen = { ran: 0, raised: null };
  const inputSchema = z.object({ to: z.string() });
  const pay = tool({ name: "pay", description: "Pay.", inputSchema, callback: () => { seen.ran += 1; return "paid"; } });
  const model = new Scripted();
  const agent = new Agent({ model, tools: [pay], printer: false });
  let heard = 0;
  agent.addHook(kind, (event) => hook(event, (heard += 1)));
  try { await agent.invoke("Pay Ada."); } catch (error) { seen.raised = error.message; }
  const blocks = agent.messages.flatMap((message) => message.content);
  const results = blocks.filter((block) => block.type === "toolResultBlock").map((block) => `${block.toolUseId} ${block.status}`);
  const told = model.prompts.some((prompt) => prompt.includes("call-1"));
  return JSON.stringify({ ...seen, asked: model.prompts.length, results, told });
}

const raise = (_, heard) => { if (heard === 1) throw new Error("the journal is away"); };
let same = true;
for (const [title, kind, hook, expected] of [
  ["raises after the first call", AfterToolCallEvent, raise,
    { ran: 3, raised: "the journal is away", asked: 4, results: ["call-2 success", "call-3 success"], told: false }],
  ["raises after the model's answer", AfterModelCallEvent, raise,
    { ran: 0, raised: "the journal is away", asked: 1, results: [], told: false }],
  ["ends the turn after the tools", AfterToolsEvent, (event) => { event.endTurn = true; },
    { ran: 1, raised: null, asked: 1, results: ["call-1 success"], told: false }],
]) {
  const seen = await run(kind, hook);
  console.log(`a hook that ${title}: ${seen}`);
  same &&= seen === JSON.stringify(expected);
}
if (!same) console.log("changed: a run ends, or goes on, in another way once a hook has raised");
process.exit(same ? 0 : 1);
JS
timeout 120 node main.mjs
