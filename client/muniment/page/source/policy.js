// C2SP tlog-policy: which logs are trusted, and which witnesses make a quorum.
import {
  decode, FormatError, latin1, parseDecimal, startsWith, VerificationError,
} from './bytes.js';
import {
  COSIGNATURE_ED25519, ED25519, keyReference, ML_DSA_44, parseVkey, showType, verifyLine,
} from './note.js';

export const MAX_POLICY_SIZE = 2 * 1024 * 1024;
const MOST = 256; // logs, witnesses, groups
export const CLOCK_SKEW = 60n;

// Octets that are no UTF-8 stand in a policy as lone surrogates, as in Python.
const escape = (byte) => String.fromCharCode(0xdc00 + byte);
export const show = (name) =>
  name.replace(/[\udc80-\udcff]/gu, (char) => `\\x${(char.charCodeAt(0) & 255).toString(16)}`);

export function parsePolicy(data) {
  if (data.length > MAX_POLICY_SIZE)
    throw new FormatError(`policy: more than ${MAX_POLICY_SIZE} bytes`);
  if (!data.length) throw new FormatError('policy: empty (0 bytes)');
  const octets = latin1(data);
  if (/^(\xef\xbb\xbf|\xff\xfe|\xfe\xff)/.test(octets))
    throw new FormatError('policy: begins with a byte order mark: save it as UTF-8 without one');
  const bad = octets.search(/[^\t\n\x20-\x7e\x80-\xff]/);
  if (bad >= 0) {
    const line = octets.slice(0, bad).split('\n').length;
    const what = octets.startsWith('\r\n', bad)
      ? 'ends with CR and LF: save the file with line ends of LF alone'
      : `octet ${showType(data[bad])}`;
    throw new FormatError(`policy: line ${line}: ${what}`);
  }
  if (!octets.endsWith('\n'))
    throw new FormatError('policy: the last line does not end with a newline: end it with one, ' +
      'unless the file was cut off');
  const policy = new Policy();
  decode(data, escape).split('\n').forEach((line, at) => {
    try {
      policy.feed(line.match(/[^ \t]+/g) ?? [], line);
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      throw new FormatError(`policy: line ${at + 1}: ${error.message}`);
    }
  });
  if (policy.quorum === null) throw new FormatError('policy: no quorum line');
  return policy;
}

class Policy {
  logs = [];
  witnesses = new Map(); // name to vkey
  groups = new Map(); // name to { threshold, members }, after what they name
  quorum = null;
  #members = new Set();
  #keys = new Map(); // by reference
  #publics = { log: new Set(), witness: new Set() };
  #origins = new Map(); // text of a log's vkey to the origins that origin lines state
  #stated = 0;
  #followsLog = false;

  // Takes a line: its items, and its text, since an origin may hold spaces.
  feed([keyword, ...items], line) {
    if (keyword === undefined || keyword.startsWith('#')) return;
    const followsLog = this.#followsLog;
    this.#followsLog = keyword === 'log' || keyword === 'origin';
    if (keyword === 'log' && (items.length === 1 || items.length === 2)) {
      this.#addKey(parseVkey(items[0]), 'log', [ED25519, ML_DSA_44], items[1]);
    } else if (keyword === 'origin' && items.length >= 1) {
      if (!followsLog) throw new FormatError('an origin line that does not follow its log line');
      this.#addOrigin(line.replace(/^[ \t]*origin[ \t]+|[ \t]+$/g, ''));
    } else if (keyword === 'witness' && (items.length === 2 || items.length === 3)) {
      const vkey = parseVkey(items[1]);
      this.#define(items[0]);
      this.#addKey(vkey, 'witness', [COSIGNATURE_ED25519, ML_DSA_44], items[2]);
      this.witnesses.set(items[0], vkey);
    } else if (keyword === 'group' && items.length >= 2) {
      this.#addGroup(...items);
    } else if (keyword === 'quorum' && items.length === 1) {
      if (this.quorum !== null) throw new FormatError('a second quorum line');
      if (items[0] !== 'none' && !this.#isDefined(items[0]))
        throw new FormatError(`quorum ${show(items[0])} is not defined before`);
      [this.quorum] = items;
    } else if (['log', 'origin', 'witness', 'group', 'quorum'].includes(keyword)) {
      throw new FormatError(`wrong number of items after ${keyword}`);
    } else throw new FormatError('starts with none of log, origin, witness, group, quorum');
  }

  #isDefined(name) {
    return this.witnesses.has(name) || this.groups.has(name);
  }

