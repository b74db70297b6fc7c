// The approvals that a decision rests on: by whom, of what, and when (muniment.permit.approval).
import { hex, parseBase64, sha256, terminal, utf8 } from './bytes.js';
import { canonical } from './json.js';
import { keyReference, verifyEd25519 } from './note.js';
import { CLOCK_SKEW } from './policy.js';
import { at } from './record.js';

// Members of a request's context that are not part of the call.
const UNBOUND = ['approval', 'ids', 'muniment', 'time'];

const without = (map, ...names) => new Map([...map].filter(([name]) => !names.includes(name)));

// Names a call by the request of its decision, and by what that withholds.
function callDigest(request, addenda) {
  const bound = without(request, 'context');
  const context = request.get('context');
  const kept = context instanceof Map ? without(context, ...UNBOUND) : new Map();
  if (kept.size) bound.set('context', kept);
  const withheld = new Map([...addenda].filter(([pointer]) => {
    const [, first, second, third] = pointer.split('/');
    return first === 'request' && !(second === 'context' && UNBOUND.includes(third));
  }));
  const named = new Map([['request', bound], ['withheld', withheld]]);
  return `sha256:${hex(sha256(utf8(`muniment/call/v1\n${canonical(named)}`)))}`;
}

// All approvals of a decision; none of one that rests on none.
export function approvalsOf(decision) {
  const first = at(decision, 'artifact', 'approval');
  return first ? [first, ...(at(decision, 'artifact', 'further_approvals') ?? [])] : [];
}

// How many have signed, by the marks of each signature: who has several keys, or a key of several
// names, is one (muniment.permit.signers).
function countSigners(signed, known) {
  let groups = [];
  for (const marks of [...known, ...signed]) {
    const isLinked = (group) => marks.some((mark) => group.has(mark));
    const joined = new Set([...marks, ...groups.filter(isLinked).flatMap((group) => [...group])]);
    groups = [...groups.filter((group) => !isLinked(group)), joined];
  }
  return groups.filter((group) => signed.some((marks) => group.has(marks[0]))).length;
}

const marksOf = (vkey) => [`name ${vkey.name}`, `key ${hex(vkey.bytes)}`];

// What is wrong with the approvals of a decision: [code, expected, found] each. `whole` is the
// decision with what is disclosed of it: who asks may be withheld in the log.
export async function checkApprovals(decision, whole, { approvers, approvals, requireApproval }) {
  const given = approvalsOf(decision);
  if (!given.length) {
    const none = ['authorization_discontinuity', 'an approval by a known approver', 'none'];
    return requireApproval ? [none] : [];
  }
  const found = [];
  const user = at(whole, 'request', 'context', 'ids', 'user');
  for (const one of given) found.push(...await checkApproval(one, decision, user, approvers));
  // Who signs says what they are called: other words of one person's key are no other person.
  const keys = new Map(approvers.map((vkey) => [keyReference(vkey), marksOf(vkey)]));
  const people = countSigners(given.map((one) => [`called ${one.get('approver')}`,
    ...keys.get(one.get('key')) ?? [`name ${one.get('key').split('+')[0]}`]]),
  approvers.map(marksOf));
  if (people < approvals)
    found.push(['authorization_discontinuity', `approvals by ${approvals} people`, `by ${people}`]);
  return found;
}

async function checkApproval(approval, decision, user, approvers) {
  const found = [];
  const differ = (...rest) => found.push(['authorization_discontinuity', ...rest]);
  const invalid = (...rest) => found.push(['invalid_signature', ...rest]);
  const [key, approver] = [approval.get('key'), approval.get('approver')];
  const vkey = approvers.find((one) => keyReference(one) === key);
  if (!vkey) invalid('an approval by a known approver', `one by ${terminal(key)}`);
  else {
    const unsigned = canonical(without(approval, 'signature'));
    const signature = parseBase64(approval.get('signature'), `signature of ${key}`);
    if (!await verifyEd25519(vkey.bytes, utf8(`muniment/approval/v1\n${unsigned}`), signature))
      invalid("an approver's signature that verifies",
        terminal(`${key}: the approver's signature does not verify`));
  }
  const [gateway, producer] = [approval.get('gateway'), decision.get('producer')];
  if (gateway !== producer)
    differ(`an approval for ${terminal(producer)}`, `one for ${terminal(gateway)}`);
  const request = decision.get('request');
  if (callDigest(request, decision.get('addenda') ?? []) !== approval.get('call'))
    differ('an approval of this call', 'one of another call');
  const [begin, end] = [approval.get('at'), approval.get('not_after')];
  const decided = Math.floor(decision.get('time') / 1000);
  if (!(begin - Number(CLOCK_SKEW) <= decided && decided < end))
    differ(`a decision in [${begin}, ${end})`, `one at ${decided}`);
  const asking = [at(request, 'subject', 'id'), user];
  if (asking.includes(approver) || asking.includes(key.split('+')[0]))
    differ('an approval by somebody else than who asks', `one by ${terminal(approver)}`);
  return found;
}
