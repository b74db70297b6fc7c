// What the records of a bundle say of runs and agents, and whose word counts:
// muniment.lineage.gather.
import { at } from './record.js';
import { canonical } from './json.js';
import { terminal } from './bytes.js';

export const refOf = (type, id, origin = null) => ({ type, id, origin });
export const keyOf = ({ type, id, origin }) => JSON.stringify([type, id, origin]);
export const counts = (producer, issuers) => issuers === null || issuers.has(producer);
export const isAllowed = (record) => at(record, 'response', 'decision') === true;

// A record and its leaf index, `found` everywhere here, by what it can be looked up by.
export class Facts {
  read = new Map(); // every record that was looked at, by leaf index
  #found = new Map();
  #batches;

  constructor(head, records, batches) {
    this.head = head;
    this.#batches = batches;
    for (const [index, record] of records)
      for (const key of new Set(this.#keysOf(record))) {
        if (!this.#found.has(key)) this.#found.set(key, []);
        this.#found.get(key).push({ index, record });
      }
  }

  #keysOf(record) {
    const [id, execution] = [record.get('id'), record.get('execution')];
    const target = record.get('target');
    switch (record.get('kind')) {
      case 'edge':
        return ['from', 'to'].map((end) => `${end} ${keyOf(this.end(record, end))}`);
      case 'decision':
        return [`decision ${id}`, ...(execution === undefined ? [] : [`decision of ${execution}`])];
      case 'revocation': {
        const [[kind, name]] = target;
        const isVkey = kind === 'key' && name.includes('+');
        return [`revoked ${kind} ${name}`,
          ...(isVkey ? [`revoked key_name ${name.split('+')[0]}`] : [])];
      }
      case 'erasure':
        return record.get('digests').map((digest) => `erasure ${digest}`);
      default:
        return [`${record.get('kind')} ${execution}`];
    }
  }

  // The thing at an end of an edge; naming this very log makes it no stranger.
  end(edge, name) {
    const [type, id, origin] = ['type', 'id', 'origin'].map((member) => edge.get(name).get(member));
    return refOf(type, id, origin === this.head.origin ? null : origin);
  }

  peek(key) {
    return this.#found.get(key) ?? [];
  }

  find(key) {
    const found = this.peek(key);
    for (const { index, record } of found) this.read.set(index, record);
    return found;
  }

  // The key that signed the manifest of the record at a leaf; null when the bundle does not tell.
  signer(index) {
    let [low, high] = [0, this.#batches.length]; // the first manifest behind the record
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#batches[middle].manifest > index) high = middle;
      else low = middle + 1;
    }
    const batch = this.#batches[low];
    return batch && batch.first <= index ? batch.key : null;
  }
}

// The gateways that a verifier has named, or nobody: null.
export class Gateways {
  constructor(keys) {
    this.names = keys && new Set(keys.map(({ name }) => name));
  }

  decides(producer) {
    return this.names === null || this.names.has(producer);
  }

  vouches(producer) {
    return this.names !== null && this.names.has(producer);
  }

  issuers(producers) {
    return this.names ?? (producers.length ? new Set(producers) : null);
  }
}

// What a record says of a thing for which its producer's word does not count.
export function unheard(subject, { index, record }) {
  let said;
  switch (record.get('kind')) {
    case 'decision':
      said = `decision ${record.get('id')}: ${isAllowed(record) ? 'allow' : 'deny'}`;
      break;
    case 'edge': {
      const end = record.get(at(record, 'from', 'id') === subject.id ? 'to' : 'from');
      said = `${record.get('relation')} ${end.get('type')} ${end.get('id')}`;
      break;
    }
    case 'outcome':
      said = `outcome: ${record.get('status')}`;
      break;
    case 'verification':
      said = `verification: ${record.get('state')}`;
      break;
    default:
      said = `revoked since ${record.get('since')}`;
  }
  return { index, subject, producer: record.get('producer'), said: terminal(said) };
}

class Run {
  issuers = null;
  links = { triggered_by: [], performed_by: [], authorized_by: [] };
  decisions = [];
  misbound = [];
  namesakes = [];
  outcomes = [];
  verifications = [];
  uses = []; // when it relied on its authorization
  isExternal = false;
  first = null;
  unheard = [];

  constructor(id, depth, arrival) {
    Object.assign(this, { id, depth, arrival, ref: refOf('run', id) });
  }

  get allowing() {
    return this.decisions.filter(({ record }) => isAllowed(record));
  }

  seenAt(index) {
    if (this.first === null || index < this.first) this.first = index;
  }

