// A trust policy over time, as muniment.tlog.policychain has it: versions, each for a window of
// time and signed by root keys. A cosignature counts under the version whose window has its time.
import {
  ascii, equal, FormatError, hex, latin1, parseDecimal, parseHash, sha256, SPACES,
  splitLines, startsWith, utf8, VerificationError,
} from './bytes.js';
import { ED25519, keyReference, parseNote, parseVkey, verifyLine } from './note.js';
import { checkOrigin, MAX_POLICY_SIZE, parsePolicy, show, verifyLines } from './policy.js';

export const HEADER = 'muniment/policy/v1';
const MAX_VERSIONS = 1024;
const MAX_ROOTS = 16;
const MAX_REVOKED = 256;
const LAST = 253402300799n; // the end of the year 9999, Python's last

// Reads a policy file: a tlog-policy, or a chain of versions, whose signatures are verified.
export async function readPolicy(data) {
  if (!startsWith(data, `${HEADER}\n`)) return parsePolicy(data);
  if (data.length > MAX_POLICY_SIZE)
    throw new FormatError(`policy: more than ${MAX_POLICY_SIZE} bytes`);
  return new PolicyChain(await parseChain(data));
}

function sayTime(time) {
  if (time > LAST) return `${time} s after 1970`;
  return new Date(Number(time) * 1000).toISOString().replace('T', ' ').replace('.000Z', ' UTC');
}

function item(lines, word) {
  if (!lines[0]?.startsWith(`${word} `))
    throw new FormatError(`no ${word} line where it has to stand`);
  return lines.shift().slice(word.length + 1);
}

function parseVersion(text) {
  const cut = text.indexOf('\n\n');
  const lines = splitLines(cut < 0 ? `${text}\n` : text.slice(0, cut + 1));
  if (cut < 0 || lines.shift() !== HEADER)
    throw new FormatError(`the first line is not ${HEADER}, or there is no empty line`);
  const [number, start, until] = ['version', 'from', 'until'].map((word) =>
    parseDecimal(item(lines, word), word));
  const previous = lines[0]?.startsWith('previous ')
    ? parseHash(item(lines, 'previous'), 'previous') : null;
  const [stated, ...keys] = item(lines, 'root').split(' ');
  const threshold = parseDecimal(stated, 'root');
  const root = { threshold, keys: keys.map((key) => parseVkey(key, 'root key')) };
  const some = `([^${SPACES}]+)`;
  const revoked = lines.map((line) => {
    const match = new RegExp(`^(compromised|retired) ${some} ${some}$`).exec(line);
    if (!match)
      throw new FormatError(`${ascii([...line].slice(0, 40).join(''))} where a compromised or ` +
        'retired line may stand');
    const [, word, key, time] = match;
    const since = parseDecimal(time, word);
    return { word, vkey: parseVkey(key, word), since };
  });
  if (number < 1n || number > MAX_VERSIONS)
    throw new FormatError(`version is not between 1 and ${MAX_VERSIONS}`);
  if ((number === 1n) !== (previous === null))
    throw new FormatError('the first version, and no other, has no version before it');
  if (start < 1n || start >= until)
    throw new FormatError('the window ends before it begins, or begins before 1970');
  if (root.keys.some(({ type }) => type !== ED25519))
    throw new FormatError('a root key is not a plain Ed25519 note key');
  if (new Set(root.keys.map(({ bytes }) => latin1(bytes))).size !== root.keys.length)
    throw new FormatError('a root key is there twice');
  if (threshold < 1n || threshold > root.keys.length || root.keys.length > MAX_ROOTS)
    throw new FormatError(`the root needs ${threshold} signatures and has ${root.keys.length} ` +
      `keys, of at most ${MAX_ROOTS}`);
  if (revoked.length > MAX_REVOKED)
    throw new FormatError(`more than ${MAX_REVOKED} compromised or retired keys`);
  const policy = parsePolicy(utf8(text.slice(cut + 2)));
  if (policy.quorum === 'none')
    throw new FormatError('quorum none: a version needs witnesses, whose times decide');
  return { number, start, until, previous, root, revoked, policy, text };
}

