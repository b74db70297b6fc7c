// Tracing a run to the origin of its authorization: muniment.lineage.trace, over one bundle.
import { sha256, decode, hex, terminal, utf8 } from './bytes.js';
import { counts, Facts, gather, Gateways, isAllowed, keyOf, refOf, unheard } from './facts.js';
import { at } from './record.js';
import { timeOf } from './policy.js';

const BREAK_KINDS = [
  'unknown_run', 'dangling_parent', 'dangling_decision', 'unauthorized_run', 'contested_run',
  'misbound_decision', 'conflicting_decision', 'later_record', 'late_authorization',
  'expired_authorization', 'revoked_decision', 'revoked_execution', 'revoked_key',
  'unauthorized_delegation', 'cycle', 'truncated',
];
const TOLERANCE = 60n;
const PAGE = 256;
const ENCODED = "UTF-8''";
const HASHED = "SHA-256''";

// The name under which edges have the thing of an id, and back.
function thingName(id) {
  if (/^[!-~]{1,2048}$/.test(id) && !id.startsWith(ENCODED) && !id.startsWith(HASHED)) return id;
  const data = utf8(id);
  const encoded = [...data].map((byte) => byte > 0x20 && byte < 0x7f && byte !== 0x25
    ? String.fromCharCode(byte) : `%${hex([byte]).toUpperCase()}`);
  const name = ENCODED + encoded.join('');
  return name.length <= 2048 ? name : HASHED + hex(sha256(data));
}

function thingId(name) {
  if (!name.startsWith(ENCODED)) return name;
  const bytes = name.slice(ENCODED.length).replace(/%([0-9a-fA-F]{2})/g, (_, digits) =>
    String.fromCharCode(parseInt(digits, 16)));
  const id = decode(Uint8Array.from(bytes, (char) => char.charCodeAt(0)), () => '\ufffd');
  return thingName(id) === name ? id : name;
}

const broken = (kind, subject, index, expected, found) =>
  ({ kind, subject, index, sentence: `expected ${expected}, found ${found}` });

// When a run did something: at a stated time, of a record that the log had at `latest`.
class Moment {
  constructor(time, latest) {
    Object.assign(this, { time, latest, words: `in [the beginning, ${latest}]` });
    this.isImplausible = latest !== null && time > latest + TOLERANCE;
  }

  isWithin(begin, end) {
    if (this.isImplausible) return this.latest < end && begin <= this.latest;
    return begin <= this.time && this.time < end;
  }

  isBefore(since) {
    return (this.isImplausible ? this.latest : this.time) < since;
  }
}

class Revocations {
  unheard = new Map();

  // `producers` are those of all decisions; the log signs for those who cannot.
  constructor(facts, gateways, now, producers) {
    const names = new Set([...producers, facts.head.origin]);
    Object.assign(this, { facts, gateways, now, names });
  }

  ofRun({ ref, issuers }) {
    const found = this.#heard(this.facts.find(`revoked execution ${ref.id}`), ref, issuers);
    return this.#inForce('revoked_execution', ref, found, `run ${ref.id}`);
  }

