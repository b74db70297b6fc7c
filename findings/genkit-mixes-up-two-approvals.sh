#!/usr/bin/env bash
# Of two calls that a person approves, Genkit runs the first twice, and says that each has run.
#
# Packages: genkit 1.42.0, @genkit-ai/google-genai 1.42.0 (npm).
# Seen: Gemini's answer has two calls of one tool, to pay ada and to pay bob, and no `id`, which its API lets
#   answers leave out; the plugin makes two requests of them without a `ref`. The tool interrupts for each. A
#   person approves both: resume has the restart of each, made of its own interrupt. ada is paid twice and
#   bob never, and the conversation has "paid ada" as the answer to both calls. If the person approves ada
#   and answers bob's with "denied", none runs, and both calls have that answer. With ids both are right.
# Not expected because: each restart carries the input of the call that was approved, and another one is run; that
#   calls were paired by name alone is a fault of 2025 (issues 2218 and 2241), closed since.
# For users: two approvals on record, of which one is carried out twice and the other not at all, and no message
#   shows it. Give every request of a model a `ref` of your own (a model middleware) before it is resumed, or
#   let one call wait at a time; and have the tool check the approval against its input.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without npm or Node.
set -euo pipefail
command -v npm >/dev/null || { echo "skipped: npm is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund genkit@1.42.0 @genkit-ai/google-genai@1.42.0
cat >main.mjs <<'JS'
import { createServer } from "node:http";
import { googleAI } from "@genkit-ai/google-genai";
import { genkit, z } from "genkit/beta";

let ids;
let asked = 0;
const call = (to) => ({ functionCall: { ...(ids && { id: `call-${to}` }), name: "pay", args: { to } } });
const server = createServer((request, response) => {
  request.resume().on("end", () => {
    asked += 1;
    const parts = asked === 1 ? [call("ada"), call("bob")] : [{ text: "done" }];
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify({ candidates: [{ index: 0, finishReason: "STOP", content: { role: "model", parts } }] }));
  });
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const baseUrl = `http://127.0.0.1:${server.address().port}`;
const ai = genkit({ plugins: [googleAI({ apiKey: "none", baseUrl })] });
const ran = [];
const pay = ai.defineTool(
  { name: "pay", description: "Pay.", inputSchema: z.object({ to: z.string() }) },
  async ({ to }, { interrupt, resumed }) => {
    if (!resumed) interrupt({ question: "May this run?" });
    ran.push(to);
    return `paid ${to}`;
  },
);

// run has both calls interrupted and resumed by `decide`, and gives who was paid and what the calls were answered.
async function run(decide) {
  asked = ran.length = 0;
  const common = { model: googleAI.model("gemini-2.5-flash"), tools: [pay] };
  const first = await ai.generate({ ...common, prompt: "Pay them." });
  const { messages } = await ai.generate({ ...common, messages: first.messages, resume: decide(first.interrupts) });
  const answers = messages.flatMap(({ content }) => content).filter((part) => part.toolResponse);
  return `paid: ${ran}; answers: ${answers.map((part) => part.toolResponse.output).sort()}`;
}

const approve = (interrupts) => ({ restart: interrupts.map((one) => pay.restart(one, { approved: true })) });
const divide = ([ada, bob]) => ({ restart: [pay.restart(ada, { approved: true })], respond: [pay.respond(bob, "denied")] });
let same = true;
for (const [title, with_ids, decide, expected] of [
  ["both approved", false, approve, "paid: ada,ada; answers: paid ada,paid ada"],
  ["ada approved, bob denied", false, divide, "paid: ; answers: denied,denied"],
  ["both approved, with ids", true, approve, "paid: ada,bob; answers: paid ada,paid bob"],
  ["ada approved, bob denied, with ids", true, divide, "paid: ada; answers: denied,paid ada"],
]) {
  ids = with_ids;
  const seen = await run(decide);
  console.log(`${title}: ${seen}`);
  same &&= seen === expected;
}
server.close();
if (!same) console.log("changed: calls without an id are told apart, or mixed up otherwise");
process.exit(same ? 0 : 1);
JS
timeout 120 node main.mjs
