// The strict primitives under every parser: each accepts one spelling of a value, and says what is
// wrong with any other in the words of muniment.tlog.encoding. Sizes, indices and times that signed
// texts state are BigInt: they go up to 2^63 - 1.
import { sha256 as hash } from '@noble/hashes/sha2.js';

export class FormatError extends Error {}
export class VerificationError extends Error {}

export const MAX_SIZE = 2n ** 63n - 1n;
export const HASH_SIZE = 32;

export const sha256 = (...parts) => hash(concat(...parts));
export const utf8 = (text) => new TextEncoder().encode(text);

export function concat(...parts) {
  const whole = new Uint8Array(parts.reduce((total, part) => total + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

export const hex = (data) => [...data].map((byte) => byte.toString(16).padStart(2, '0')).join('');

export const bigEndian = (data) => data.reduce((number, byte) => (number << 8n) | BigInt(byte), 0n);

export function uint64(number) {
  const data = new Uint8Array(8);
  new DataView(data.buffer).setBigUint64(0, number);
  return data;
}

export function compareBytes(one, other) {
  const length = Math.min(one.length, other.length);
  for (let at = 0; at < length; at++) if (one[at] !== other[at]) return one[at] - other[at];
  return one.length - other.length;
}

export const equal = (one, other) => compareBytes(one, other) === 0;

export function startsWith(data, text) {
  const wanted = utf8(text);
  return equal(data.subarray(0, wanted.length), wanted);
}

export function indexOf(data, text, end = data.length) {
  const wanted = utf8(text);
  for (let at = 0; (at = data.indexOf(wanted[0], at)) >= 0 && at + wanted.length <= end; at++)
    if (equal(data.subarray(at, at + wanted.length), wanted)) return at;
  return -1;
}

// A character for each byte, so that regular expressions can search bytes.
export function latin1(data) {
  let text = '';
  for (let at = 0; at < data.length; at += 8192)
    text += String.fromCharCode(...data.subarray(at, at + 8192));
  return text;
}

const UTF8 = new RegExp(
  '[\\x00-\\x7f]|[\\xc2-\\xdf][\\x80-\\xbf]|\\xe0[\\xa0-\\xbf][\\x80-\\xbf]' +
    '|[\\xe1-\\xec\\xee\\xef][\\x80-\\xbf]{2}|\\xed[\\x80-\\x9f][\\x80-\\xbf]' +
    '|\\xf0[\\x90-\\xbf][\\x80-\\xbf]{2}|[\\xf1-\\xf3][\\x80-\\xbf]{3}' +
    '|\\xf4[\\x80-\\x8f][\\x80-\\xbf]{2}|[\\x80-\\xff]', 'g');

// Decodes UTF-8; `strange` is told of each byte that is none, with its offset, and says what to
// take in its place. The browser's own decoder cannot tell where.
export function decode(data, strange) {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(data);
  } catch {
    return latin1(data).replace(UTF8, (found, at) => {
      if (found.length === 1) return found < '\x80' ? found : strange(found.charCodeAt(0), at);
      return new TextDecoder().decode(Uint8Array.from(found, (char) => char.charCodeAt(0)));
    });
  }
}

const lineAt = (data, at) => data.subarray(0, at).filter((byte) => byte === 10).length + 1;

export function parseText(data, what, most) {
  if (data.length > most) throw new FormatError(`${what}: more than ${most} bytes`);
  if (data.at(-1) !== 10) throw new FormatError(`${what}: does not end with a newline`);
  const control = data.findIndex((byte) => byte < 0x20 && byte !== 10);
  if (control >= 0)
    throw new FormatError(`${what}: control character in line ${lineAt(data, control)}`);
  return decode(data, (_, at) => {
    throw new FormatError(`${what}: not UTF-8 in line ${lineAt(data, at)}`);
  });
}

export const splitLines = (text) => text.slice(0, -1).split('\n');

export function parseDecimal(text, what, most = MAX_SIZE) {
  if (!/^[0-9]+$/.test(text)) throw new FormatError(`${what}: not a decimal number`);
  if (text[0] === '0' && text.length > 1) throw new FormatError(`${what}: leading zeros`);
  if (text.length > `${most}`.length || BigInt(text) > BigInt(most))
    throw new FormatError(`${what}: more than ${most}`);
  return BigInt(text);
}

export const base64 = (data) => btoa(latin1(data));

// Whether a lenient decoder, which skips what is no base64, comes out even: which of two messages.
function isEven(text) {
  if (/[^\x00-\x7f]/.test(text)) return false;
  let [quad, pads] = [0, 0];
  for (const char of text) {
    if (char === '=') {
      pads += 1;
      if (quad >= 2 && quad + pads >= 4) return true;
    } else if (/[A-Za-z0-9+/]/.test(char)) [quad, pads] = [(quad + 1) % 4, 0];
  }
  return quad === 0;
}

export function parseBase64(text, what, size = null) {
  if (size !== null && text.length !== Math.ceil(size / 3) * 4)
    throw new FormatError(`${what}: not the base64 of ${size} bytes`);
  let found = '';
  try {
    found = atob(text); // takes white space, missing padding and stray bits as well
  } catch {
    found = null;
  }
  if (found === null || btoa(found) !== text)
    throw new FormatError(`${what}: not ${isEven(text) ? 'canonical ' : ''}base64`);
  if (size !== null && found.length !== size)
    throw new FormatError(`${what}: ${found.length} bytes instead of ${size}`);
  return Uint8Array.from(found, (char) => char.charCodeAt(0));
}

export const parseHash = (text, what) => parseBase64(text, what, HASH_SIZE);

// Python's white space: JavaScript's \s lacks U+0085 and has U+FEFF.
export const SPACES =
  '\\x00-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000';

export function checkKeyName(name, what) {
  if (!name) throw new FormatError(`${what}: empty key name`);
  if (new RegExp(`[${SPACES}+]`).test(name))
    throw new FormatError(`${what}: space, plus or control character in a key name`);
  if (!name.isWellFormed()) throw new FormatError(`${what}: key name is not Unicode text`);
}

// What Python does not print as it is: controls, formats (bidi among them), surrogates, separators.
const UNPRINTABLE = /[\p{C}\p{Z}]/u;
export const isPrintable = (char) => char === ' ' || !UNPRINTABLE.test(char);

// Text that strangers chose for one line: printable ASCII, all else as Python's escapes.
export function terminal(text) {
  if (/^[ -~]*$/.test(text)) return text;
  return ascii(text).slice(1, -1);
}

// Python's ascii() and repr() of a string: in quotes, with escapes for all but printable ASCII, or
// for all that is not printed.
export const ascii = (text) => quoted(text, (char) => char >= ' ' && char <= '~');
export const repr = (text) => quoted(text, isPrintable);

function quoted(text, isPlain) {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  const named = { '\n': '\\n', '\r': '\\r', '\t': '\\t', '\\': '\\\\', [quote]: `\\${quote}` };
  const shown = [...text].map((char) => {
    if (Object.hasOwn(named, char)) return named[char];
    if (isPlain(char)) return char;
    const code = char.codePointAt(0).toString(16);
    if (code.length <= 2) return `\\x${code.padStart(2, '0')}`;
    return code.length <= 4 ? `\\u${code.padStart(4, '0')}` : `\\U${code.padStart(8, '0')}`;
  });
  return `${quote}${shown.join('')}${quote}`;
}
