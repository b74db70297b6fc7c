// The lineage bundle: records with their leaf indices, and one proof for all of them.
import { digestOf, MAX_ADDENDUM, namedDigests, readAddendum } from './addenda.js';
import {
  checkKeyName, equal, FormatError, indexOf, MAX_SIZE, parseBase64, parseDecimal, parseHash,
  parseText, splitLines, startsWith, utf8, VerificationError,
} from './bytes.js';
import { MAX_NOTE_SIZE, parseNote, parseSignedCheckpoint } from './note.js';
import { parseRecord } from './record.js';
import { leafHash, rootFromMultiproof } from './tree.js';

export const HEADER = 'muniment/lineage-bundle/v1';
const MANIFEST = 'muniment/manifest/v1\n';
const MAX_RECORDS = 100_000;
const MAX_BUNDLE_SIZE = 128 * 1024 * 1024;
const MAX_LEVEL = 62;
const LABEL = /^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$/;

const wrong = (problem) => new FormatError(`lineage bundle: ${problem}`);

export function parseBundle(data) {
  if (data.length > MAX_BUNDLE_SIZE) throw wrong(`more than ${MAX_BUNDLE_SIZE} bytes`);
  const cut = indexOf(data, '\n\n');
  if (cut < 0) throw wrong('no empty line before the checkpoint');
  if (data.length - cut > MAX_NOTE_SIZE + 2) throw wrong('the checkpoint is too long');
  const lines = splitLines(parseText(data.subarray(0, cut + 1), 'lineage bundle', MAX_BUNDLE_SIZE));
  let line = 0;
  const here = () => `lineage bundle: line ${line}`;
  const next = () => {
    if (line === lines.length) throw wrong(`ends after line ${line}`);
    return lines[line++];
  };
  const count = (word, most) => {
    const text = next();
    if (text.startsWith(`${word} `)) return parseDecimal(text.slice(word.length + 1), here(), most);
    throw new FormatError(`${here()}: expected the number of ${word}`);
  };
  if (next() !== HEADER) throw wrong(`the first line is not ${HEADER}`);
  const stated = next();
  if (!stated.startsWith('execution ')) throw wrong('line 2: no execution');
  const execution = stated.slice(10);
  const entries = [];
  for (let rest = count('records', MAX_RECORDS); rest; rest--) {
    const [, index, record] = /^([^ ]*) (.*)$/s.exec(next()) ?? [];
    if (index === undefined) throw new FormatError(`${here()}: no record`);
    const isManifest = record.startsWith('=');
    const leaf = isManifest ? parseBase64(record.slice(1), here()) : utf8(record);
    if (isManifest && !startsWith(leaf, MANIFEST))
      throw new FormatError(`${here()}: no manifest`);
    entries.push([parseDecimal(index, here()), leaf]);
  }
  const nodes = [];
  for (let rest = count('nodes', lines.length); rest; rest--) {
    const parts = next().split(' ');
    if (parts.length !== 3) throw new FormatError(`${here()}: no node`);
    const level = parseDecimal(parts[0], here(), MAX_LEVEL);
    nodes.push([[level, parseDecimal(parts[1], here())], parseHash(parts[2], here())]);
  }
  const addenda = [];
  if (lines[line]?.startsWith('addenda ')) {
    for (let rest = count('addenda', lines.length); rest; rest--)
      addenda.push(parseBase64(next(), here()));
    if (!addenda.length) throw new FormatError(`${here()}: no addenda`);
  }
  if (line !== lines.length) throw wrong(`line ${line + 1}: expected an empty line`);
  const checkpoint = parseSignedCheckpoint(data.subarray(cut + 2));
  if (!/^[!-~]{1,128}$/.test(execution)) throw wrong('execution is no id');
  if (!entries.length) throw wrong(`not 1 to ${MAX_RECORDS} records`);
  if (!ascends(entries, ([one], [other]) => one < other))
    throw wrong('leaf indices do not ascend');
  if (!ascends(nodes, ([[level, index]], [[other, later]]) =>
    level < other || (level === other && index < later))) throw wrong('nodes do not ascend');
  if (!ascends(addenda.map(digestOf), (one, other) => one < other))
    throw wrong('addenda are not in the order of their digests');
  if (addenda.some(({ length }) => length < 1 || length > MAX_ADDENDUM))
    throw wrong(`an addendum of none or over ${MAX_ADDENDUM} bytes`);
  return { execution, checkpoint, entries, nodes, addenda };
}

const ascends = (values, isBefore) =>
  values.every((one, number) => !number || isBefore(values[number - 1], one));

// Verifies that a log of the policy holds every record of a bundle where it says.
export async function verifyBundle({ execution, checkpoint, entries, nodes, addenda }, policy) {
  const cosigned = await policy.verify(checkpoint);
  const leaves = new Map(entries.map(([index, entry]) => [index, leafHash(entry)]));
  const proof = new Map(nodes.map(([node, hash]) => [node.join(' '), hash]));
  if (!equal(rootFromMultiproof(leaves, cosigned.size, proof), cosigned.root))
    throw wrongTree(cosigned.size);
  const records = new Map();
  const batches = [];
  for (const [index, entry] of entries) {
    if (startsWith(entry, MANIFEST)) {
      const batch = readManifest(entry);
      if (batch) batches.push({ ...batch, first: index - batch.count, manifest: index });
    } else records.set(index, parseRecord(entry));
  }
  const named = new Set([...records.values()].flatMap((one) => [...namedDigests(one).values()]));
  addenda.forEach((data, number) => {
    const what = `lineage bundle: addendum ${number}`;
    if (!named.has(digestOf(data)))
      throw new VerificationError(`${what}: no record of it names ${digestOf(data)}`);
    readAddendum(data, what);
  });
  return { execution, cosigned, records, batches, addenda };
}

const wrongTree = (size) =>
  new VerificationError(`lineage bundle: the records are not in the tree of size ${size}`);

// Who signed a manifest leaf, and how many records are in its batch; null if it is no manifest.
function readManifest(data) {
  try {
    if (data.length > 4096) return null;
    const { text, signatures } = parseNote(data);
    const [, origin, names, numbers, root, previous, ...more] = splitLines(text);
    if (signatures.length !== 1 || previous === undefined || more.length) return null;
    const [producer, label, ...others] = names.split(' ');
    const [first, count, ...rest] = numbers.split(' ');
    const start = parseDecimal(first ?? '', '');
    const number = parseDecimal(count ?? '', '');
    parseHash(root, '');
    const isFirst = parseHash(previous, '').every((byte) => byte === 0);
    checkKeyName(origin, '');
    checkKeyName(producer, '');
    if (others.length || rest.length || !LABEL.test(label ?? '') || number < 1n ||
      number > 10_000n || start > MAX_SIZE - number || (start === 0n) !== isFirst) return null;
    return { count: number, key: `${signatures[0].name}+${signatures[0].id}` };
  } catch (error) {
    if (error instanceof FormatError) return null;
    throw error;
  }
}