  // What is in force against a decision and the keys behind it; `ended` is when its run ended.
  ofDecision({ index, record }, issuers, ended) {
    const [id, producer] = [record.get('id'), record.get('producer')];
    const subject = refOf('decision', id);
    const own = issuers ?? new Set([producer]);
    const breaks = this.#inForce('revoked_decision', subject,
      this.#heard(this.facts.find(`revoked decision ${id}`), subject, own), `decision ${id}`);
    const edges = this.facts.find(`from ${keyOf(subject)}`).filter((one) =>
      one.record.get('relation') === 'revoked_by');
    for (const edge of this.#heard(edges, subject, own)) {
      const since = Math.floor(edge.record.get('time') / 1000);
      if (since <= this.now)
        breaks.push(broken('revoked_decision', subject, edge.index, `decision ${id} unrevoked`,
          `an edge at leaf ${edge.index} by ${terminal(edge.record.get('producer'))}: revoked by ` +
          `run ${at(edge.record, 'to', 'id')} at ${since}`));
    }
    const keys = [...(record.get('signatures') ?? []).map((one) => one.get('key')),
      at(record, 'artifact', 'binding', 'thumbprint'), at(record, 'artifact', 'approval', 'key')];
    for (const key of keys.filter((one) => one !== undefined))
      breaks.push(...this.#ofKey(this.facts.find(`revoked key ${key}`), subject, own, ended));
    const revokedKeys = (name) => this.facts.find(`revoked key_name ${name}`);
    if (![producer, this.facts.head.origin].some((name) => revokedKeys(name).length)) return breaks;
    const signer = this.facts.signer(index);
    for (const name of new Set([producer, keyName(signer)])) {
      const revoked = !this.names.has(name) ? [] : revokedKeys(name).filter((one) =>
        this.#hasSigned(producer, signer, at(one.record, 'target', 'key')));
      breaks.push(...this.#ofKey(revoked, subject, own, ended));
    }
    return breaks;
  }

  #hasSigned(producer, signer, key) {
    if (signer !== null) return signer === key;
    if (!key.startsWith(`${producer}+`)) return false;
    const named = (this.gateways.keys ?? []).filter(({ name }) => name === producer);
    return !named.length || named.some(({ id }) => key === `${producer}+${id}`);
  }

  #ofKey(revoked, subject, own, ended) {
    return revoked.filter(({ record }) =>
      !ended.some((moment) => moment.isBefore(record.get('since')))).flatMap((one) =>
      this.#inForce('revoked_key', subject, this.#heard([one], subject, own, true),
        `key ${terminal(at(one.record, 'target', 'key'))} of decision ${subject.id}`));
  }

  #heard(found, subject, issuers, isKey = false) {
    return found.filter((one) => {
      const producer = one.record.get('producer');
      const isHeard = counts(producer, issuers) || this.gateways.vouches(producer) ||
        (isKey && this.gateways.names === null && this.#isGateway(one));
      if (!isHeard) this.unheard.set(`${one.index} ${keyOf(subject)}`, unheard(subject, one));
      return isHeard;
    });
  }

  // Whether a record's producer signs for itself; when nobody knows, it may.
  #isGateway({ index, record }) {
    const signer = this.facts.signer(index);
    return signer === null || keyName(signer) === record.get('producer');
  }

  #inForce(kind, subject, found, what) {
    return found.filter(({ record }) => record.get('since') <= this.now).map(({ index, record }) =>
      broken(kind, subject, index, `${what} unrevoked`, `a revocation at leaf ${index} by ` +
        `${terminal(record.get('producer'))} since ${record.get('since')}`));
  }
}

const keyName = (signer) => (signer === null ? '' : signer.split('+')[0]);

function* judgeRun(run, runs, revocations, moments) {
  if (run.first === null) {
    const reached = `records of run ${run.id}, to which the edge at leaf ${run.arrival} leads`;
    yield run.arrival === null
      ? broken('unknown_run', run.ref, null, `records of run ${run.id}`, 'none in the log')
      : broken('dangling_parent', run.ref, run.arrival, reached, 'none in the log');
  } else {
    yield* unbound(run);
    yield* ordered(run, runs);
    yield* contested(run);
    yield* untimely(run, moments);
  }
  yield* revocations.ofRun(run);
  const ended = run.outcomes.filter(({ record }) => record.get('status') !== 'unknown')
    .map(({ index }) => moments.get(index));
  for (const found of run.allowing) yield* revocations.ofDecision(found, run.issuers, ended);
}

function* unbound(run) {
  for (const { link: { index, target }, others } of run.misbound) {
    const claims = `decision ${target.id}, which the edge at leaf ${index} claims, to authorise `;
    yield others.length
      ? broken('misbound_decision', target, index, `${claims}run ${run.id}`,
        `that it authorises run ${others[0].record.get('execution') ?? 'None'} ` +
        `(leaf ${others[0].index})`)
      : broken('dangling_decision', target, index,
        `decision ${target.id}, to which the edge at leaf ${index} leads`, 'none in the log');
  }
  if (!run.allowing.length && !run.isExternal) {
    const last = run.decisions.at(-1);
    yield broken('unauthorized_run', run.ref, last?.index ?? run.arrival,
      `a decision that allows run ${run.id}`,
      last ? `the decision at leaf ${last.index}, which denies it` : 'no decision');
  }
  for (const { index, record } of run.namesakes)
    yield broken('conflicting_decision', refOf('decision', record.get('id')), index,
      `one decision ${record.get('id')} of its producer`, `another one at leaf ${index}`);
}

