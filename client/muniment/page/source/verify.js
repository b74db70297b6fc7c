// From files to a verdict, in the words of the commands `muniment verify` and `muniment evidence`.
import {
  base64, decode, FormatError, hex, latin1, sha256, startsWith, terminal, utf8, VerificationError,
} from './bytes.js';
import { digestOf, disclosedBy, namedDigests, OPAQUE, withholdingOf } from './addenda.js';
import * as bundles from './bundle.js';
import * as evidence from './evidence.js';
import { canonical, parseJson } from './json.js';
import { trace } from './lineage.js';
import { parseVkey } from './note.js';
import * as permits from './permit.js';
import { show } from './policy.js';
import { HEADER as policyHeader, readPolicy } from './policychain.js';
import { HEADER as proofHeader, parseTlogProof, verifyTlogProof } from './proof.js';
import { parseRecord } from './record.js';

const MAX_SPELLING = 1024 * 1024;

// Says what the bytes of a file are: by how they begin, else by the file's name. A permit is a
// proof that holds its record; without a context it is only verified as one.
export function kindOf(data, name = '', hasContext = false) {
  if (startsWith(data, `${evidence.HEADER}\n`) || name.endsWith('.evidence')) return 'evidence';
  if (startsWith(data, `${bundles.HEADER}\n`) || name.endsWith('.lineage')) return 'lineage';
  return hasContext ? 'permit' : 'proof';
}

