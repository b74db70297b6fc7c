// From files to a verdict, in the words of the commands `muniment verify` and `muniment evidence`.
import {
  base64, FormatError, hex, latin1, sha256, startsWith, utf8, VerificationError,
} from './bytes.js';
import * as evidence from './evidence.js';
import { canonical, parseJson } from './json.js';
import { parsePolicy, show } from './policy.js';
import { parseTlogProof, verifyTlogProof } from './proof.js';

const MAX_SPELLING = 1024 * 1024;

// Says what the bytes of a file are, by how they begin.
export function kindOf(data) {
  if (startsWith(data, `${evidence.HEADER}\n`)) return 'evidence';
  return 'proof';
}

const isRefusal = (error) => error instanceof FormatError || error instanceof VerificationError;

// Verifies what a file says. Returns a report: `members` are those of the command's --json.
export async function verify(input) {
  try {
    const kind = input.kind ?? kindOf(input.file);
    return kind === 'evidence' ? await verifyEvidence(input) : await verifyProof(input);
  } catch (error) {
    if (!isRefusal(error)) throw error;
    return { members: { verified: false, reason: error.message } };
  }
}

async function verifyProof({ file, policy: text, entry }) {
  const policy = parsePolicy(text);
  const proof = parseTlogProof(file);
  await policy.verify(proof.checkpoint);
  let cosigned;
  try {
    cosigned = await verifyTlogProof(proof, entry, policy);
  } catch (error) {
    if (!isRefusal(error)) throw error;
    const reason = (await otherSpelling(proof, entry, policy)) ??
      `these ${entry.length} bytes are not entry ${proof.index} of its tree: they, the index or ` +
      'the proof were changed';
    throw new VerificationError(`the checkpoint is genuine, but ${reason}`);
  }
  const { size, origin, logKeys, cosigners } = cosigned;
  const witnesses = [...cosigners].map(([name, time]) => ({ name: show(name), time }));
  const members = { verified: true, index: proof.index, size, origin, log_keys: logKeys, witnesses };
  return { members };
}

// Says so when an entry is the right one but for how it is written; null when it is not.
async function otherSpelling(proof, entry, policy) {
  const plain = startsWith(entry, '\ufeff') ? entry.subarray(3) : entry;
  const text = latin1(plain);
  const bare = text.replace(/[\r\n]+$/, '');
  const candidates = [bare, `${bare}\n`, text.replaceAll('\r\n', '\n')].map((one) =>
    ['text', Uint8Array.from(one, (char) => char.charCodeAt(0))]);
  try {
    candidates.unshift(['JSON', utf8(canonical(parseJson(plain, 'entry', MAX_SPELLING)))]);
  } catch (error) {
    if (!isRefusal(error)) throw error;
  }
  for (const [what, candidate] of candidates) {
    try {
      await verifyTlogProof(proof, candidate, policy);
    } catch (error) {
      if (!isRefusal(error)) throw error;
      continue;
    }
    return `the file is entry ${proof.index} in another form: same ${what}, other spelling ` +
      `(${entry.length} bytes, the leaf has ${candidate.length}). Nothing in it was changed; take ` +
      "the leaf's exact bytes, as `muniment prove --entry-out` writes them";
  }
  return null;
}

async function verifyEvidence({ file, policy: text }) {
  const claim = evidence.parseEvidence(file);
  const policy = parsePolicy(text);
  let [signed, reason] = [null, undefined];
  try {
    signed = await evidence.verifyEvidence(claim, policy);
  } catch (error) {
    if (!isRefusal(error)) throw error;
    reason = error.message;
  }
  return { members: {
    verified: signed !== null,
    kind: claim.kind,
    origin: claim.notes[0].origin,
    sentence: evidence.SENTENCES[claim.kind],
    explanation: evidence.explain(claim, signed),
    checkpoints: claim.notes.map(({ size, root }, at) => ({ size, root: base64(root),
      signed_by: signed ? signed[at].map(([vkey]) => vkey.text) : [] })),
    sha256: hex(sha256(file)),
    contradiction: evidence.contradictionOf(claim),
    ...(reason === undefined ? {} : { reason }),
  } };
}