  #define(name) {
    if (name === 'none') throw new FormatError('none cannot be defined');
    if (this.#isDefined(name)) throw new FormatError(`${show(name)} is defined already`);
  }

  #addKey(vkey, what, types, url) {
    if (!types.includes(vkey.type))
      throw new FormatError(`${what} key of signature type ${showType(vkey.type)}`);
    const publics = this.#publics[what];
    const bytes = latin1(vkey.bytes);
    if (publics.has(bytes)) throw new FormatError(`${what} key ${vkey.name} is there already`);
    if (publics.add(bytes).size > MOST) throw new FormatError(`more than ${MOST} ${what} lines`);
    const known = this.#keys.get(keyReference(vkey));
    if (known && known.text !== vkey.text)
      throw new FormatError(`another key ${vkey.name} has the ID ${vkey.id}`);
    if (!known) this.#keys.set(keyReference(vkey), vkey);
    if (what === 'log') this.logs.push(vkey);
  }

  #addOrigin(origin) {
    const stated = this.#originsOf(this.logs.at(-1), []);
    this.#stated += 1;
    if (this.#stated > MOST) throw new FormatError(`more than ${MOST} origin lines`);
    if (stated.includes(origin))
      throw new FormatError(`${show(origin)} is an origin of this log already`);
    if (/[\x00-\x1f\x7f\ud800-\udfff]/u.test(origin))
      throw new FormatError('origin cannot stand in a policy file');
    this.#origins.set(this.logs.at(-1).text, [...stated, origin]);
  }

  // The origins of the logs that a key signs: the stated ones, else the key's name.
  #originsOf(vkey, otherwise = [vkey.name]) {
    return this.#origins.get(vkey.text) ?? otherwise;
  }

  // The keys of the log of an origin.
  logKeys(origin) {
    return this.logs.filter((vkey) => this.#originsOf(vkey).includes(origin));
  }

  #addGroup(name, stated, ...members) {
    const words = new Map([['any', 1n], ['all', BigInt(members.length)]]);
    const threshold = words.get(stated) ?? parseDecimal(stated, 'threshold');
    if (this.groups.size === MOST) throw new FormatError(`more than ${MOST} groups`);
    if (!members.length) throw new FormatError(`group ${show(name)} has no members`);
    if (threshold < 1n || threshold > BigInt(members.length))
      throw new FormatError(`threshold ${threshold} of group ${show(name)} is not between 1 and ` +
        members.length);
    for (const member of members) {
      if (member === 'none') throw new FormatError('none cannot be a member');
      if (!this.#isDefined(member))
        throw new FormatError(`member ${show(member)} is not defined before`);
      if (this.#members.has(member))
        throw new FormatError(`${show(member)} is a member already`);
      this.#members.add(member);
    }
    this.#define(name);
    this.groups.set(name, { threshold: Number(threshold), members });
  }

  // The witnesses and groups that have witnessed what these cosigned.
  #witnessed(cosigners) {
    const found = new Set([...this.witnesses.keys()].filter((name) => cosigners.has(name)));
    for (const [name, { threshold, members }] of this.groups)
      if (members.filter((member) => found.has(member)).length >= threshold) found.add(name);
    return found;
  }

  // The keys, of logs and of witnesses, by reference.
  get keys() {
    return this.#keys;
  }

  get origins() {
    return this.logs.flatMap((vkey) => this.#originsOf(vkey));
  }

  // What counts for whoever acts at a time; of a policy over time, its versions in force then.
  at() {
    return this;
  }

  // The name of the witness that a key is of; undefined if none.
  witnessOf(vkey) {
    return [...this.witnesses].find(([, witness]) => witness.text === vkey.text)?.[0];
  }

  // Whether these witnesses, by their names, make the quorum.
  isMet(cosigners) {
    return this.quorum === 'none' || this.#witnessed(cosigners).has(this.quorum);
  }

  // Verifies that a trusted log signed a checkpoint and a quorum cosigned it. Every signature of a
  // known key must hold, also one that is not needed.
  async verify(checkpoint) {
    checkOrigin(this, checkpoint.origin);
    return this.decide(checkpoint, await verifyLines(this.#keys, checkpoint));
  }

  // Judges a checkpoint by those of its signatures that were verified; of a key that does not count
  // as a witness's, the third item is false.
  decide(checkpoint, verified) {
    const keys = this.logKeys(checkpoint.origin);
    const signers = new Set();
    const stated = [];
    let isTimeless = false;
    for (const [vkey, time, counts = true] of verified) {
      const isLog = keys.some((key) => key.text === vkey.text);
      if (time === 0n) {
        // That of a subtree's signature, which does not say that this tree is the newest.
        isTimeless ||= isLog;
        continue;
      }
      if (isLog) signers.add(vkey.text);
      const name = this.witnessOf(vkey);
      if (counts && name !== undefined) stated.push([name, time ?? 0n]);
    }
    if (!signers.size)
      throw new VerificationError(`checkpoint: ${isTimeless
        ? "the log's signature states no time" : byOthers(checkpoint)}`);
    const cosigners = new Map();
    for (const [name, time] of stated)
      cosigners.set(name, time > (cosigners.get(name) ?? 0n) ? time : cosigners.get(name) ?? 0n);
    const found = this.#witnessed(cosigners);
    if (this.quorum !== 'none' && !found.has(this.quorum))
      throw new VerificationError(this.#explain(cosigners, found));
    return { ...checkpoint, logKeys: [...signers], cosigners, stated, policy: this };
  }

  #explain(cosigners, found) {
    const missing = [];
    const queue = [this.quorum];
    for (const name of queue) {
      const group = this.groups.get(name);
      if (group) {
        const lacking = group.members.filter((member) => !found.has(member));
        const count = group.threshold - group.members.length + lacking.length;
        missing.push([name, count, lacking]);
        queue.push(...lacking);
      } else if (name === this.quorum) missing.push([name, 1, [name]]);
    }
    const have = [...cosigners.keys()].map(show).join(', ') || 'no witness';
    const needs = missing.map(([name, count, members]) =>
      `${show(name)} needs ${count} more of ${members.map(show).join(', ')}`);
    return `checkpoint: no quorum: cosigned by ${have}; ${needs.join('; ')}`;
  }

  // The latest time up to which these cosignatures still make the quorum; 0 for none.
  best(stated) {
    const known = new Map([...this.witnesses.keys()].map((name) => [name, 0n]));
    for (const [name, time] of stated) if (time > known.get(name)) known.set(name, time);
    const newest = (names) =>
      names.map((name) => known.get(name)).sort((a, b) => (a < b ? 1 : a > b ? -1 : 0));
    if (this.quorum === 'none') return newest([...known.keys()])[0] ?? 0n;
    for (const [name, { threshold, members }] of this.groups)
      known.set(name, newest(members)[threshold - 1]);
    return known.get(this.quorum);
  }
}

export function checkOrigin(policy, origin) {
  if (!policy.origins.includes(origin))
    throw new VerificationError(`checkpoint: the policy does not list log ${origin}`);
}

// The signatures of known keys, by reference, each of which must hold: [vkey, time], in order.
export async function verifyLines(keys, { text, signatures }) {
  const verified = [];
  for (const line of signatures) {
    const vkey = keys.get(keyReference(line));
    if (vkey) verified.push([vkey, await verifyLine(vkey, text, line.signature)]);
  }
  return verified;
}

// Whose a checkpoint is, when no key that is known for its log has signed it.
function byOthers({ origin, signatures }) {
  const names = [...new Set(signatures.filter(({ name }) => name === origin).map(keyReference))];
  if (!names.length) return `not signed by a key of log ${origin}`;
  return `signed by ${names.join(', ')} only, which the policy does not list: another key of the ` +
    `log ${origin}, earlier or later, or another log of that name`;
}

// The cosignatures whose time is in the future.
export const ahead = ({ stated }, now) => stated.filter(([, time]) => time > now + CLOCK_SKEW);

// The time for which a quorum vouches, Unix seconds; 0 for none. Without a clock every time counts.
export function timeOf({ policy, stated }, now = null) {
  if (now === null) return policy.best(stated);
  const late = ahead({ stated }, now);
  let time = policy.best(stated.filter((line) => !late.includes(line)));
  if (late.length && !time) time = policy.best(stated);
  return time <= now + CLOCK_SKEW ? time : 0n;
}
