// Permits: what a decision states against what a runtime is and wants, as `muniment permit verify
// --without-facts` says it. What the log holds besides (lineage, revocations) takes a replica.
import { digestOf, disclose, escapeToken, MAX_ADDENDUM, withholdingOf } from './addenda.js';
import { checkApprovals } from './approval.js';
import {
  compareBytes, FormatError, indexOf, parseBase64, parseText, splitLines, startsWith, terminal,
  utf8, VerificationError,
} from './bytes.js';
import { canonical, parseJson } from './json.js';
import { ED25519, keyReference, ML_DSA_44, verifyEd25519, verifyMldsa44 } from './note.js';
import { ahead, CLOCK_SKEW, show, timeOf } from './policy.js';
import { MAX_TLOG_PROOF_SIZE, parseTlogProof, verifyTlogProof } from './proof.js';
import { at, checkType, parseRecord } from './record.js';

export const HEADER = 'muniment/disclosing-permit/v1';
export const WITH_STATUS = 'muniment/permit-with-status/v1';
export const CODES = [
  'authorization_discontinuity', 'invalid_signature', 'runtime_identity_mismatch',
  'policy_mismatch', 'environment_integrity_failure', 'governance_mesh_discontinuity',
  'lineage_fragmentation', 'revoked_authorization', 'denied_by_policy', 'could_not_evaluate',
];
const MAX_DISCLOSED = 24 * 1024 * 1024;
const MAX_LINES_SIZE = HEADER.length + Math.ceil(MAX_DISCLOSED / 3) * 4 + 256 * 14;
const MAX_PERMIT_SIZE = MAX_LINES_SIZE + MAX_TLOG_PROOF_SIZE;
const MAX_CONTEXT_SIZE = MAX_ADDENDUM + 1024 * 1024;
const ARGUMENTS = '/request/context/arguments';
const SHOWN = 16;
const [EARLIEST, LATEST] = [946_684_800, 4_102_444_800];

export function parsePermit(data, more = []) {
  if (data.length > MAX_PERMIT_SIZE)
    throw new FormatError(`permit: more than ${MAX_PERMIT_SIZE} bytes`);
  if (startsWith(data, `${WITH_STATUS}\n`))
    throw new FormatError('permit: it has a status (completeness proofs), which this page does ' +
      'not read: muniment permit verify judges by it');
  let addenda = [];
  if (startsWith(data, `${HEADER}\n`)) {
    const cut = indexOf(data, '\n\n', MAX_LINES_SIZE);
    if (cut < 0)
      throw new FormatError('permit: no empty line after the addenda, or they are too long');
    const text = parseText(data.subarray(0, cut + 1), 'permit', MAX_LINES_SIZE);
    addenda = splitLines(text).slice(1).map((line, number) => {
      if (!line.startsWith('addendum '))
        throw new FormatError(`permit: line ${number + 2} is no addendum`);
      return parseBase64(line.slice(9), `permit: addendum ${number}`);
    });
    const digests = addenda.map(digestOf);
    if (!digests.length || digests.some((one, number) => number && digests[number - 1] >= one))
      throw new FormatError('permit: the addenda are not in the order of their digests');
    data = data.subarray(cut + 2);
  }
  if (data.length > MAX_TLOG_PROOF_SIZE)
    throw new FormatError(`permit: a proof of more than ${MAX_TLOG_PROOF_SIZE} bytes`);
  const proof = parseTlogProof(data);
  const permit = open(proof, addenda);
  return more.length ? open(proof, [...addenda, ...more]) : permit;
}

function open(proof, addenda) {
  if (proof.extra === null)
    throw new FormatError('permit: the proof has no extra line with the record');
  try {
    const record = parseRecord(proof.extra);
    const decision = record.get('kind') === 'decision' ? record : null;
    let found = { whole: record, disclosed: new Map() };
    if (addenda.length) {
      if (addenda.reduce((total, one) => total + one.length, 0) > MAX_DISCLOSED)
        throw new FormatError(`addenda of more than ${MAX_DISCLOSED} bytes`);
      if (!decision)
        throw new FormatError('addendum 0: the record is no decision, and withholds nothing');
      const ordered = new Map(addenda.map((one) => [digestOf(one), one]));
      found = disclose(decision, [...ordered.keys()].sort().map((digest) => ordered.get(digest)));
    }
    return { proof, record, decision, addenda, ...found };
  } catch (error) {
    if (!(error instanceof FormatError || error instanceof VerificationError)) throw error;
    throw new FormatError(`permit: ${error.message}`);
  }
}

