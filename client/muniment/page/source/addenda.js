// Members that a record withholds: it has a digest of each, and who is shown one can check it.
import { ascii, equal, FormatError, hex, sha256, startsWith, utf8, VerificationError }
  from './bytes.js';
import { canonical, parseJson } from './json.js';

export const MAX_ADDENDUM = 16 * 1024 * 1024;
// What an addendum begins with that is no JSON; its nonce and the content follow.
export const OPAQUE = 'muniment/opaque-addendum/v1\n';
const NONCE_SIZE = 16;
export const digestOf = (data) => hex(sha256(data));

// What other records rest on, and so may not be withheld.
const KEPT = ['/request', '/response', '/response/decision', '/request/action/name',
  ...['subject', 'action', 'resource'].map((name) => `/request/${name}`),
  ...['subject', 'resource'].flatMap((name) => [`/request/${name}/type`, `/request/${name}/id`])];

export const escapeToken = (name) => name.replaceAll('~', '~0').replaceAll('/', '~1');
const pointerOf = (tokens) => tokens.map((token) => `/${escapeToken(token)}`).join('');

function tokensOf(pointer) {
  if (!/^(?:\/(?:[^~/]|~[01])*)+$/.test(pointer))
    throw new FormatError(
      `addenda: ${ascii(pointer)}: expected a JSON pointer, as /request/context`);
  return pointer.slice(1).split('/').map((one) => one.replaceAll('~1', '/').replaceAll('~0', '~'));
}

function child(value, token) {
  if (value instanceof Map) return value.get(token);
  if (Array.isArray(value) && /^(?:0|[1-9][0-9]{0,6})$/.test(token)) return value[Number(token)];
  return undefined;
}

export function checkAddenda(decision) {
  const addenda = decision.get('addenda') ?? new Map();
  for (const pointer of addenda.keys()) {
    const tokens = tokensOf(pointer);
    if (!['request', 'response'].includes(tokens[0]) || KEPT.includes(pointerOf(tokens)))
      throw new FormatError(
        `addenda: ${pointer}: may not be withheld; other records rest on it`);
    const parent = tokens.slice(0, -1).reduce(child, decision);
    if (!(parent instanceof Map))
      throw new FormatError(`addenda: ${pointer}: the record has no object to put this into`);
    if (parent.has(tokens.at(-1)))
      throw new FormatError(`addenda: ${pointer}: withheld, and yet in the record`);
  }
  if (new Set(addenda.values()).size !== addenda.size)
    throw new FormatError('addenda: a digest comes twice');
}

// The value in an addendum; bytes of an opaque one.
export function readAddendum(data, what) {
  if (data.length > MAX_ADDENDUM)
    throw new FormatError(
      `${what}: an addendum of ${data.length} bytes; at most ${MAX_ADDENDUM}`);
  if (startsWith(data, OPAQUE)) {
    if (data.length < OPAQUE.length + NONCE_SIZE)
      throw new FormatError(
        `${what}: an opaque addendum without its nonce of ${NONCE_SIZE} bytes`);
    return data.subarray(OPAQUE.length + NONCE_SIZE);
  }
  const members = parseJson(data, what, MAX_ADDENDUM);
  if (!(members instanceof Map) || [...members.keys()].sort().join() !== 'nonce,value')
    throw new FormatError(`${what}: expected {"nonce": …, "value": …}`);
  if (!/^[0-9a-f]{32}$/.test(members.get('nonce')) || typeof members.get('nonce') !== 'string')
    throw new FormatError(`${what}: nonce: expected 32 lower-case hexadecimal digits`);
  if (!equal(utf8(canonical(members)), data))
    throw new FormatError(`${what}: not canonical JSON (RFC 8785)`);
  return members.get('value');
}

// The digests of the addenda that a record names, by JSON pointer.
export function namedDigests(record) {
  const found = new Map(record.get('addenda'));
  const commitments = [...(record.get('denial')?.get('reduced') ?? [])].map(([path, one]) =>
    [`/denial/reduced/${escapeToken(path)}/digest`, one.get('digest')]);
  for (const member of ['inputs', 'outputs'])
    for (const [name, one] of record.get(member) ?? [])
      commitments.push([`/${member}/${escapeToken(name)}`, one]);
  for (const [pointer, digest] of commitments)
    if (digest?.startsWith('sha256:')) found.set(pointer, digest.slice(7));
  return found;
}

// The decision's request and response with the disclosed members in their places, and these.
export function disclose(decision, addenda) {
  checkAddenda(decision);
  const pointers = new Map([...(decision.get('addenda') ?? [])].map(([at, one]) => [one, at]));
  const whole = new Map(['request', 'response'].map((name) => [name, copied(decision.get(name))]));
  const disclosed = new Map();
  addenda.forEach((data, number) => {
    const pointer = pointers.get(digestOf(data));
    if (pointer === undefined)
      throw new VerificationError(
        `addendum ${number}: the decision names none with ${digestOf(data)}`);
    const value = readAddendum(data, `addendum ${number}`);
    disclosed.set(pointer, value);
    if (value instanceof Uint8Array) return; // its place is in no JSON
    const tokens = tokensOf(pointer);
    tokens.slice(0, -1).reduce(child, whole).set(tokens.at(-1), value);
  });
  return { whole, disclosed };
}

function copied(value) {
  if (value instanceof Map) return new Map([...value].map(([name, one]) => [name, copied(one)]));
  return Array.isArray(value) ? value.map(copied) : value;
}

// The addendum of each pointer that some addenda disclose of a record of any kind.
export function disclosedBy(record, addenda) {
  const named = [...namedDigests(record)];
  const found = new Map();
  addenda.forEach((data, number) => {
    const pointers = named.filter(([, digest]) => digest === digestOf(data)).map(([at]) => at);
    if (!pointers.length)
      throw new VerificationError(
        `addendum ${number}: the record names none with ${digestOf(data)}`);
    readAddendum(data, `addendum ${number}`);
    pointers.forEach((pointer) => found.set(pointer, data));
  });
  return found;
}

// What a record withholds, by what is disclosed and by the leaves that say what was erased; null if
// nothing.
export function withholdingOf(record, disclosed, erasures = new Map()) {
  const named = [...namedDigests(record)];
  if (!named.length) return null;
  const hidden = named.filter(([pointer]) => !disclosed.has(pointer));
  return {
    disclosed: named.map(([pointer]) => pointer).filter((pointer) => disclosed.has(pointer)),
    withheld: hidden.filter(([, digest]) => !erasures.has(digest)).map(([pointer]) => pointer),
    erased: Object.fromEntries(hidden.filter(([, digest]) => erasures.has(digest))
      .map(([pointer, digest]) => [pointer, erasures.get(digest)])),
  };
}