  heard(found) {
    return found.filter((one) => {
      const isHeard = counts(one.record.get('producer'), this.issuers);
      if (isHeard) this.seenAt(one.index);
      else this.unheard.push(unheard(this.ref, one));
      return isHeard;
    });
  }
}

// A run and all runs that it descends from, by id, nearest first.
export function gather(execution, facts, gateways) {
  const runs = new Map([[execution, new Run(execution, 0, null)]]);
  let frontier = [execution];
  while (frontier.length) {
    const level = frontier.map((id) => ({
      run: runs.get(id),
      links: facts.find(`from ${keyOf(refOf('run', id))}`).map((one) =>
        ({ ...one, target: facts.end(one.record, 'to') })),
      stated: facts.find(`decision of ${id}`),
    }));
    frontier = [];
    const named = namedBy(level, facts);
    for (const { run, links, stated } of level) {
      bind(run, links, stated, named, gateways);
      for (const { index, target } of run.links.triggered_by)
        if (target.origin === null && !runs.has(target.id)) {
          runs.set(target.id, new Run(target.id, run.depth + 1, index));
          frontier.push(target.id);
        }
    }
  }
  for (const run of runs.values())
    for (const { index, record } of run.decisions) {
      const same = facts.find(`decision ${record.get('id')}`);
      run.namesakes.push(...same.filter((other) => other.index !== index &&
        other.record.get('producer') === record.get('producer') &&
        canonical(other.record) !== canonical(record)));
    }
  for (const run of runs.values()) {
    run.outcomes = run.heard(facts.find(`outcome ${run.id}`));
    run.verifications = run.heard(facts.find(`verification ${run.id}`));
    run.uses.push(...run.outcomes.map((one) => use(one, 'ended')));
  }
  for (const run of runs.values())
    for (const link of run.links.triggered_by)
      if (link.target.origin === null)
        runs.get(link.target.id).uses.push(use(link, `triggered run ${run.id}`));
  return runs;
}

const use = ({ index, record }, what) =>
  ({ index, time: BigInt(Math.floor(record.get('time') / 1000)), what,
    producer: record.get('producer') });

// The decisions that `authorized_by` edges claim, by id; those that state the run are known.
function namedBy(level, facts) {
  const claimed = new Map();
  for (const { links, stated } of level)
    for (const { record, target } of links)
      if (record.get('relation') === 'authorized_by' && target.origin === null &&
        !stated.some((one) => one.record.get('id') === target.id &&
          one.record.get('producer') === record.get('producer'))) claimed.set(target.id, null);
  for (const id of claimed.keys()) claimed.set(id, facts.find(`decision ${id}`));
  return claimed;
}

// Finds the decisions on a run, by them its issuers, and by these the edges that count.
function bind(run, links, stated, named, gateways) {
  const bound = new Map();
  for (const one of stated)
    if (gateways.decides(one.record.get('producer'))) bound.set(one.index, one);
  const meant = new Map();
  const fits = new Set();
  const claims = links.filter(({ record }) => record.get('relation') === 'authorized_by');
  for (const { index, record, target } of claims) {
    if (target.origin !== null) continue;
    if (!named.has(target.id)) {
      fits.add(index);
      continue;
    }
    const producer = record.get('producer');
    const own = named.get(target.id).filter((one) => one.record.get('producer') === producer);
    const found = (own.length ? own : named.get(target.id)).filter((one) =>
      gateways.decides(one.record.get('producer')));
    meant.set(index, found);
    for (const one of found) {
      const execution = one.record.get('execution');
      if (execution === undefined &&
        (producer === one.record.get('producer') || gateways.vouches(producer)))
        bound.set(one.index, one);
      if (execution === undefined || execution === run.id) fits.add(index);
    }
  }
  const deciders = bound.size ? [...bound.values()]
    : claims.filter(({ target }) => target.origin !== null);
  run.issuers = gateways.issuers(deciders.map(({ record }) => record.get('producer')));
  run.decisions = [...bound.values()].sort((one, other) => (one.index < other.index ? -1 : 1));
  run.decisions.forEach(({ index }) => run.seenAt(index));
  run.unheard.push(...stated.filter(({ index }) => !bound.has(index)).map((one) =>
    unheard(run.ref, one)));
  for (const link of run.heard(links)) {
    const relation = link.record.get('relation');
    run.links[relation]?.push(link);
    if (relation !== 'authorized_by') continue;
    if (link.target.origin !== null) run.isExternal = true;
    else if (!fits.has(link.index)) run.misbound.push({ link, others: meant.get(link.index) });
  }
}
