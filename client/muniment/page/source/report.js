// What a report says to a person: the verdict in the words of the command, what was checked, and
// what this page cannot check.
import { terminal } from './bytes.js';
import { CODES } from './permit.js';

const MOST = 200; // lines of one list

const checkpoint = [
  "the log's signature on the checkpoint, by a key of the policy",
  "the witnesses' cosignatures, and that they make the policy's quorum",
];
const REVOKED = 'whether something was revoked or erased since: that takes a replica (muniment ' +
  'follow), which reads the whole log';
const FRESH = 'whether the log shows the same checkpoint to others, and is still there';

const sayTime = (seconds) => {
  const date = new Date(Number(seconds) * 1000);
  return Number.isNaN(date.getTime()) ? `${seconds}`
    : date.toISOString().replace('T', ' ').replace(/\.\d+Z$/, ' UTC').replace('Z', ' UTC');
};

const count = (number, word) => `${number} ${word}${number === 1 ? '' : 's'}`;

export function cut(lines) {
  return lines.length <= MOST ? lines
    : [...lines.slice(0, MOST), `and ${lines.length - MOST} more, which are not listed here`];
}

function witnessLines({ witnesses }, now) {
  if (!witnesses.length)
    return ['No witness is required by the policy: the log alone vouches for that tree.'];
  return ["Witnesses that cosigned that tree, enough for the policy's quorum:",
    ...witnesses.map(({ name, time }) => `  ${name}  ${time ? sayTime(time) : 'states no time'}` +
      (time > BigInt(now) + 60n ? '  (in the future)' : ''))];
}

const withholdingLines = (found) => !found ? [] : cut([
  ...found.disclosed.map((pointer) => `  disclosed  ${terminal(pointer)}`),
  ...found.withheld.map((pointer) => `  withheld   ${terminal(pointer)}`),
  ...Object.entries(found.erased).map(([pointer, index]) =>
    `  erased     ${terminal(pointer)} (by leaf ${index})`)]);

// Lineage and revocations are never looked up here; a decision may state them all the same.
const NOT_CHECKED = ['lineage_fragmentation', 'revoked_authorization'];
const word = (failed, code) =>
  failed.length ? 'FAIL' : NOT_CHECKED.includes(code) ? '----' : 'ok  ';

const SAY = {
  proof({ members, size }, now) {
    return {
      verdict: 'Verified', isGood: true,
      lines: [
        `These ${size} bytes are entry ${members.index} of the log ${members.origin}.`,
        `The log signed the tree of ${members.size} entries that contains it.`,
        ...(members.policy_version
          ? [`Version ${members.policy_version} of the policy judges it.`] : []),
        ...withholdingLines(members.addenda), ...witnessLines(members, now)],
      checked: [...checkpoint, "the entry's path to the root of the tree (RFC 6962)",
        'that each addendum is one that the record names'],
      unchecked: [
        'whether the decision permits what a runtime wants: that takes its context',
        REVOKED, FRESH],
    };
  },
  permit({ members }) {
    const failed = (code) => members.findings.filter((one) => one.code === code);
    return {
      verdict: members.permitted ? 'PERMITTED' : `DENIED: ${members.codes.join(', ')}`,
      isGood: members.permitted,
      lines: [
        ...(members.index === null ? []
          : [`The decision is leaf ${members.index} of a tree that the quorum cosigned.`]),
        ...members.future.map(({ witness, time }) =>
          `Warning: ${witness} states a time in the future, ${sayTime(time)}.`),
        ...withholdingLines(members.addenda),
        ...CODES.flatMap((code) => [`  ${word(failed(code), code)}  ${code}`,
          ...cut(failed(code).map(({ sentence }) => `          ${sentence}`))])],
      checked: [...checkpoint, "the decision's path to the root of the tree (RFC 6962)",
        'what the decision states (scope, subject, run, time, runtime, policy, measurements, ' +
          'labels, arguments) against the context', "the authorities' signatures, and the approval that it may rest on",
        'that disclosed addenda are those that the decision names'],
      unchecked: ['the lineage of the run, and so what has ---- above', REVOKED, FRESH],
    };
  },
  lineage({ members: { trace, addenda = [] }, count: records }) {
    const run = `run ${trace.execution}`;
    const head = `in ${terminal(trace.head.origin)} at size ${trace.head.size}`;
    return {
      verdict: trace.continuous ? `${run}: continuous` : `${run}: ${trace.breaks.length} break(s)`,
      isGood: trace.continuous,
      lines: [
        `${count(records, 'record')} proven, ${head}.`,
        ...cut(trace.breaks.map(({ kind, sentence }) => `! ${kind}: ${sentence}`)),
        ...cut(trace.warnings.map(({ kind, sentence }) => `? ${kind}: ${sentence}`)),
        ...cut(trace.runs.map(({ id, ended, issuers }) =>
          `run ${id} [ended: ${ended}] by ${issuers.map(terminal).join(', ') || 'nobody'}`)),
        ...cut(trace.decisions.map(({ index, id, allowed, producer }) =>
          `decision ${id} [${allowed ? 'allow' : 'deny'} #${index} ${terminal(producer)}]`)),
        ...(trace.unheard.length ? ['said by others, which counts for nothing:'] : []),
        ...cut(trace.unheard.map(({ index, producer, said }) =>
          `  #${index} by ${terminal(producer)}: ${said}`)),
        ...addenda.flatMap((one) =>
          [`Entry ${one.index} withholds members:`, ...withholdingLines(one)])],
      checked: [...checkpoint, 'that every record is in the tree, at its index (RFC 6962)',
        'every run back to the origin of its authorization: decisions, delegations, order, ' +
          'times, the revocations that the bundle has'],
      unchecked: ['whether the log holds records that the bundle leaves out, a later revocation ' +
        'say: that takes a replica (muniment follow)', FRESH],
    };
  },
  evidence({ members }) {
    return {
      verdict: `Proven: ${members.sentence}`, isGood: false,
      lines: [...members.explanation, `SHA-256 of the file: ${members.sha256}`],
      checked: ["the log's signature on each checkpoint, by a key of the policy",
        'that both cannot be true of one history (RFC 6962)'],
      unchecked: ['which of the histories is the true one, and whether the log or a thief of its ' +
        'key signed it'],
    };
  },
};

export function sayReport(report, now) {
  if (report.members.verified === false)
    return { verdict: 'Not verified', isGood: false, lines: [report.members.reason],
      checked: [], unchecked: ['whatever comes after the first thing that is wrong'] };
  return SAY[report.kind](report, now);
}
