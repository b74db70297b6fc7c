// When runs acted, and which revocations are in force: muniment.lineage.moments and revoked.
import { approvalsOf } from './approval.js';
import { terminal } from './bytes.js';
import { counts, keyOf, refOf, unheard } from './facts.js';
import { at } from './record.js';

const TOLERANCE = 60n;

export const broken = (kind, subject, index, expected, found) =>
  ({ kind, subject, index, sentence: `expected ${expected}, found ${found}` });

// When a run did something: at a stated time, of a record that the log had at `latest`.
export class Moment {
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

export class Revocations {
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
      at(record, 'artifact', 'binding', 'thumbprint'),
      ...approvalsOf(record).map((one) => one.get('key'))];
    for (const key of keys.filter((one) => one !== undefined))
      breaks.push(...this.#ofKey(this.facts.find(`revoked key ${key}`), subject, own, ended));
    const revokedKeys = (name) => this.facts.find(`revoked key_name ${name}`);
    if (![producer, this.facts.head.origin].some((name) => revokedKeys(name).length)) return breaks;
    // Who shows a decision may leave its manifest out: what nobody knows is as bad as it can be.
    const signer = this.facts.signer(index);
    const names = signer === null ? [producer, this.facts.head.origin] : [keyName(signer)];
    for (const name of new Set(names)) {
      const revoked = !this.names.has(name) ? [] : revokedKeys(name).filter((one) =>
        signer === null || signer === at(one.record, 'target', 'key'));
      breaks.push(...this.#ofKey(revoked, subject, own, ended));
    }
    return breaks;
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

const keyName = (signer) => signer.split('+')[0];
