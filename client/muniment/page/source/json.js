// RFC 8785 over RFC 7493, as muniment.records.canonical: JSON.parse would take members that come
// twice, round integers and put "10" before "9". Objects are Map, in the order of the text.
import { ascii, decode, FormatError, latin1, startsWith, utf8 } from './bytes.js';

const MAX_RECORD = 65_535;
const MAX_DEPTH = 64;
const MAX_SAFE = Number.MAX_SAFE_INTEGER;
const EXCERPT = 24;

const shorten = (text) => {
  const characters = [...text];
  return characters.length <= EXCERPT ? text : `${characters.slice(0, EXCERPT).join('')}…`;
};

// The offset of the bracket with which a text is too deep, or -1; of what is no JSON, any.
function tooDeep(text) {
  let depth = 0;
  for (const { 0: token, index } of text.matchAll(/"(?:[^"\\]|\\[^])*(?:"|\\?$)|[[\]{}]/g)) {
    if (token === '[' || token === '{') depth += 1;
    else if (token === ']' || token === '}') depth -= 1;
    if (depth > MAX_DEPTH) return index;
  }
  return -1;
}

export function parseJson(data, what, most) {
  const wrong = (problem) => new FormatError(`${what}: ${problem}`);
  if (data.length > most) throw wrong(`more than ${most} bytes`);
  if (startsWith(data, '\ufeff')) throw wrong('starts with a byte order mark');
  const deep = tooDeep(latin1(data));
  if (deep >= 0) throw wrong(`more than ${MAX_DEPTH} levels deep at byte ${deep}`);
  const text = decode(data, (_, at) => {
    throw wrong(`not UTF-8 at byte ${at}`);
  });
  const value = new Parser(text, what).parse();
  if (/\\u[dD][89a-fA-F]/.test(text)) checkSurrogates(value, '', what);
  return value;
}

function checkSurrogates(value, path, what) {
  const check = (string) => {
    if (string.isWellFormed()) return;
    const where = ascii([...path].slice(0, 64).join('')).slice(1, -1) || 'value';
    throw new FormatError(`${what}: ${where}: lone surrogate in a string`);
  };
  if (typeof value === 'string') check(value);
  else if (Array.isArray(value))
    value.forEach((item, at) => checkSurrogates(item, `${path}[${at}]`, what));
  else if (value instanceof Map)
    for (const [name, item] of value) {
      const inner = path ? `${path}.${name}` : name;
      checkSurrogates(name, inner, what);
      checkSurrogates(item, inner, what);
    }
}

