// Tracing a run to the origin of its authorization: muniment.lineage.trace, over one bundle.
import { approvalsOf } from './approval.js';
import { terminal } from './bytes.js';
import { Facts, gather, Gateways, isAllowed, keyOf, refOf } from './facts.js';
import { cycles, judgeAgents, judgeRun } from './judge.js';
import { timeOf } from './policy.js';
import { at } from './record.js';
import { Moment, Revocations } from './revoked.js';
import { thingId } from './thingnames.js';

const BREAK_KINDS = [
  'unknown_run', 'dangling_parent', 'dangling_decision', 'unauthorized_run', 'contested_run',
  'misbound_decision', 'conflicting_decision', 'later_record', 'late_authorization',
  'expired_authorization', 'revoked_decision', 'revoked_execution', 'revoked_key',
  'unauthorized_delegation', 'cycle', 'truncated',
];

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
    const plain = (_, part) => (typeof part === 'bigint' ? `${part}` : part);
    const key = (one) => JSON.stringify(one, plain);
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
      ...approvedBy(record),
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
  return { type, id, ...(original === id ? {} : { original }),
    ...(origin === null ? {} : { origin }),
    ...(external ? { index: external.get('index'), leaf: external.get('leaf') } : {}) };
}

// Which approvals a decision rests on, and whose; only of one that does.
function approvedBy(record) {
  const told = approvalsOf(record).map((one) => (
    { approval: one.get('id'), approver: one.get('approver') }));
  const [first, ...others] = told;
  return others.length ? { ...first, further_approvals: others } : { ...first };
}