// Whose signatures a note lacks: how many more, of which root.
async function lacking({ text, signatures }, roots) {
  const keys = new Map();
  for (const key of roots.flatMap((root) => root.keys)) keys.set(keyReference(key), key);
  for (const key of roots.flatMap((root) => root.keys))
    if (keys.get(keyReference(key)).text !== key.text)
      throw new FormatError(`two root keys ${key.name} have the ID ${key.id}`);
  const found = new Set();
  for (const line of signatures) {
    const key = keys.get(keyReference(line));
    if (!key) continue;
    await verifyLine(key, text, line.signature);
    found.add(key.text);
  }
  return roots
    .map((root) => [Number(root.threshold) -
      root.keys.filter((key) => found.has(key.text)).length, root])
    .filter(([count]) => count > 0);
}

const isSame = (one, other) => one.threshold === other.threshold &&
  one.keys.map(({ text }) => text).join() === other.keys.map(({ text }) => text).join();

const sayLacking = (missing) => missing.map(([count, { threshold, keys }]) =>
  `lacks ${count} of the ${threshold} root signatures that it needs of ` +
  keys.map(keyReference).join(', ')).join('; ');

async function parseChain(data) {
  // Each version begins with the one line that no tlog-policy can have.
  const starts = [...latin1(data).matchAll(new RegExp(`(?<![^\\n])${HEADER}(?![^\\n])`, 'g'))]
    .map(({ index }) => index);
  if (starts.length > MAX_VERSIONS)
    throw new FormatError(`policy: more than ${MAX_VERSIONS} versions`);
  const chain = [];
  for (const [at, start] of starts.entries()) {
    let missing;
    try {
      const note = parseNote(data.subarray(start, starts[at + 1]));
      const version = parseVersion(note.text);
      const before = chain.at(-1);
      checkNext(at + 1, version, before);
      const roots = !before || isSame(before.root, version.root) ? [version.root]
        : [before.root, version.root];
      missing = await lacking(note, roots);
      chain.push(version);
    } catch (error) {
      if (!(error instanceof FormatError || error instanceof VerificationError)) throw error;
      throw new FormatError(`policy: version ${at + 1}: ${error.message}`);
    }
    if (missing.length)
      throw new FormatError(`policy: version ${at + 1}: ${sayLacking(missing)}`);
  }
  return chain;
}

function checkNext(number, version, before) {
  if (version.number !== BigInt(number))
    throw new FormatError(`says that it is version ${version.number}`);
  if (!before) return;
  if (!equal(version.previous, sha256(utf8(before.text))))
    throw new FormatError('is not made for the version before it, whose hash it should state');
  if (version.start < before.start)
    throw new FormatError('its window begins before that of the version before it');
}

const isOpen = ({ start, until }, time) => start <= time && time < until;

class PolicyChain {
  // All versions, and those that count here: all, or those in force at a time.
  constructor(chain, counted = chain) {
    this.chain = chain;
    this.counted = counted;
    this.keys = new Map();
    // As in Python, the newest version's come first.
    for (const { policy } of [counted.at(-1), ...counted]) {
      for (const [reference, vkey] of policy.keys) {
        const known = this.keys.get(reference) ?? vkey;
        if (known.text !== vkey.text)
          throw new FormatError(`policy: two keys ${vkey.name} have the ID ${vkey.id}`);
        this.keys.set(reference, known);
      }
    }
    this.revoked = new Map(); // by the public key: whoever has it signs under any name
    for (const { revoked } of chain) {
      for (const { word, vkey, since } of revoked) {
        const known = this.#revocationOf(vkey) ?? { word, since };
        this.revoked.set(hex(vkey.bytes), {
          word: word === 'retired' && known.word === 'retired' ? 'retired' : 'compromised',
          since: since < known.since ? since : known.since,
        });
      }
    }
  }

