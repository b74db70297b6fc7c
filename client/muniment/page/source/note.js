// C2SP signed-note, tlog-checkpoint and tlog-cosignature: texts, and who signed them.
import { ml_dsa44 } from '@noble/post-quantum/ml-dsa.js';
import {
  bigEndian, checkKeyName, concat, FormatError, MAX_SIZE, parseBase64, parseDecimal, parseHash,
  parseText, sha256, splitLines, uint64, utf8, VerificationError,
} from './bytes.js';

export const [ED25519, COSIGNATURE_ED25519, ML_DSA_44] = [1, 4, 6];
export const MAX_NOTE_SIZE = 512 * 1024;
const MAX_SIGNATURES = 64;
const MAX_VKEY_SIZE = 8 * 1024;
const KEY_SIZES = { [ED25519]: 32, [COSIGNATURE_ED25519]: 32, [ML_DSA_44]: 1312 };

export const keyReference = (vkey) => `${vkey.name}+${vkey.id}`;
export const showType = (type) => `0x${type.toString(16).padStart(2, '0')}`;

export function parseVkey(text, what = 'vkey') {
  if ([...text].length > MAX_VKEY_SIZE)
    throw new FormatError(`${what}: more than ${MAX_VKEY_SIZE} characters`);
  const [, name, id, material] = /^([^+]*)\+([^+]*)\+([^]*)$/.exec(text) ?? [];
  if (name === undefined) throw new FormatError(`${what}: not of the form name+id+key`);
  checkKeyName(name, what);
  if (!/^[0-9a-f]{8}$/.test(id))
    throw new FormatError(`${what}: key ID is not 8 lower-case hexadecimal digits`);
  const key = parseBase64(material, `${what}: key`);
  if (key.length < 2) throw new FormatError(`${what}: no public key`);
  const [type, bytes] = [key[0], key.subarray(1)];
  if (type in KEY_SIZES) {
    if (bytes.length !== KEY_SIZES[type])
      throw new FormatError(
        `${what}: public key of ${bytes.length} bytes instead of ${KEY_SIZES[type]}`);
    const expected = sha256(utf8(`${name}\n`), key).subarray(0, 4);
    if (bigEndian(expected) !== BigInt(`0x${id}`))
      throw new FormatError(`${what}: key ID does not match name and key`);
  }
  return { name, id, type, bytes, text };
}

const P = 2n ** 255n - 19n;
const L = 2n ** 252n + 27742317777372353535851937790883648493n;
// The y of the points of small order, and what else stands for one of them.
const SMALL_ORDER = new Set([
  0n, 1n, P - 1n, P, P + 1n,
  0x05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826n,
  0x7a03ac9277fdc74ec6cc392cfa53202a0f67100d760b3cba4fd83d3d7006a1c7n,
]);
const littleEndian = (data) => bigEndian(data.slice().reverse());

// WebCrypto, and beside it what libsodium refuses: browsers take keys and points of small order.
export async function verifyEd25519(key, message, signature) {
  if (signature.length !== 64) return false;
  const y = littleEndian(key) & (2n ** 255n - 1n);
  const r = littleEndian(signature.subarray(0, 32)) & (2n ** 255n - 1n);
  if (y >= P || SMALL_ORDER.has(y) || SMALL_ORDER.has(r)) return false;
  if (littleEndian(signature.subarray(32)) >= L) return false;
  try {
    const imported = await crypto.subtle.importKey('raw', key, 'Ed25519', false, ['verify']);
    return await crypto.subtle.verify('Ed25519', imported, signature, message);
  } catch (error) {
    if (error.name === 'DataError') return false; // no point of the curve
    throw error;
  }
}

export const verifyMldsa44 = (key, message, signature) =>
  signature.length === 2420 && ml_dsa44.verify(signature, message, key);

function opaque(text, what) {
  const data = utf8(text);
  if (data.length < 1 || data.length > 255)
    throw new FormatError(`cosignature: ${what} of ${data.length} bytes, not 1 to 255`);
  return concat([data.length], data);
}

// Checks one signature line of a note by a vkey; the time that it states, or null.
export async function verifyLine(vkey, text, signature) {
  if (vkey.type === ED25519) {
    if (await verifyEd25519(vkey.bytes, utf8(text), signature)) return null;
    throw new VerificationError(`${vkey.name}: signature does not verify`);
  }
  const size = 8 + (vkey.type === ML_DSA_44 ? 2420 : 64);
  if (signature.length !== size)
    throw new VerificationError(
      `${vkey.name}: cosignature of ${signature.length} bytes, not ${size}`);
  const time = bigEndian(signature.subarray(0, 8));
  if (time > MAX_SIZE)
    throw new VerificationError(`${vkey.name}: cosignature timestamp beyond 2^63-1`);
  let holds;
  if (vkey.type === COSIGNATURE_ED25519) {
    const message = utf8(`cosignature/v1\ntime ${time}\n${text}`);
    holds = await verifyEd25519(vkey.bytes, message, signature.subarray(8));
  } else {
    let message;
    try {
      const { origin, size: leaves, root } = parseCheckpoint(text);
      message = concat(utf8('subtree/v1\n\0'), opaque(vkey.name, 'cosigner name'), uint64(time),
        opaque(origin, 'log origin'), uint64(0n), uint64(leaves), root);
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      throw new VerificationError(`${vkey.name}: cannot sign this: ${error.message}`);
    }
    holds = verifyMldsa44(vkey.bytes, message, signature.subarray(8));
  }
  if (!holds) throw new VerificationError(`${vkey.name}: cosignature does not verify`);
  return time;
}

function parseSignatureLine(line, what) {
  if (!line.startsWith('— '))
    throw new FormatError(`${what}: does not start with an em dash and a space`);
  const rest = line.slice(2);
  const cut = rest.indexOf(' ');
  const name = cut < 0 ? rest : rest.slice(0, cut);
  checkKeyName(name, what);
  if (cut < 0) throw new FormatError(`${what}: no signature`);
  const data = parseBase64(rest.slice(cut + 1), what);
  if (data.length <= 4) throw new FormatError(`${what}: shorter than key ID and signature`);
  const id = bigEndian(data.subarray(0, 4)).toString(16).padStart(8, '0');
  return { name, id, signature: data.subarray(4), line };
}

export function parseNote(data) {
  const content = parseText(data, 'note', MAX_NOTE_SIZE);
  const split = content.lastIndexOf('\n\n');
  if (split < 0) throw new FormatError('note: no empty line between text and signatures');
  const block = content.slice(split + 2);
  if (!block) throw new FormatError('note: no signatures');
  const lines = splitLines(block);
  if (lines.length > MAX_SIGNATURES)
    throw new FormatError(`note: more than ${MAX_SIGNATURES} signatures`);
  const signatures = lines.map((line, at) =>
    parseSignatureLine(line, `note: signature ${at + 1}`));
  return { text: content.slice(0, split + 1), signatures };
}

function parseCheckpoint(text) {
  const lines = splitLines(text);
  if (lines.length < 3) throw new FormatError('checkpoint: fewer than three lines');
  const [origin, stated, hash, ...extensions] = lines;
  const size = parseDecimal(stated, 'checkpoint: tree size');
  const root = parseHash(hash, 'checkpoint: root hash');
  if (!origin) throw new FormatError('checkpoint: empty origin line');
  if (extensions.includes('')) throw new FormatError('checkpoint: empty extension line');
  return { origin, size, root, text };
}

export function parseSignedCheckpoint(data) {
  const note = parseNote(data);
  return { ...parseCheckpoint(note.text), signatures: note.signatures };
}
