#!/usr/bin/env bash
# Of two calls of one turn the first runs and the second is refused: nothing says that the first has run.
#
# Packages: @google/adk 2.0.0, genkit 1.42.0 (npm).
# Seen: a model calls pay and, beside it, a tool that is refused by an exception: in ADK of the
#   beforeToolCallback, in Genkit of the tool, or as there is no tool of that name. pay has run by then. In ADK
#   the session gets an event with the error's text, and no result of pay; the agent then goes on by itself
#   and asks the model again, with a prompt that has the two calls, no result and no refusal. A model that
#   calls pay again, as it has no answer, pays again. In Genkit generate() raises, and neither the error nor
#   anything else has the messages: that pay was called at all is nowhere. (For a name that is not there,
#   ADK's issue 789 knows the unanswered calls.)
# Not expected because: each call has an id and an answer of its own, and the first has got its answer.
# For users: a transcript, and a session that goes on, lack an effect; a decision that was allowed looks as if
#   it had not been used, and the next one pays twice. Refuse by a result instead: ADK takes an object that
#   the callback returns, in Genkit have the tool return its refusal; catch all that a policy raises. What
#   ran is on record only where the tool itself writes it.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without npm or Node.
set -euo pipefail
command -v npm >/dev/null || { echo "skipped: npm is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund @google/adk@2.0.0 genkit@1.42.0 zod@4.6.7
cat >main.mjs <<'JS'
import { BaseLlm, FunctionTool, InMemoryRunner, LlmAgent } from "@google/adk";
import { genkit, z as genkitZod } from "genkit";
import { z } from "zod";

// A model of ADK that calls pay and remove, and pay once more if its prompt has no answer to that.
async function adk(beforeToolCallback) {
  const seen = { ran: 0, prompts: [], session: [] };
  class Scripted extends BaseLlm {
    async *generateContentAsync({ contents }) {
      const parts = contents.flatMap((content) => content.parts);
      seen.prompts.push(parts.map((part) => Object.keys(part)[0]).join(" "));
      const call = (name) => ({ functionCall: { id: `${name}-${seen.prompts.length}`, name, args: {} } });
      const calls = [[call("pay"), call("remove")], [call("pay")]][seen.prompts.length - 1];
      const answered = parts.some((part) => part.functionResponse?.name === "pay");
      yield { content: { role: "model", parts: calls && !answered ? calls : [{ text: "done" }] } };
    }
  }
  const pay = new FunctionTool({ name: "pay", description: "Pay.", parameters: z.object({}), execute: () => { seen.ran += 1; return { paid: true }; } });
  const remove = new FunctionTool({ name: "remove", description: "Remove.", parameters: z.object({}), execute: () => ({}) });
  const agent = new LlmAgent({ name: "clerk", model: new Scripted({ model: "scripted" }), tools: [pay, remove], beforeToolCallback });
  const runner = new InMemoryRunner({ agent, appName: "app" });
  const of = { appName: "app", userId: "ada" };
  const { id } = await runner.sessionService.createSession(of);
  const newMessage = { role: "user", parts: [{ text: "Pay Ada." }] };
  for await (const _ of runner.runAsync({ userId: "ada", sessionId: id, newMessage }));
  const { events } = await runner.sessionService.getSession({ ...of, sessionId: id });
  seen.session = events.map((event) => event.errorCode ? "error" : event.content.parts.map((part) => Object.keys(part)[0]).join(" "));
  return seen;
}

// A model of Genkit that calls pay, and `second` beside it.
async function kit(second) {
  const seen = { ran: 0, prompts: 0, raised: null, told: null };
  const ai = genkit({});
  const request = (name) => ({ toolRequest: { ref: name, name, input: {} } });
  const model = ai.defineModel({ name: "scripted", supports: { tools: true, multiturn: true } }, async () => {
    seen.prompts += 1;
    return { finishReason: "stop", message: { role: "model", content: [request("pay"), request(second)] } };
  });
  const inputSchema = genkitZod.object({});
  const tools = [
    ai.defineTool({ name: "pay", description: "Pay.", inputSchema }, async () => { seen.ran += 1; return "paid"; }),
    ai.defineTool({ name: "remove", description: "Remove.", inputSchema }, async () => { throw new Error("not allowed"); }),
  ];
  try {
    await ai.generate({ model, prompt: "Pay Ada.", tools });
  } catch (error) {
    seen.raised = error.message;
    seen.told = JSON.stringify([error, error.detail, error.cause].map((part) => ({ ...part }))).includes("toolRequest");
  }
  return seen;
}

const refuse = ({ tool }) => { if (tool.name === "remove") throw new Error("not allowed"); };
const raising = await adk(refuse);
console.log("ADK, the callback raises:", JSON.stringify(raising));
let same = raising.ran === 2 && raising.prompts[1] === "text functionCall functionCall" &&
  raising.session.slice(0, 3).join() === "text,functionCall functionCall,error";
const answering = await adk(({ tool }) => tool.name === "remove" ? { error: "not allowed" } : undefined);
console.log("ADK, the callback answers instead:", JSON.stringify(answering));
same &&= answering.ran === 1 && answering.prompts[1] === "text functionCall functionCall functionResponse functionResponse";
for (const second of ["remove", "erase"]) {
  const seen = await kit(second);
  console.log(`Genkit, with ${second} beside it:`, JSON.stringify(seen));
  same &&= seen.ran === 1 && seen.prompts === 1 && seen.raised !== null && !seen.told;
}
if (!same) console.log("changed: what ran beside a refused call is kept, or does not run");
process.exit(same ? 0 : 1);
JS
timeout 120 node main.mjs
