#!/usr/bin/env bash
# What a hook puts into a tool's arguments is stored as what the model wrote, and read by the model.
#
# Packages: @google/adk 2.0.0, @strands-agents/sdk 1.19.0, @voltagent/core 2.10.0, ai 6.0.326 (npm).
# Seen: a model calls pay with {"to":"ada"}. A hook before the call puts a credential for the tool into its
#   arguments, which each of these may change: beforeToolCallback, BeforeToolCallEvent, onToolStart. In all three the
#   arguments of the hook are the very object of the model's message. So the session or the messages of
#   the agent, and the next prompt, have the call as {"to":"ada","credential":"secret-1"}, by the model.
#   Nothing has the call as the model made it, nor a note that a hook has changed it.
# Not expected because: an assistant's message is what the model said, and what is put in behind it is for the
#   tool. In Google's ADK for Python the same callback changes a copy, and an open pull request of the one for
#   TypeScript (770) would. Strands documents that a hook may change the input, not that it is the message's.
# For users: a transcript does not tell what the model asked for from what a policy made of it, and a secret that
#   was for the tool goes to the model's provider and into what is kept of the session. Put such values in
#   inside of the tool; for Strands set `event.toolUse = { ...event.toolUse, input: {…} }`, which leaves
#   the message as it was. Take evidence of what was asked where the model's answer arrives.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without npm or Node.
set -euo pipefail
command -v npm >/dev/null || { echo "skipped: npm is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund \
  @google/adk@2.0.0 @strands-agents/sdk@1.19.0 @voltagent/core@2.10.0 ai@6.0.326 zod@4.6.7
cat >main.mjs <<'JS'
import { BaseLlm, FunctionTool, InMemoryRunner, LlmAgent } from "@google/adk";
import { Agent as Strands, BeforeToolCallEvent, Model, tool } from "@strands-agents/sdk";
import { Agent as Volt, createTool } from "@voltagent/core";
import { MockLanguageModelV3 } from "ai/test";
import { z } from "zod";

const written = { to: "ada" };
const credential = "secret-1";
const parameters = z.object({ to: z.string(), credential: z.string().optional() });
const copy = (value) => JSON.parse(JSON.stringify(value));

// Each function has a model make one call, and gives the next prompt and what the framework keeps.

async function adk() {
  const prompts = [];
  class Scripted extends BaseLlm {
    async *generateContentAsync({ contents }) {
      const call = { functionCall: { id: "call-1", name: "pay", args: copy(written) } };
      yield { content: { role: "model", parts: [prompts.push(copy(contents)) === 1 ? call : { text: "done" }] } };
    }
  }
  const pay = new FunctionTool({ name: "pay", description: "Pay.", parameters, execute: () => ({ paid: true }) });
  const agent = new LlmAgent({ name: "clerk", model: new Scripted({ model: "scripted" }), tools: [pay],
    beforeToolCallback: ({ args }) => { args.credential = credential; } });
  const runner = new InMemoryRunner({ agent, appName: "app" });
  const of = { appName: "app", userId: "ada" };
  const { id } = await runner.sessionService.createSession(of);
  const newMessage = { role: "user", parts: [{ text: "Pay Ada." }] };
  for await (const _ of runner.runAsync({ userId: "ada", sessionId: id, newMessage }));
  const { events } = await runner.sessionService.getSession({ ...of, sessionId: id });
  const call = (contents) => contents.flatMap(({ parts }) => parts).find((part) => part.functionCall).functionCall.args;
  return { prompt: call(prompts[1]), kept: call(events.map((event) => event.content)) };
}

async function strands(inPlace) {
  const prompts = [];
  const ran = [];
  class Scripted extends Model {
    updateConfig() {}
    getConfig() { return { modelId: "scripted" }; }
    async *stream(messages) {
      const first = prompts.push(copy(messages)) === 1;
      yield { type: "modelMessageStartEvent", role: "assistant" };
      yield { type: "modelContentBlockStartEvent", ...(first && { start: { type: "toolUseStart", name: "pay", toolUseId: "call-1" } }) };
      yield { type: "modelContentBlockDeltaEvent", delta: first
        ? { type: "toolUseInputDelta", input: JSON.stringify(written) } : { type: "textDelta", text: "done" } };
      yield { type: "modelContentBlockStopEvent" };
      yield { type: "modelMessageStopEvent", stopReason: first ? "toolUse" : "endTurn" };
    }
  }
  const pay = tool({ name: "pay", description: "Pay.", inputSchema: parameters, callback: (input) => { ran.push(input); return "paid"; } });
  const agent = new Strands({ model: new Scripted(), tools: [pay], printer: false });
  agent.addHook(BeforeToolCallEvent, (event) => {
    if (inPlace) event.toolUse.input.credential = credential;
    else event.toolUse = { ...event.toolUse, input: { ...event.toolUse.input, credential } };
  });
  await agent.invoke("Pay Ada.");
  const call = (messages) => messages.flatMap(({ content }) => content).find((block) => block.toolUse).toolUse.input;
  return { prompt: call(prompts[1]), kept: call(copy(agent.messages)), ran: ran[0] };
}

async function voltagent() {
  const prompts = [];
  const usage = { inputTokens: {}, outputTokens: {} };
  const model = new MockLanguageModelV3({ doGenerate: async ({ prompt }) => prompts.push(copy(prompt)) === 1
    ? { content: [{ type: "tool-call", toolCallId: "call-1", toolName: "pay", input: JSON.stringify(written) }],
      finishReason: { unified: "tool-calls" }, usage, warnings: [] }
    : { content: [{ type: "text", text: "done" }], finishReason: { unified: "stop" }, usage, warnings: [] } });
  const pay = createTool({ name: "pay", description: "Pay.", parameters, execute: async () => "paid" });
  const agent = new Volt({ name: "clerk", instructions: "Pay.", model, tools: [pay],
    hooks: { onToolStart: ({ args }) => { args.credential = credential; } } });
  const { response } = await agent.generateText("Pay Ada.");
  const call = (messages) => messages.find((message) => message.role === "assistant").content[0].input;
  return { prompt: call(prompts[1]), kept: call(response.messages) };
}

const changed = JSON.stringify({ ...written, credential });
let status = 0;
for (const [name, seen] of [["ADK", await adk()], ["Strands", await strands(true)], ["VoltAgent", await voltagent()]]) {
  console.log(`${name}: the model wrote ${JSON.stringify(written)};`, JSON.stringify(seen));
  if (JSON.stringify(seen.prompt) !== changed || JSON.stringify(seen.kept) !== changed) status = 1;
}
const replaced = await strands(false);
console.log("Strands, with toolUse replaced:", JSON.stringify(replaced));
if (JSON.stringify(replaced.kept) !== JSON.stringify(written) || JSON.stringify(replaced.ran) !== changed) status = 1;
if (status) console.log("changed: a hook's edit is kept apart from what the model wrote, or in another way");
process.exit(status);
JS
timeout 120 node main.mjs 2>log || { status=$?; tail -n 3 log; exit "$status"; }
