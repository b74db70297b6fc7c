// What is wrong with one run of a lineage, and with the agents behind it:
// muniment.lineage.judge and delegation.
import { terminal } from './bytes.js';
import { counts, isAllowed, keyOf, refOf, unheard } from './facts.js';
import { at } from './record.js';
import { broken } from './revoked.js';
import { thingName } from './thingnames.js';

const PAGE = 256;

export function* judgeRun(run, runs, revocations, moments) {
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
export function* cycles(starts, links) {
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
export function judgeAgents(runs, facts) {
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
