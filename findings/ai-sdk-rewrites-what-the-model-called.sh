#!/usr/bin/env bash
# Vercel's AI SDK keeps the arguments that a tool got as those which the model wrote.
#
# Packages: ai 6.0.326, zod 4.6.7 (npm).
# Seen: a tool's inputSchema is z.object({ to, amount: default 3 }); what the model is given of it says
#   "additionalProperties": false. The model calls it with {"to":"ada","cc":"eve"}. The call runs with
#   {"to":"ada","amount":3}, and so it stands everywhere: in the step's toolCalls and content, in
#   response.messages, and in the next prompt, where the model reads its own turn with an amount that it
#   never wrote and without the cc that it did. "eve" is nowhere in the step. With an argument that is
#   wrong in type as well, the call is refused, and the arguments stand as they were written.
# Not expected because: an assistant's message is what the model said; a result is what was made of it. And
#   an argument that the schema forbids reads as an error, not as one to leave out.
# For users: a transcript cannot tell what the model asked for: an injected "cc" that had no effect leaves no
#   trace, and a default is taken for a choice. Use z.strictObject, which refuses the call, and take
#   evidence where the provider's answer arrives (a language model middleware), not from the steps.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without npm or Node.
set -euo pipefail
command -v npm >/dev/null || { echo "skipped: npm is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund ai@6.0.326 zod@4.6.7
cat >main.mjs <<'JS'
import { generateText, stepCountIs, tool } from "ai";
import { MockLanguageModelV3 } from "ai/test";
import { z } from "zod";

const unknown = { inputTokens: {}, outputTokens: {} };

// run has the model make one call with `written`, and gives all that the run has of it.
async function run(inputSchema, written) {
  const ran = [];
  const asked = [];
  const model = new MockLanguageModelV3({
    doGenerate: async (options) => {
      asked.push(options);
      const call = { type: "tool-call", toolCallId: "call_1", toolName: "send", input: JSON.stringify(written) };
      return asked.length === 1
        ? { content: [call], finishReason: { unified: "tool-calls" }, usage: unknown, warnings: [] }
        : { content: [{ type: "text", text: "done" }], finishReason: { unified: "stop" }, usage: unknown, warnings: [] };
    },
  });
  const execute = async (input) => { ran.push(input); return "sent"; };
  const { steps } = await generateText({
    model, prompt: "Tell Ada.", stopWhen: stepCountIs(2), tools: { send: tool({ inputSchema, execute }) },
  });
  const replayed = asked[1].prompt.find((message) => message.role === "assistant").content[0].input;
  return { closed: asked[0].tools[0].inputSchema.additionalProperties === false, ran, noted: steps[0].toolCalls[0].input,
    replayed, traced: JSON.stringify(steps[0]).includes("eve") };
}

const fields = { to: z.string(), amount: z.number().default(3) };
const put = '{"to":"ada","amount":3}';
const wrote = '{"to":"ada","cc":"eve"}';
for (const [name, schema, ran, noted] of [
  ["z.object", z.object(fields), `[${put}]`, put],
  ["z.strictObject", z.strictObject(fields), "[]", wrote],
]) {
  const seen = await run(schema, JSON.parse(wrote));
  console.log(`${name}: the model wrote ${wrote};`, JSON.stringify(seen));
  if (!seen.closed || JSON.stringify(seen.ran) !== ran || JSON.stringify(seen.noted) !== noted ||
      JSON.stringify(seen.replayed) !== noted || seen.traced !== (name === "z.strictObject")) {
    console.log("changed: calls are kept as the model wrote them, or refused");
    process.exit(1);
  }
}
JS
node main.mjs