const ESCAPES = { '"': '"', '\\': '\\', '/': '/', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t' };

class Parser {
  #text;
  #at = 0;
  #what;

  constructor(text, what) {
    this.#text = text;
    this.#what = what;
  }

  parse() {
    this.#space();
    const value = this.#value();
    this.#space();
    if (this.#at < this.#text.length) throw this.#error('extra data');
    return value;
  }

  #error(problem, at = this.#at) {
    const byte = utf8(this.#text.slice(0, at)).length;
    return new FormatError(`${this.#what}: not JSON at byte ${byte}: ${problem}`);
  }

  #take(pattern) {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text);
    if (found) this.#at = pattern.lastIndex;
    return found;
  }

  #space() {
    this.#take(/[ \t\n\r]*/y);
  }

  #value() {
    const start = this.#at;
    const char = this.#text[start];
    if (char === '"') return this.#string();
    if (char === '{') return this.#object();
    if (char === '[') return this.#array();
    const word = this.#take(/null|true|false|NaN|-?Infinity/y)?.[0];
    if (word === 'null') return null;
    if (word === 'true' || word === 'false') return word === 'true';
    if (word) throw new FormatError(`${this.#what}: ${word} is not JSON`);
    const number = this.#take(/-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?/y);
    if (!number) throw this.#error('expecting value');
    const value = Number(number[0]);
    const isInteger = number[1] === undefined && number[2] === undefined;
    if (!Number.isFinite(value) && !isInteger)
      throw new FormatError(`${this.#what}: number ${shorten(number[0])} is too large`);
    // From 10^21 on a whole float is written with an exponent, and so is no integer.
    if (Math.abs(value) > MAX_SAFE && (isInteger || Math.abs(value) < 1e21))
      throw new FormatError(`${this.#what}: ${isInteger ? 'integer' : 'number'} ` +
        `${shorten(number[0])} is beyond ±${MAX_SAFE}`);
    // 1.0 is written as 1, and yet is no integer where one is wanted.
    return isInteger || !Number.isInteger(value) ? value : new Number(value);
  }

  #string() {
    const start = this.#at++;
    let value = '';
    for (;;) {
      value += this.#take(/[^"\\\x00-\x1f]*/y)[0];
      const char = this.#text[this.#at++];
      if (char === '"') return value;
      if (char === undefined) throw this.#error('unterminated string starting at', start);
      if (char !== '\\') throw this.#error('invalid control character at', this.#at - 1);
      const escape = this.#text[this.#at++];
      if (escape === undefined) throw this.#error('unterminated string starting at', start);
      if (escape === 'u') {
        const digits = this.#take(/[0-9a-fA-F]{4}/y);
        if (!digits) throw this.#error('invalid \\uxxxx escape', this.#at - 1);
        value += String.fromCharCode(parseInt(digits[0], 16));
      } else if (escape in ESCAPES) value += ESCAPES[escape];
      else throw this.#error('invalid \\escape', this.#at - 2);
    }
  }

  #array() {
    const items = [];
    this.#at += 1;
    this.#space();
    if (this.#take(/\]/y)) return items;
    for (;;) {
      items.push(this.#value());
      this.#space();
      if (this.#take(/\]/y)) return items;
      if (!this.#take(/,/y)) throw this.#error("expecting ',' delimiter");
      this.#space();
    }
  }

  #object() {
    const members = new Map();
    let twice = null;
    this.#at += 1;
    this.#space();
    if (this.#take(/\}/y)) return members;
    for (;;) {
      if (this.#text[this.#at] !== '"')
        throw this.#error('expecting property name enclosed in double quotes');
      const name = this.#string();
      this.#space();
      if (!this.#take(/:/y)) throw this.#error("expecting ':' delimiter");
      this.#space();
      const value = this.#value();
      if (members.has(name)) twice ??= name;
      members.set(name, value);
      this.#space();
      if (this.#take(/\}/y)) break;
      if (!this.#take(/,/y)) throw this.#error("expecting ',' delimiter");
      this.#space();
    }
    if (twice === null) return members;
    throw new FormatError(
      `${this.#what}: member ${ascii(shorten(twice))} comes twice in one object`);
  }
}

// The canonical spelling. JSON.stringify writes numbers and strings as RFC 8785 wants them, and
// JavaScript sorts strings by UTF-16 code units, as it wants names.
export function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  if (!(value instanceof Map)) return JSON.stringify(value);
  const names = [...value.keys()].sort();
  const members = names.map((name) => `${JSON.stringify(name)}:${canonical(value.get(name))}`);
  return `{${members.join(',')}}`;
}

export function checkCanonical(data, what) {
  const value = parseJson(data, what, MAX_RECORD);
  const expected = utf8(canonical(value));
  const length = Math.min(data.length, expected.length);
  let at = 0;
  while (at < length && data[at] === expected[at]) at += 1;
  if (at === data.length && at === expected.length) return value;
  const excerpt = (bytes) =>
    at < bytes.length ? ascii(decode(bytes.subarray(at, at + EXCERPT), () => '\ufffd')) : 'the end';
  throw new FormatError(`${what}: not canonical JSON (RFC 8785) at byte ${at}: ` +
    `${excerpt(data)} should be ${excerpt(expected)}`);
}