export function parseContext(data, now) {
  const given = parseJson(data, 'context', MAX_CONTEXT_SIZE);
  checkType(given, 'context', 'context: ');
  const stated = given.get('now') ?? null;
  if (stated !== null && !(EARLIEST <= stated && stated < LATEST)) {
    const isMilliseconds = EARLIEST * 1000 <= stated && stated < LATEST * 1000;
    throw new FormatError(`context: now: expected Unix seconds${isMilliseconds
      ? `, ${stated} can only be milliseconds` : ` between 2000 and 2100, got ${stated}`}`);
  }
  return given.set('now', stated ?? now);
}

const finding = (code, check, expected, found) => ({ code, check, expected, found });
const discontinuity = (...rest) => finding('authorization_discontinuity', ...rest);
const orNone = (text) => (text === undefined || text === null ? 'none' : terminal(text));
const entity = (value) => `${terminal(value.get('type'))} ${terminal(value.get('id'))}`;
const isSame = (one, other) => ['type', 'id'].every((name) => one.get(name) === other.get(name));

// Says whether a runtime may do what it wants to do. `trust` has policy, authorities, approvers,
// approvals, gateways (null for all) and what the runtime takes: allowUnbound, allowAnyPolicy,
// requireApproval.
export async function verifyPermit(permit, context, trust) {
  const findings = [];
  const now = BigInt(context.get('now'));
  let cosigned = null;
  try {
    cosigned = await verifyTlogProof(permit.proof, permit.proof.extra, trust.policy.at(now));
    findings.push(...checkAge(cosigned, now));
  } catch (error) {
    if (!(error instanceof FormatError || error instanceof VerificationError)) throw error;
    const expected = 'the record under a checkpoint that the policy accepts';
    findings.push(finding('invalid_signature', 'proof', expected, terminal(error.message)));
  }
  const { decision, record } = permit;
  if (decision) {
    const artifact = decision.get('artifact');
    findings.push(...checkAuthorization(decision, artifact, context));
    findings.push(...checkArguments(permit, context));
    findings.push(...await checkAuthorities(decision, trust.authorities));
    findings.push(...checkGateway(decision, trust.gateways));
    for (const [code, ...rest] of await checkApprovals(decision, permit.whole, trust))
      findings.push(finding(code, 'approval', ...rest));
    findings.push(...checkIdentity(artifact, context, trust));
    findings.push(...checkPolicy(artifact, context, trust));
    findings.push(...checkEnvironment(artifact, context));
    findings.push(...checkGovernance(artifact, context));
  } else findings.push(
    discontinuity('record', 'a decision', `a record of kind ${record.get('kind')}`));
  if (!cosigned) return verdict(findings);
  return verdict(findings, {
    index: permit.proof.index,
    future: ahead(cosigned, now).map(([name, time]) => ({ witness: show(name), time })),
    withholding: withholdingOf(record, permit.disclosed),
  });
}

// A verdict on findings in any order, each once.
export function verdict(findings, { index = null, future = [], withholding = null } = {}) {
  const distinct = new Map(findings.map((one) => [JSON.stringify(one), one]));
  const ordered = [...distinct.values()].sort((one, other) =>
    CODES.indexOf(one.code) - CODES.indexOf(other.code));
  return {
    permitted: !ordered.length,
    codes: [...new Set(ordered.map(({ code }) => code))],
    findings: ordered.map((one) => ({ ...one,
      sentence: `${one.check}: expected ${one.expected}, found ${one.found}.` })),
    index,
    head: null,
    future,
    ...(withholding ? { addenda: withholding } : {}),
  };
}

function checkAge(cosigned, now) {
  if (timeOf(cosigned) <= now + CLOCK_SKEW || timeOf(cosigned, now)) return [];
  const found = ahead(cosigned, now).map(([name, time]) =>
    `${terminal(show(name))} states ${time}`);
  return [finding('governance_mesh_discontinuity', 'checkpoint age',
    `a quorum's time up to ${now}`, found.join(', '))];
}

const UNPROVEN = {
  denied_by_policy: 'a plain no of the policy',
  could_not_evaluate: 'for the policy engine gave no answer',
};

function* checkDenied(decision) {
  const codes = at(decision, 'denial', 'codes') ?? [];
  if (codes.every((code) => Object.hasOwn(UNPROVEN, code))) {
    for (const code of codes.length ? codes : ['denied_by_policy'])
      yield finding(code, 'decision', 'true', `false, ${UNPROVEN[code]}`);
    return;
  }
  yield discontinuity('decision', 'true', `false, because of ${codes.join(', ')}`);
  for (const code of codes) yield finding(code, 'decision', 'true', `false, because of ${code}`);
}