// One run, one issuer, one answer: whoever decides next to it leaves open which one counts.
function* contested(run) {
  if (run.decisions.length === 1) return;
  const said = run.decisions.length ? run.decisions
    : run.links.authorized_by.filter(({ target }) => target.origin !== null);
  const deciders = new Map(said.toReversed().map(({ index, record }) =>
    [record.get('producer'), index]));
  const largest = (indices) => indices.reduce((one, other) => (one > other ? one : other));
  if (deciders.size > 1)
    yield broken('contested_run', run.ref, largest([...deciders.values()]),
      `one producer to decide on run ${run.id}`,
      [...deciders.keys()].sort().map(terminal).join(' and '));
  const denying = run.decisions.filter(({ record }) => !isAllowed(record));
  if (!run.allowing.length || !denying.length) return;
  const [allowed, denied] = [run.allowing[0].index, denying[0].index];
  yield broken('contested_run', run.ref, largest([allowed, denied]), `one answer on run ${run.id}`,
    `that it is allowed (leaf ${allowed}) and denied (leaf ${denied})`);
}

function* ordered(run, runs) {
  const bound = new Map(run.decisions.toReversed().map(({ index, record }) =>
    [record.get('id'), index]));
  for (const { index, target } of [...run.links.authorized_by, ...run.links.triggered_by]) {
    if (target.origin !== null) continue;
    const known = target.type === 'run' ? runs.get(target.id).first : bound.get(target.id) ?? null;
    if (known !== null && known > index)
      yield broken('later_record', target, index,
        `the edge at leaf ${index} to lead to something earlier`,
        `that ${target.type} ${target.id} first comes at leaf ${known}`);
  }
  if (!run.allowing.length) return;
  const logged = run.allowing[0].index;
  const early = run.uses.find(({ index }) => run.first < index && index < logged);
  if (early)
    yield broken('late_authorization', run.ref, early.index,
      `the decision for run ${run.id} before it ${early.what} (leaf ${early.index})`,
      `it at leaf ${logged}`);
}

function* untimely(run, moments) {
  const periods = run.allowing.map(({ record }) => at(record, 'artifact', 'validity'))
    .filter((one) => one).map((one) => [one.get('not_before'), one.get('not_after')]);
  if (periods.length !== run.allowing.length || run.isExternal || !periods.length) return;
  for (const { index, what } of run.uses) {
    const moment = moments.get(index);
    if (periods.some(([begin, end]) => moment.isWithin(begin, end))) continue;
    const isStated = periods.some(([begin, end]) => begin <= moment.time && moment.time < end);
    const [begin, end] = periods.at(-1);
    yield broken('expired_authorization', run.ref, index,
      `run ${run.id} to act in [${begin}, ${end})`, `that it ${what} at ${moment.time} (leaf ` +
      `${index})${isStated ? `, which was logged ${moment.words}` : ''}`);
    return;
  }
}

// Each link that closes a cycle, depth first and without recursion; `links` by the key of a thing.
function* cycles(starts, links) {
  const done = new Set();
  const below = (thing) => (links.get(keyOf(thing)) ?? []).values();
  for (const start of starts) {
    if (done.has(keyOf(start))) continue;
    const path = new Set([keyOf(start)]);
    const stack = [[keyOf(start), below(start)]];
    while (stack.length) {
      const [thing, rest] = stack.at(-1);
      const { value, done: isOver } = rest.next();
      if (isOver) {
        stack.pop();
        path.delete(thing);
        done.add(thing);
      } else if (path.has(keyOf(value.target))) {
        const name = `${value.target.type} ${value.target.id}`;
        yield broken('cycle', value.target, value.index, `${name} not to descend from itself`,
          `that the edge at leaf ${value.index} closes a cycle`);
      } else if (!done.has(keyOf(value.target))) {
        path.add(keyOf(value.target));
        stack.push([keyOf(value.target), below(value.target)]);
      }
    }
  }
}

// Agents that the allowing decisions of a lineage name.
function namedAgents(runs) {
  const named = new Set();
  for (const run of runs.values()) {
    if (run.allowing.length) run.links.performed_by.forEach(({ target }) => named.add(target.id));
    for (const { record } of run.allowing) {
      named.add(thingName(at(record, 'request', 'subject', 'id')));
      const attribution = at(record, 'artifact', 'attribution');
      if (attribution) named.add(attribution.get('authority'));
      for (let actor = attribution?.get('act'); actor; actor = actor.get('act'))
        named.add(actor.get('sub'));
    }
  }
  return named;
}

