#!/usr/bin/env bash
# A person corrects a call before Genkit runs it; the conversation says that the call ran as it was.
#
# Packages: genkit 1.42.0 (npm).
# Seen: a model calls transfer with {"to":"bob","amount":900}; the tool interrupts, to ask a person. The person
#   lets it run as {"to":"bob","amount":90}, by the framework's own `restart` with `replaceInput`. The tool
#   gets 90. The messages that come back, and the prompt of the next turn, have the model's call with 900,
#   and the tool's answer to it. What ran is in none of them: the restart has `replacedInput` among its
#   metadata, and it does not get into the messages; what stays is `resolvedInterrupt`, as with a call that
#   was let run unchanged.
# Not expected because: replaceInput is there for this, and the answers of two calls, one corrected and one not,
#   look the same in what is kept.
# For users: an audit of the conversation finds 900, and the model answers as if 900 had been sent. Have the
#   tool's answer say what it did (to whom, how much), and record the decision inside of the tool.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without npm or Node.
set -euo pipefail
command -v npm >/dev/null || { echo "skipped: npm is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund genkit@1.42.0
cat >main.mjs <<'JS'
import { genkit, z } from "genkit/beta";

const ai = genkit({});
const wanted = { to: "bob", amount: 900 };
const prompts = [];
const ran = [];
const model = ai.defineModel({ name: "scripted", supports: { tools: true, multiturn: true } }, async ({ messages }) => {
  const call = { toolRequest: { ref: "call-1", name: "transfer", input: wanted } };
  prompts.push(JSON.stringify(messages));
  return { finishReason: "stop", message: { role: "model", content: [prompts.length === 1 ? call : { text: "done" }] } };
});
const transfer = ai.defineTool(
  { name: "transfer", description: "Transfer.", inputSchema: z.object({ to: z.string(), amount: z.number() }) },
  async (input, { interrupt, resumed }) => {
    if (!resumed) interrupt({ question: "May this run?" });
    ran.push(input);
    return "sent";
  },
);

// approve runs the conversation, with the person's `correction` of the input, and gives what is left of it.
async function approve(correction) {
  prompts.length = ran.length = 0;
  const first = await ai.generate({ model, prompt: "Transfer.", tools: [transfer] });
  const restart = transfer.restart(first.interrupts[0], { approved: true }, { replaceInput: correction });
  const { messages } = await ai.generate({ model, messages: first.messages, tools: [transfer], resume: { restart: [restart] } });
  return { ran: JSON.stringify(ran), kept: JSON.stringify(messages), prompt: prompts[1], restart: JSON.stringify(restart) };
}

const unchanged = await approve();
const corrected = await approve({ ...wanted, amount: 90 });
console.log("the restart:", corrected.restart);
console.log("the tool got:", corrected.ran);
console.log("kept:", corrected.kept);
if (corrected.ran !== '[{"to":"bob","amount":90}]' || unchanged.ran !== '[{"to":"bob","amount":900}]') {
  console.log("changed: another input runs");
  process.exit(1);
}
if (corrected.kept !== unchanged.kept || corrected.prompt !== unchanged.prompt || !corrected.kept.includes('"amount":900')) {
  console.log("changed: the conversation tells a corrected call from one that ran as it was");
  process.exit(1);
}
JS
timeout 120 node main.mjs