  // What any version says of a key that does not count any more.
  #revocationOf(vkey) {
    return this.revoked.get(hex(vkey.bytes));
  }

  get origins() {
    return this.counted.flatMap(({ policy }) => policy.origins);
  }

  // The keys of the log of an origin, of all versions that count.
  logKeys(origin) {
    const keys = this.counted.flatMap(({ policy }) => policy.logKeys(origin));
    return [...new Map(keys.map((vkey) => [vkey.text, vkey])).values()];
  }

  at(now) {
    const counted = this.chain.filter((version) => isOpen(version, now));
    if (counted.length) return new PolicyChain(this.chain, counted);
    const { number, until } = this.chain.at(-1);
    if (now >= until)
      throw new VerificationError(`the trust policy has expired: its newest version, ${number}, ` +
        `ended on ${sayTime(until)}. Get a newer one: muniment policy update`);
    const [next] = this.chain.map(({ start }) => start).filter((start) => start > now)
      .sort((one, other) => (one < other ? -1 : 1));
    throw new VerificationError('no version of the trust policy is in force: the next one begins ' +
      `on ${sayTime(next)}`);
  }

  // By the newest version that accepts the checkpoint.
  async verify(checkpoint) {
    checkOrigin(this, checkpoint.origin);
    const verified = await verifyLines(this.keys, checkpoint);
    let worst = null;
    for (const version of this.counted.toReversed()) {
      const mine = verified.filter(([vkey]) => version.policy.keys.has(keyReference(vkey)));
      try {
        return this.#judge(checkpoint, version, mine);
      } catch (error) {
        if (!(error instanceof VerificationError)) throw error;
        const cosigned = mine.filter(([vkey]) => version.policy.witnessOf(vkey) !== undefined);
        const inside = cosigned.filter(([, time]) => isOpen(version, time ?? 0n)).length;
        const weight = [inside, cosigned.length];
        const found = { weight, why: `version ${version.number} of the policy: ${error.message}` };
        // Of two that weigh the same it is the newer one's, which came first.
        const isWorse = !worst || weight[0] > worst.weight[0] ||
          (weight[0] === worst.weight[0] && weight[1] > worst.weight[1]);
        if (isWorse) worst = found;
      }
    }
    throw new VerificationError(worst.why);
  }

  #judge(checkpoint, version, verified) {
    const leftOut = [];
    const kept = verified.map(([vkey, time]) => {
      const name = version.policy.witnessOf(vkey);
      const reason = name === undefined || !time ? null : this.#doubt(vkey, time, version);
      if (reason !== null) leftOut.push(`${show(name)} (${reason})`);
      return [vkey, time, reason === null];
    });
    let cosigned;
    try {
      cosigned = version.policy.decide(checkpoint, kept);
    } catch (error) {
      if (!(error instanceof VerificationError) || !leftOut.length) throw error;
      throw new VerificationError(
        `${error.message}; these do not count: ${leftOut.join(', ')}`);
    }
    // Witnesses cosign the head of an idle log again: what counts is what they stated before.
    const wasThere = (since) => version.policy.isMet(
      new Set(cosigned.stated.filter(([, time]) => time < since).map(([name]) => name)));
    const logKeys = cosigned.logKeys.filter((text) => {
      const revoked = this.#revocationOf(parseVkey(text));
      return !revoked || wasThere(revoked.since);
    });
    if (!logKeys.length) {
      const vkey = parseVkey(cosigned.logKeys[0]);
      const { word, since } = this.#revocationOf(vkey);
      throw new VerificationError(`checkpoint: the log's key ${vkey.name} is ${word} ` +
        `since ${sayTime(since)}, and no quorum says that this was there before`);
    }
    return { ...cosigned, logKeys, version: version.number };
  }

  // Why a cosignature does not count under a version; null if it does.
  #doubt(vkey, time, { start, until }) {
    const revoked = this.#revocationOf(vkey);
    if (revoked?.word === 'compromised')
      return `its key is compromised since ${sayTime(revoked.since)}`;
    if (revoked && time >= revoked.since)
      return `its key is retired since ${sayTime(revoked.since)}`;
    if (time < start) return `of ${sayTime(time)}, before the version, from ${sayTime(start)}`;
    if (time >= until) return `of ${sayTime(time)}, after the version, until ${sayTime(until)}`;
    return null;
  }
}