// Follows the delegations behind the agents that performed the runs. Of an agent's delegations only
// the first page is read in which somebody speaks whose word counts.
function judgeAgents(runs, facts) {
  const named = namedAgents(runs);
  const result = { links: [], breaks: [], unheard: [] };
  const agents = new Map();
  for (const run of runs.values())
    for (const { target } of run.links.performed_by) {
      if (target.origin !== null) continue;
      const known = agents.get(keyOf(target)) ??
        { ref: target, depth: run.depth, issuers: new Set() };
      known.issuers = known.issuers && run.issuers && new Set([...known.issuers, ...run.issuers]);
      agents.set(keyOf(target), known);
    }
  const starts = [...agents.values()].map(({ ref }) => ref);
  const links = new Map();
  for (let level = [...agents.values()]; level.length;) {
    const deeper = [];
    for (const { ref, depth, issuers } of level) {
      const all = facts.peek(`from ${keyOf(ref)}`);
      const isHeard = ({ record }) => counts(record.get('producer'), issuers);
      let end = Math.min(PAGE, all.length);
      while (end < all.length && !all.slice(end - PAGE, end).some(isHeard))
        end = Math.min(end + PAGE, all.length);
      const first = new Map();
      for (const one of all.slice(0, end)) {
        facts.read.set(one.index, one.record);
        if (one.record.get('relation') !== 'delegated_by') continue;
        const target = facts.end(one.record, 'to');
        if (!isHeard(one)) result.unheard.push(unheard(ref, one));
        else if (!first.has(keyOf(target))) first.set(keyOf(target), { ...one, target });
      }
      const good = [...first.values()].filter(({ target }) =>
        target.origin !== null || named.has(target.id));
      for (const link of good.length ? good : first.values())
        result.links.push({ depth, source: ref, link });
      if (first.size && !good.length)
        result.breaks.push(undelegated(ref, [...first.values()][0], end < all.length));
      links.set(keyOf(ref), good);
      for (const { target } of good)
        if (target.origin === null && !agents.has(keyOf(target))) {
          agents.set(keyOf(target), { ref: target, depth, issuers });
          deeper.push(agents.get(keyOf(target)));
        }
    }
    level = deeper;
  }
  result.breaks.push(...cycles(starts, links));
  return result;
}

function undelegated(agent, { index, target }, isCut) {
  if (isCut)
    return broken('truncated', agent, index,
      `an authorised delegator of agent ${agent.id} among its first delegations`,
      'none, and there are more');
  return broken('unauthorized_delegation', agent, index, `the delegation to agent ${agent.id} to ` +
    'come from an agent that an allowing decision of this lineage names',
  `agent ${target.id} (leaf ${index})`);
}