// Says what a file that was dropped is for.
export function roleOf(data, name) {
  const begin = latin1(data.subarray(0, 400));
  const headers = [proofHeader, permits.HEADER, permits.WITH_STATUS, bundles.HEADER,
    evidence.HEADER];
  if (headers.some((header) => begin.startsWith(`${header}\n`))) return 'file';
  if (/^\s*(#|(log|witness|group|quorum)[ \t])/.test(begin)) return 'policy';
  if (begin.startsWith(`${policyHeader}\n`)) return 'policy';
  if (/^\{"nonce":"[0-9a-f]{32}","value":/.test(begin)) return 'addenda';
  if (begin.startsWith(OPAQUE)) return 'addenda';
  if (/\.(tlog-proof|permit|lineage|evidence)$/.test(name)) return 'file';
  try {
    const value = parseJson(data, name, MAX_SPELLING);
    if (value instanceof Map && value.has('action') && value.has('resource')) return 'context';
  } catch {
    // no JSON: a leaf may be anything
  }
  return 'entry';
}

const isRefusal = (error) => error instanceof FormatError || error instanceof VerificationError;

// Verifies what a file says, offline. Takes `file` and `policy`, of a proof `entry`, of a permit
// `context`, and what else the commands take; all bytes. Returns a report: its `members` are those
// of the command's --json, or of what cannot be read, `verified` false and the reason.
export async function verify(input) {
  const kind = input.kind ?? kindOf(input.file, '', Boolean(input.context));
  try {
    return { kind, ...await VERIFIERS[kind](input) };
  } catch (error) {
    if (!isRefusal(error)) throw error;
    return { kind, members: { verified: false, reason: error.message } };
  }
}

async function verifyProof({ file, policy: text, entry: leaf, addenda: more = [] }) {
  const policy = await readPolicy(text);
  const isDisclosing = startsWith(file, `${permits.HEADER}\n`);
  const { proof, addenda } = !leaf && isDisclosing ? permits.parsePermit(file, more)
    : { proof: parseTlogProof(file), addenda: more };
  const entry = leaf ?? proof.extra;
  if (!entry) throw new FormatError('the proof does not hold its entry: give it, too');
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
  const { size, origin, logKeys, cosigners, version } = cosigned;
  const witnesses = [...cosigners].map(([name, time]) => ({ name: show(name), time }));
  const { index } = proof;
  const members = { verified: true, index, size, origin, log_keys: logKeys, witnesses,
    ...(version ? { policy_version: version } : {}) };
  const shown = { size: entry.length, leaf: entry };
  const record = recordOf(entry, addenda);
  if (!record) return { ...shown, members };
  const disclosed = disclosedBy(record, addenda);
  const withholding = withholdingOf(record, disclosed);
  return { ...shown, disclosed: [...disclosed],
    members: withholding ? { ...members, addenda: withholding } : members };
}

// The record that a leaf is; null if it is none, which it may be unless addenda are given.
function recordOf(entry, addenda) {
  try {
    return parseRecord(entry);
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    if (!addenda.length) return null;
    throw new VerificationError('the leaf is no record, and so names no addendum');
  }
}

// The vkeys of a text, one a line; `option` is what the command calls them.
function parseVkeys(data, option, name) {
  try {
    const text = decode(data, () => {
      throw new FormatError(`${name}: not UTF-8`);
    });
    const lines = text.split('\n').filter((line) => line && !line.startsWith('#'));
    // Who gave a file must not be taken for one who gave no keys.
    if (!lines.length) throw new FormatError(`${name}: there is no vkey in it`);
    const keys = lines.map((line) => parseVkey(line, name));
    return [...new Map(keys.map((vkey) => [vkey.text, vkey])).values()];
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    throw new FormatError(`${option}: ${error.message}`);
  }
}

async function verifyPermit(input) {
  const { file, policy, context, authorities, approvers, gateways, addenda = [], now } = input;
  let permit = null;
  let reason;
  try {
    permit = permits.parsePermit(file);
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    reason = error.message;
  }
  if (permit && addenda.length) permit = permits.parsePermit(file, addenda);
  const trust = {
    gateways: gateways ? parseVkeys(gateways, '--gateway', 'gateways') : null,
    policy: await readPolicy(policy),
    authorities: authorities ? parseVkeys(authorities, '--authority', 'authorities') : [],
    approvers: approvers ? parseVkeys(approvers, '--approver', 'approvers') : [],
    approvals: input.approvals ?? 1,
    requireApproval: input.requireApproval,
    allowUnbound: input.allowUnbound,
    allowAnyPolicy: input.allowAnyPolicy,
  };
  permits.checkKeys(trust);
  const wanted = permits.parseContext(context, now ?? Math.floor(Date.now() / 1000));
  if (permit) {
    const members = await permits.verifyPermit(permit, wanted, trust);
    if (members.index === null) return { members }; // what is in no log is not shown
    const disclosed = [...disclosedBy(permit.record, permit.addenda)];
    return { leaf: permit.proof.extra, disclosed, members };
  }
  const none = { code: 'authorization_discontinuity', check: 'permit', expected: 'a permit' };
  return { members: permits.verdict([{ ...none, found: terminal(reason) }]) };
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
      `(${entry.length} bytes, the leaf has ${candidate.length}). Nothing in it was changed; ` +
      "take the leaf's exact bytes, as `muniment prove --entry-out` writes them";
  }
  return null;
}

async function verifyEvidence({ file, policy: text }) {
  const claim = evidence.parseEvidence(file);
  const policy = await readPolicy(text);
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

async function verifyLineage({ file, policy: text, gateways, run, addenda = [], now }) {
  const policy = await readPolicy(text);
  const bundle = await bundles.verifyBundle(bundles.parseBundle(file), policy);
  const { facts, members } = trace(run || bundle.execution, bundle,
    now ?? Math.floor(Date.now() / 1000),
    gateways ? parseVkeys(gateways, '--gateway', 'gateways') : null);
  const given = new Map([...bundle.addenda, ...addenda].map((one) => [digestOf(one), one]));
  const consulted = [...facts.read].sort(([one], [other]) => (one < other ? -1 : 1));
  const named = new Set(consulted.flatMap(([, record]) => [...namedDigests(record).values()]));
  const strange = [...given.keys()].filter((digest) => !named.has(digest)).sort();
  if (strange.length)
    throw new VerificationError(`no record of the trace names ${strange[0]}`);
  const shown = [];
  for (const [index, record] of consulted) {
    const own = [...namedDigests(record).values()].filter((digest) => given.has(digest))
      .map((digest) => given.get(digest));
    const mayErase = [members.head.origin, record.get('producer')];
    const erasures = new Map();
    for (const digest of namedDigests(record).values()) {
      const by = facts.peek(`erasure ${digest}`).find((one) =>
        mayErase.includes(one.record.get('producer')));
      if (by) erasures.set(digest, by.index);
    }
    const found = withholdingOf(record, disclosedBy(record, own), erasures);
    if (found) shown.push({ index, ...found });
  }
  return { count: bundle.records.size + bundle.batches.length,
    members: { verified: true, trace: members, ...(shown.length ? { addenda: shown } : {}) } };
}

const VERIFIERS = {
  proof: verifyProof, permit: verifyPermit, lineage: verifyLineage, evidence: verifyEvidence,
};