function* checkAuthorization(decision, artifact, context) {
  const request = decision.get('request');
  if (!at(decision, 'response', 'decision')) yield* checkDenied(decision);
  if (!artifact) yield discontinuity('artifact', 'an authorization artifact', 'none');
  const [action, resource] = [context.get('action'), context.get('resource')];
  const deed = (name, thing) => `${terminal(name)} on ${entity(thing)}`;
  const scope = artifact?.get('scope');
  if (scope && !(scope.get('actions').includes(action) && scope.get('resources').some((one) =>
    one.get('type') === resource.get('type') &&
    (!one.has('id') || one.get('id') === resource.get('id'))))) {
    const resources = scope.get('resources').map((one) =>
      `${terminal(one.get('type'))} ${one.has('id') ? terminal(one.get('id')) : '(any)'}`);
    const actions = scope.get('actions').map(terminal).join(', ');
    yield discontinuity('scope', `one of the actions ${actions} on one of ${resources.join(', ')}`,
      deed(action, resource));
  }
  const requested = at(request, 'action', 'name');
  if (!artifact && !(action === requested && isSame(resource, request.get('resource'))))
    yield discontinuity('request', deed(requested, request.get('resource')),
      deed(action, resource));
  const subject = context.get('subject') ?? null;
  if (subject && !isSame(subject, request.get('subject')))
    yield discontinuity('subject', `subject ${entity(request.get('subject'))}`, entity(subject));
  if (!decision.has('execution'))
    yield discontinuity('execution', 'a decision that states its run', 'none');
  else if (context.get('execution') !== decision.get('execution'))
    yield discontinuity('execution', `run ${decision.get('execution')}`,
      orNone(context.get('execution')));
  if (!artifact) return;
  const [begin, end] = ['not_before', 'not_after'].map((name) => at(artifact, 'validity', name));
  const now = context.get('now');
  if (!(begin <= now && now < end))
    yield discontinuity('validity', `a time in [${begin}, ${end})`, `${now}`);
}

function* checkArguments(permit, context) {
  if (!context.has('arguments')) return;
  const differ = (...rest) => discontinuity('arguments', ...rest);
  const about = [...permit.decision.get('addenda')?.keys() ?? []].filter((pointer) =>
    `${pointer}/`.startsWith(`${ARGUMENTS}/`) || `${ARGUMENTS}/`.startsWith(`${pointer}/`));
  const hidden = about.filter((pointer) => !permit.disclosed.has(pointer));
  for (const pointer of hidden.slice(0, SHOWN))
    yield differ(`${terminal(pointer)} disclosed, to compare it`, 'it withheld');
  if (hidden.length) return;
  // What is no JSON: without it a call would be another one, and none has it.
  const opaque = about.filter((pointer) => permit.disclosed.get(pointer) instanceof Uint8Array);
  for (const pointer of opaque.slice(0, SHOWN))
    yield differ(`${terminal(pointer)} as JSON, to compare it`, 'content that is none');
  if (opaque.length) return;
  const stated = at(permit.whole, 'request', 'context');
  if (!(stated instanceof Map && stated.has('arguments'))) {
    yield differ(`a decision that states ${ARGUMENTS}`, 'none');
    return;
  }
  const found = [...differences(context.get('arguments'), stated.get('arguments'), ARGUMENTS)];
  for (const pointer of found.slice(0, SHOWN))
    yield differ(`${terminal(pointer)} as it was decided on`, 'something else');
}

// Pointers to the innermost members in which two values differ, absent ones included.
function* differences(wanted, stated, pointer) {
  if (wanted instanceof Map && stated instanceof Map) {
    const names = [...new Set([...wanted.keys(), ...stated.keys()])];
    names.sort((one, other) => compareBytes(utf8(one), utf8(other))); // as Python: by code points
    for (const name of names)
      yield* differences(wanted.get(name), stated.get(name), `${pointer}/${escapeToken(name)}`);
  } else if (Array.isArray(wanted) && Array.isArray(stated) && wanted.length === stated.length) {
    for (const [number, one] of wanted.entries())
      yield* differences(one, stated[number], `${pointer}/${number}`);
  } else if (wanted === undefined || stated === undefined ||
    canonical(wanted) !== canonical(stated)) yield pointer;
}