// Traces a run through a verified bundle. Returns the members of the command's --json, and the
// facts, which know what was looked at.
export function trace(execution, { cosigned, records, batches }, now, gatewayKeys) {
  const latest = timeOf(cosigned);
  const head = { origin: cosigned.origin, size: cosigned.size, time: latest };
  const facts = new Facts(head, records, batches);
  const gateways = new Gateways(gatewayKeys);
  const runs = gather(execution, facts, gateways);
  const all = [...runs.values()];
  const decisions = new Map(all.flatMap((run) => run.decisions.map((one) => [one.index, one])));
  const producers = [...decisions.values()].map(({ record }) => record.get('producer'));
  const revocations = new Revocations(facts, gateways, now, producers);
  const moments = new Map(all.flatMap((run) =>
    run.uses.map(({ index, time }) => [index, new Moment(time, latest || null)])));
  const breaks = [];
  const order = ({ kind, index }) => [BREAK_KINDS.indexOf(kind), index ?? -1n];
  const byOrder = (one, other) => {
    const [[kind, index], [otherKind, otherIndex]] = [order(one), order(other)];
    return kind - otherKind || (index < otherIndex ? -1 : Number(index > otherIndex));
  };
  for (const run of all)
    breaks.push(...[...judgeRun(run, runs, revocations, moments)].sort(byOrder));
  const agents = judgeAgents(runs, facts);
  breaks.push(...agents.breaks);
  breaks.push(...cycles(all.map(({ ref }) => ref),
    new Map(all.map((run) => [keyOf(run.ref), run.links.triggered_by]))));
  const strangers = [...all.flatMap((run) => run.unheard), ...agents.unheard,
    ...revocations.unheard.values()];
  const distinct = (values) => {
    const key = (one) => JSON.stringify(one, (_, part) => typeof part === 'bigint' ? `${part}` : part);
    return [...new Map(values.map((one) => [key(one), one])).values()];
  };
  const told = (one) => ({ ...one, subject: thing(one.subject) });
  const inOrder = (one, other) => (one.index < other.index ? -1 : Number(one.index > other.index));
  const states = all.map(state);
  return { facts, members: {
    execution,
    continuous: !breaks.length,
    ended: states[0].ended,
    head,
    origins: all.filter((run) => !run.links.triggered_by.length).map(({ id }) => id),
    hops: hops(all, agents),
    decisions: [...decisions.values()].sort(inOrder).map(({ index, record }) => ({
      index, id: record.get('id'), allowed: isAllowed(record), producer: record.get('producer'),
      ...(at(record, 'artifact', 'approval') ? {
        approval: at(record, 'artifact', 'approval', 'id'),
        approver: at(record, 'artifact', 'approval', 'approver'),
      } : {}),
    })),
    runs: states,
    breaks: distinct(breaks).map(({ kind, subject, index, sentence }) => ({ kind,
      subject: thing(subject), index, sentence,
      producer: facts.read.get(index)?.get('producer') ?? null })),
    warnings: [...implausible(all, moments)].map(told),
    unheard: distinct(strangers).sort((one, other) => inOrder(one, other) ||
      (keyOf(one.subject) < keyOf(other.subject) ? -1 : 1)).map(told),
  } };
}

function* implausible(all, moments) {
  for (const run of all)
    for (const { index, what, producer } of run.uses) {
      const moment = moments.get(index);
      if (moment.isImplausible)
        yield { kind: 'implausible_time', subject: run.ref, index, producer,
          sentence: `${terminal(producer)} says that run ${run.id} ${what} at ${moment.time} ` +
            `(leaf ${index}), which the log took ${moment.words}` };
    }
}

function state(run) {
  const statuses = run.outcomes.map(({ record }) => record.get('status'));
  const ended = statuses.find((status) => status !== 'unknown') ?? statuses[0] ?? 'not told';
  return {
    id: run.id,
    issuers: [...new Set(run.decisions.map(({ record }) => record.get('producer')))].sort(),
    ended,
    outcomes: run.outcomes.map(({ index, record }) => ({ index, status: record.get('status'),
      denial: at(record, 'denial', 'codes') ?? [], time: record.get('time'),
      producer: record.get('producer') })),
    verifications: run.verifications.map(({ index, record }) =>
      ({ index, state: record.get('state'), producer: record.get('producer') })),
  };
}

function hops(all, agents) {
  const found = [];
  const add = (depth, source, { index, record, target }) => {
    const external = target.origin === null ? null : record.get('to');
    found.push({ depth, index, relation: record.get('relation'), from: thing(source),
      to: thing(target, external), producer: record.get('producer') });
  };
  for (const run of all) {
    const { authorized_by: claims, performed_by: agentsOf, triggered_by: parents } = run.links;
    for (const link of [...claims, ...agentsOf, ...parents]) add(run.depth, run.ref, link);
    // A decision that states its run needs no edge to be a link.
    for (const { index, record } of run.decisions)
      if (!claims.some(({ target }) => target.id === record.get('id')))
        found.push({ depth: run.depth, index, relation: 'authorized_by', from: thing(run.ref),
          to: thing(refOf('decision', record.get('id'))), producer: record.get('producer') });
  }
  for (const { depth, source, link } of agents.links) add(depth, source, link);
  return found.sort((one, other) => one.depth - other.depth ||
    (one.index < other.index ? -1 : Number(one.index > other.index)));
}

function thing({ type, id, origin }, external = null) {
  const original = thingId(id);
  return { type, id, ...(original === id ? {} : { original }), ...(origin === null ? {} : { origin }),
    ...(external ? { index: external.get('index'), leaf: external.get('leaf') } : {}) };
}
