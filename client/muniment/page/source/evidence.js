// The evidence file (docs/formats.md), which shows that a log's key signed two histories.
import {
  base64, compareBytes, equal, FormatError, hex, indexOf, isPrintable, parseDecimal, parseHash,
  parseText, sha256, splitLines, utf8, VerificationError,
} from './bytes.js';
import {
  ED25519, keyReference, MAX_NOTE_SIZE, ML_DSA_44, parseSignedCheckpoint, verifyLine,
} from './note.js';
import { EMPTY_ROOT, MAX_PROOF, verifyConsistency, verifyInclusion } from './tree.js';

export const HEADER = 'muniment/evidence/v1';
const MAX_HEADER_SIZE = 8 * 1024;
const MAX_EVIDENCE_SIZE = MAX_HEADER_SIZE + 2 * MAX_NOTE_SIZE;

export const SENTENCES = {
  'same-size': 'the log signed two different trees of the same size',
  fork: 'the log signed a tree that does not contain the tree it signed before',
  leaf: 'the log signed two trees with different leaves at the same index',
  'empty-root': "the log signed an empty tree with a root that is not the empty tree's",
};

const wrong = (problem) => new FormatError(`evidence: ${problem}`);
const parseProof = (lines) =>
  lines.map((line, at) => parseHash(line, `evidence: proof line ${at + 1}`));

export function parseEvidence(data) {
  if (data.length > MAX_EVIDENCE_SIZE) throw wrong(`more than ${MAX_EVIDENCE_SIZE} bytes`);
  const cut = indexOf(data, '\n\n', MAX_HEADER_SIZE);
  if (cut < 0) throw wrong('no empty line after the header, or it is too long');
  const head = parseText(data.subarray(0, cut + 1), 'evidence', MAX_HEADER_SIZE);
  const [header, kind, ...lines] = splitLines(head);
  if (header !== HEADER) throw wrong(`the first line is not ${HEADER}`);
  const notes = parseNotes(data.subarray(cut + 2));
  const claim = { kind, notes, file: data };
  if (kind === 'same-size' && !lines.length && notes.length === 2) {
    checkPair(notes);
    if (notes[0].size !== notes[1].size) throw wrong('same-size: the sizes differ');
    if (compareBytes(notes[0].root, notes[1].root) >= 0)
      throw wrong('same-size: the roots are equal or not in order');
  } else if (kind === 'fork' && lines.length && notes.length === 2) {
    claim.implied = parseHash(lines[0], 'evidence: root');
    claim.proofs = [parseProof(lines.slice(1))];
    checkPair(notes);
    checkLength(claim.proofs);
    if (notes[0].size >= notes[1].size) throw wrong('fork: the first tree is not the smaller one');
    if (equal(notes[0].root, claim.implied))
      throw wrong('fork: the newer tree implies the older root');
  } else if (kind === 'leaf' && lines[0]?.startsWith('index ') && notes.length === 2) {
    parseLeaf(claim, lines[0].slice(6), lines.slice(1));
  } else if (kind === 'empty-root' && !lines.length && notes.length === 1) {
    checkLines(notes[0]);
    if (notes[0].size || equal(notes[0].root, EMPTY_ROOT))
      throw wrong('empty-root: not size 0 with another root');
  } else throw wrong('the kind, its lines and its notes do not go together');
  return claim;
}

function parseNotes(data) {
  const ends = [];
  for (let at = 0; ends.length < 4 && (at = indexAfter(data, at)) >= 0; at += 2) ends.push(at);
  if (ends.length === 1) return [parseSignedCheckpoint(data)];
  if (ends.length !== 3) throw wrong('not one or two notes');
  const parts = [data.subarray(0, ends[1] + 1), data.subarray(ends[1] + 2)];
  return parts.map(parseSignedCheckpoint);
}

function indexAfter(data, start) {
  const found = indexOf(data.subarray(start), '\n\n');
  return found < 0 ? -1 : start + found;
}

function parseLeaf(claim, index, lines) {
  const starts = [...lines.keys()].filter((at) => lines[at].startsWith('leaf '));
  if (starts.length !== 2 || starts[0] !== 0)
    throw wrong('leaf: not two leaf hashes, each with its proof');
  const parts = [lines.slice(0, starts[1]), lines.slice(starts[1])];
  claim.leaves = [];
  claim.proofs = [];
  for (const part of parts) {
    claim.leaves.push(parseHash(part[0].slice(5), 'evidence: leaf hash'));
    claim.proofs.push(parseProof(part.slice(1)));
  }
  claim.index = parseDecimal(index, 'evidence: index');
  checkPair(claim.notes);
  claim.proofs.forEach((proof, at) => {
    checkLength([proof]);
    if (claim.index >= claim.notes[at].size) throw wrong('leaf: the index is not in the tree');
  });
  if (compareBytes(...claim.leaves) >= 0)
    throw wrong('leaf: the leaf hashes are equal or not in order');
}