async function checkAuthorities(decision, authorities) {
  const found = [];
  const invalid = (...rest) => found.push(finding('invalid_signature', 'signatures', ...rest));
  const known = new Map(authorities.map((vkey) => [keyReference(vkey), vkey]));
  const signed = new Set();
  const unsigned = new Map(decision);
  unsigned.delete('signatures');
  const message = utf8(`muniment/decision-signature/v1\n${canonical(unsigned)}`);
  for (const one of decision.get('signatures') ?? []) {
    const vkey = known.get(one.get('key'));
    if (!vkey) {
      invalid('signatures by known authorities', `one by ${terminal(one.get('key'))}`);
      continue;
    }
    const signature = parseBase64(one.get('signature'), `signature of ${one.get('key')}`);
    const verify = vkey.type === ED25519 ? verifyEd25519 : verifyMldsa44;
    if (await verify(vkey.bytes, message, signature)) signed.add(vkey.name);
    else invalid('signatures that verify',
      terminal(`${one.get('key')}: the authority's signature does not verify`));
  }
  if (authorities.length && !signed.size)
    invalid('signatures of 1 known authorities', 'none');
  return found;
}

// What can be wrong with the keys of authorities and approvers themselves.
export function checkKeys({ authorities, approvers, approvals, requireApproval }) {
  if (new Set(authorities.map(keyReference)).size !== authorities.length)
    throw new FormatError('--authority: two authorities have the same key name and key ID');
  if (authorities.some(({ type }) => ![ED25519, ML_DSA_44].includes(type)))
    throw new FormatError("--authority: an authority's key is not of a type that signs decisions");
  const wrong = (problem) => new FormatError(`--approver: approvers: ${problem}`);
  if (approvers.some(({ type }) => type !== ED25519))
    throw wrong("a person's key is an Ed25519 key");
  if (new Set(approvers.map(keyReference)).size !== approvers.length)
    throw wrong('two have the same key name and key ID');
  if (approvals < 1 || approvals > Math.max(1, approvers.length))
    throw wrong(`approvals by ${approvals} of ${approvers.length} people`);
  if (requireApproval && !approvers.length)
    throw wrong("an approval is required, and nobody's would count");
}

function* checkGateway(decision, gateways) {
  if (gateways === null || gateways.some(({ name }) => name === decision.get('producer'))) return;
  const names = [...new Set(gateways.map(({ name }) => terminal(name)))].sort();
  yield finding('invalid_signature', 'gateway', `a decision by ${names.join(', ') || 'nobody'}`,
    terminal(decision.get('producer')));
}

function* checkIdentity(artifact, context, { allowUnbound }) {
  const binding = artifact?.get('binding');
  const mismatch = (...rest) => finding('runtime_identity_mismatch', ...rest);
  if (!binding) {
    if (!allowUnbound) yield mismatch('binding', 'a runtime binding', 'none');
    return;
  }
  for (const check of ['spiffe_id', 'thumbprint'])
    if (binding.has(check) && binding.get(check) !== context.get(check))
      yield mismatch(check, binding.get(check), orNone(context.get(check)));
}

function* checkPolicy(artifact, context, { allowAnyPolicy }) {
  const expected = [...context.get('policy') ?? []].filter(([, wanted]) => wanted !== null);
  const stated = artifact?.get('policy');
  if (!expected.length) {
    const found = stated ? `${stated.get('id')}, and no expectation to compare with` : 'none';
    if (!allowAnyPolicy)
      yield finding('policy_mismatch', 'policy', 'a policy that the runtime expects', found);
    return;
  }
  const wanted = new Map(expected);
  for (const part of ['id', 'revision', 'digest'])
    if (wanted.has(part) && wanted.get(part) !== stated?.get(part))
      yield finding('policy_mismatch', `policy ${part}`, terminal(wanted.get(part)),
        orNone(stated?.get(part)));
}

function* checkEnvironment(artifact, context) {
  for (const [name, digest] of artifact?.get('environment') ?? []) {
    const found = at(context, 'measurements', name);
    if (found !== digest)
      yield finding('environment_integrity_failure', `measurement ${name}`, digest, orNone(found));
  }
}

function* checkGovernance(artifact, context) {
  const stated = artifact?.get('governance') ?? new Map();
  const own = context.get('governance') ?? new Map();
  for (const name of [...new Set([...stated.keys(), ...own.keys()])].sort())
    if (stated.get(name) !== own.get(name))
      yield finding('governance_mesh_discontinuity', `label ${terminal(name)}`,
        orNone(own.get(name)), orNone(stated.get(name)));
}
