#!/usr/bin/env bash
# A call that a person approved is not run by the AI SDK once its messages were stored, if it has a null or a date.
#
# Packages: ai 7.0.173, zod 4.6.7 (npm).
# Seen: a tool needs approval; of its schema one member is z.string().nullish().transform(x => x ?? undefined),
#   or a date made from the text. The model's call asks for approval, and is approved. With the messages in
#   memory it runs. After JSON.parse(JSON.stringify(messages)), as by every store and every browser in
#   between, it does not: the model reads "Approved tool input does not match the validated schema output",
#   generateText raises nothing, and the tool's own approval function is not asked. A member with a random
#   default (an idempotency key) is refused in memory as well, as such a check must. Numbers, texts and fixed
#   defaults run.
# Not expected because: the request keeps what the schema was given (`inputSchemaInput`), and the documentation
#   of persisted approvals says to keep it, and that approved input is made anew from it; it is, but then
#   compared with a copy in which JSON has no undefined and no dates. (Of issue 21091, the refusal of all
#   transforms, this is what is left.)
# For users: an approval is on record, and what it allowed was not done; the next turn asks again, or claims that
#   it was. A tool that needs approval should have a schema whose output is plain JSON: z.string().optional(),
#   dates as texts, keys made in `execute`.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without npm or Node.
set -euo pipefail
command -v npm >/dev/null || { echo "skipped: npm is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund ai@7.0.173 zod@4.6.7
cat >main.mjs <<'JS'
import { generateText, tool } from "ai";
import { MockLanguageModelV4 } from "ai/test";
import { z } from "zod";

const usage = { inputTokens: {}, outputTokens: {} };

// run has a person approve the call that the model wrote, with the messages kept by `store` in between.
async function run(inputSchema, written, store) {
  const ran = [];
  let prompts = 0;
  let read;
  const model = new MockLanguageModelV4({ doGenerate: async ({ prompt }) => {
    read = prompt.at(-1);
    prompts += 1;
    return prompts === 1
      ? { content: [{ type: "tool-call", toolCallId: "call-1", toolName: "pay", input: JSON.stringify(written) }],
        finishReason: { unified: "tool-calls" }, usage, warnings: [] }
      : { content: [{ type: "text", text: "done" }], finishReason: { unified: "stop" }, usage, warnings: [] };
  } });
  const pay = tool({ inputSchema, execute: async (input) => { ran.push(input); return "paid"; } });
  const common = { model, tools: { pay }, toolApproval: { pay: "user-approval" } };
  const first = await generateText({ ...common, prompt: "Pay." });
  const request = first.content.find((part) => part.type === "tool-approval-request");
  const response = { type: "tool-approval-response", approvalId: request.approvalId, approved: true };
  const messages = [{ role: "user", content: "Pay." }, ...first.response.messages, { role: "tool", content: [response] }];
  await generateText({ ...common, messages: store(messages) });
  const { type, value } = read.content.at(-1).output;
  return { ran: ran.length, type, value };
}

const memory = (messages) => messages;
const stored = (messages) => JSON.parse(JSON.stringify(messages));
const to = z.string();
let same = true;
for (const [name, schema, written, inMemory, afterwards] of [
  ["a null that is left out", z.object({ to, memo: z.string().nullish().transform((memo) => memo ?? undefined) }), { to: "ada", memo: null }, 1, 0],
  ["a date", z.object({ to, due: z.iso.date().transform((text) => new Date(text)) }), { to: "ada", due: "2026-12-24" }, 1, 0],
  ["a key by default", z.object({ to, key: z.string().default(() => crypto.randomUUID()) }), { to: "ada" }, 0, 0],
  ["cents", z.object({ to, cents: z.number().transform((euros) => euros * 100) }), { to: "ada", cents: 3 }, 1, 1],
  ["a plain optional", z.object({ to, memo: z.string().optional() }), { to: "ada" }, 1, 1],
]) {
  for (const [where, store, runs] of [["in memory", memory, inMemory], ["stored", stored, afterwards]]) {
    const seen = await run(schema, written, store);
    console.log(`${name}, ${where}: approved, ran ${seen.ran} times; the model reads: ${seen.value}`);
    same &&= seen.ran === runs && (runs === 1 ? seen.value === "paid" : seen.value.includes("does not match the validated schema output"));
  }
}
if (!same) console.log("changed: another approved call runs, or is refused");
process.exit(same ? 0 : 1);
JS
timeout 120 node main.mjs