function checkLength(proofs) {
  if (proofs.some((proof) => proof.length > MAX_PROOF))
    throw wrong(`more than ${MAX_PROOF} proof lines`);
}

function checkPair(notes) {
  if (notes[0].origin !== notes[1].origin) throw wrong('the checkpoints are of two origins');
  notes.forEach(checkLines);
  if (notes[0].signatures[0].name !== notes[1].signatures[0].name)
    throw wrong('the checkpoints are signed in two names');
  for (const note of notes) {
    if (!note.size) throw wrong('a size is 0: that would be empty-root');
  }
}

// One name: the origin, or that of the keys of a log whose origin is not their name.
function checkLines({ signatures }) {
  if (signatures.some(({ name }) => name !== signatures[0].name))
    throw wrong('a signature line is not of the log');
  if (signatures.some(({ id }, at) => at && signatures[at - 1].id >= id))
    throw wrong('not one signature line a key, in order of key ID');
}

// Verifies that keys of the log signed what the evidence says, and that it is a contradiction.
// Gives, for each checkpoint, the keys that signed it, with the times that they state.
export async function verifyEvidence({ kind, notes, proofs, leaves, index, implied }, policy) {
  const { origin } = notes[0];
  const known = new Map(policy.logKeys(origin).filter(({ type }) =>
    [ED25519, ML_DSA_44].includes(type)).map((key) => [keyReference(key), key]));
  if (!known.size) throw new VerificationError(`evidence: no key is known of the log ${origin}`);
  const signed = [];
  for (const [at, { text, signatures }] of notes.entries()) {
    const found = [];
    try {
      for (const line of signatures) {
        const vkey = known.get(keyReference(line));
        if (vkey) found.push([vkey, await verifyLine(vkey, text, line.signature)]);
      }
      if (!found.length) throw new VerificationError('note: no signature of a known key');
    } catch (error) {
      if (!(error instanceof VerificationError)) throw error;
      throw new VerificationError(`evidence: checkpoint ${at + 1}: ${error.message}`);
    }
    signed.push(found);
  }
  try {
    if (kind === 'fork')
      verifyConsistency(notes[0].size, implied, notes[1].size, notes[1].root, proofs[0]);
    else if (kind === 'leaf')
      notes.forEach(({ size, root }, at) =>
        verifyInclusion(leaves[at], index, size, proofs[at], root));
  } catch (error) {
    if (!(error instanceof VerificationError)) throw error;
    throw new VerificationError(`evidence: ${error.message}`);
  }
  return signed;
}

const printable = (text) => [...text].map((char) => (isPrintable(char) ? char : '?')).join('');

// What an evidence file claims, and who signed it when it is verified, in sentences.
export function explain({ kind, notes, proofs, leaves, index, implied }, signed = null) {
  const lines = [`Log ${printable(notes[0].origin)}: ${SENTENCES[kind]}.`];
  const names = notes.map((_, at) =>
    notes.length > 1 ? `Checkpoint ${at + 1}` : 'The checkpoint');
  notes.forEach(({ size, root }, at) => lines.push(`${names[at]}: a tree of ${size} ` +
    `${size === 1n ? 'leaf' : 'leaves'}, root ${base64(root)}.`));
  if (kind === 'same-size') {
    lines.push('A tree of one size has one root: these are two histories.');
  } else if (kind === 'fork') {
    lines.push(`The first ${notes[0].size} leaves of checkpoint 2 have the root ` +
      `${base64(implied)}, by a consistency proof of ${proofs[0].length} hashes; that is not the ` +
      'root of checkpoint 1. So the larger tree is not a continuation of the smaller one.');
  } else if (kind === 'leaf') {
    leaves.forEach((leaf, at) => lines.push(`Leaf ${index} of checkpoint ${at + 1} has the hash ` +
      `${base64(leaf)}, by an inclusion proof of ${proofs[at].length} hashes.`));
    lines.push('A log never replaces a leaf: these are two histories.');
  } else lines.push("There is only one tree without leaves, and this is not its root.");
  if (signed === null) return lines;
  signed.forEach((found, at) => found.forEach(([vkey, time]) =>
    lines.push(`${names[at]} is signed by the ${vkey.type === ED25519 ? 'Ed25519' : 'ML-DSA-44'} ` +
      `key ${printable(vkey.name)}+${vkey.id}${time ? `, stating the time ${time}` : ''}.`)));
  if (signed.length === 2 && !signed[0].some(([one]) => signed[1].some(([two]) => one === two)))
    lines.push('No single key signed both checkpoints; all of these keys are known as the log\'s.');
  lines.push("A log that keeps one history never signs this. Whoever holds the log's key did: " +
    'the log, or a thief of its key. Which history is the true one, this does not say.');
  return lines;
}

// The key for telling whether two files are about the same two heads.
export function contradictionOf({ notes }) {
  const heads = notes.map(({ size, root }) => `${size} ${base64(root)}\n`).sort();
  return hex(sha256(utf8(`muniment/contradiction/v1\n${notes[0].origin}\n${heads.join('')}`)));
}
