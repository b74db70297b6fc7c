// Records: canonical JSON of one of the types in schema.json, and the rules that types cannot say.
import { checkKeyName, FormatError, parseBase64, repr, SPACES } from './bytes.js';
import { checkAddenda } from './addenda.js';
import { checkCanonical } from './json.js';
import schema from './schema.json';

const MAX_ID = 128;

class Mismatch extends Error {
  constructor(problem, path, isKey = false) {
    super(problem);
    Object.assign(this, { path, isKey });
  }
}

// A Python pattern as JavaScript has it; compiled once, there may be 100,000 records.
const patterns = new Map();
function patternOf(text) {
  if (!patterns.has(text)) {
    const translated = text.replaceAll('\\Z', '$').replaceAll('\\s', SPACES);
    patterns.set(text, new RegExp(translated, 'u'));
  }
  return patterns.get(text);
}

function typeName(value) {
  if (value === null) return 'null';
  if (typeof value === 'number') return Number.isSafeInteger(value) ? 'int' : 'float';
  if (Array.isArray(value)) return 'array';
  if (value instanceof Number) return 'float';
  return { boolean: 'bool', string: 'str' }[typeof value] ?? 'object';
}

// Checks a value against a type of the schema, in the order and the words of msgspec.
function check(value, type, path) {
  if (type.type === 'any' || (value === null && type.null)) return;
  const given = typeName(value);
  const wanted = { enum: typeName(type.values?.[0]), map: 'object', struct: 'object' }[type.type]
    ?? type.type;
  if (given !== wanted)
    throw new Mismatch(`expected ${wanted}${type.null ? ' | null' : ''}, got ${given}`, path);
  if (type.type === 'enum' && !type.values.includes(value))
    throw new Mismatch(`invalid enum value ${given === 'str' ? repr(value) : value}`, path);
  if (given === 'int') {
    if (value < type.min) throw new Mismatch(`expected int >= ${type.min}`, path);
    if (value > type.max) throw new Mismatch(`expected int <= ${type.max}`, path);
  } else {
    const length = given === 'str' ? [...value].length : value.length ?? value.size;
    if (length < type.min)
      throw new Mismatch(`expected ${given} of length >= ${type.min}`, path);
    if (length > type.max)
      throw new Mismatch(`expected ${given} of length <= ${type.max}`, path);
  }
  if (type.pattern && !patternOf(type.pattern).test(value))
    throw new Mismatch(`expected str matching regex ${repr(type.pattern)}`, path);
  if (type.type === 'array') value.forEach((item, at) => check(item, type.items, `${path}[${at}]`));
  else if (type.type === 'struct') checkStruct(value, type.name, path);
  else if (type.type === 'map')
    for (const [name, item] of value) {
      try {
        check(name, type.keys, path);
      } catch (error) {
        throw error instanceof Mismatch ? new Mismatch(error.message, path, true) : error;
      }
      check(item, type.values, `${path}[...]`);
    }
}

function checkStruct(value, name, path, tag = null) {
  const { fields, open } = schema.structs[name];
  for (const [member, item] of value) {
    if (Object.hasOwn(fields, member)) check(item, fields[member], `${path}.${member}`);
    else if (member !== tag && !open)
      throw new Mismatch(`object contains unknown field ${member}`, path);
  }
  for (const member of Object.keys(fields))
    if (fields[member].required && !value.has(member))
      throw new Mismatch(`object missing required field ${member}`, path);
}

// Our words for a mismatch: the path of the member first. `where` begins the path.
function explain({ message, path, isKey }, where = '') {
  let problem = message.replace(/[\x00-\x1f\x7f-\x9f\u2028\u2029]/gu, '?').replaceAll('`', '');
  problem = [...problem].slice(0, 256).join('') + (isKey ? ", for a member's name" : '');
  const member = where + (where ? path : path.replace(/^\./, ''));
  return member ? `${member}: ${problem}` : problem;
}

export function checkType(value, name, what, where = '') {
  try {
    check(value, schema[name], '');
  } catch (error) {
    if (!(error instanceof Mismatch)) throw error;
    throw new FormatError(what + explain(error, where));
  }
}

function checkRecord(value) {
  if (!(value instanceof Map)) throw new Mismatch(`expected object, got ${typeName(value)}`, '');
  const kind = value.get('kind');
  if (!value.has('kind')) throw new Mismatch('object missing required field kind', '');
  if (typeof kind !== 'string') {
    const name = { null: 'NoneType', array: 'list', object: 'dict' }[typeName(kind)];
    throw new Mismatch(`expected str, got ${name ?? typeName(kind)}`, '.kind');
  }
  if (!Object.hasOwn(schema.records, kind))
    throw new Mismatch(`invalid value ${repr(kind)}`, '.kind');
  checkStruct(value, schema.records[kind], '', 'kind');
}

// The path of the first null, AuthZEN's own members left aside; null is no way to leave one out.
function firstNull(value, path) {
  if (value === null) return path;
  let items = [];
  if (value instanceof Map)
    items = [...value].map(([name, item]) => [path ? `${path}.${name}` : name, item]);
  else if (Array.isArray(value)) items = value.map((item, at) => [`${path}[${at}]`, item]);
  for (const [inner, item] of items) {
    const found = ['request', 'response'].includes(inner) ? null : firstNull(item, inner);
    if (found !== null) return found;
  }
  return null;
}

// Parses one record, which must be canonical and valid.
export function parseRecord(data) {
  const record = checkCanonical(data, 'record');
  try {
    checkRecord(record);
    const path = firstNull(record, '');
    if (path !== null) throw new FormatError(`${path}: null; leave the member out`);
    checkId(record.get('id'), 'id');
    RULES[record.get('kind')](record);
    checkKeyName(record.get('producer'), 'producer');
  } catch (error) {
    if (error instanceof Mismatch) throw new FormatError(`record: ${explain(error)}`);
    throw error instanceof FormatError ? new FormatError(`record: ${error.message}`) : error;
  }
  return record;
}

export const at = (value, ...names) =>
  names.reduce((found, name) => (found instanceof Map ? found.get(name) : undefined), value);

const refuse = (problem) => {
  throw new FormatError(problem);
};

function checkId(text, member) {
  if (text !== undefined && !/^[!-~]*$/.test(text))
    refuse(`${member}: expected visible ASCII characters only`);
}

function checkDistinct(values, member) {
  if (new Set(values).size !== values.length) refuse(`${member}: a value comes twice`);
}

const THINGS = {
  authorized_by: [['run'], ['decision']],
  triggered_by: [['run'], ['run']],
  performed_by: [['run'], ['agent']],
  delegated_by: [['agent'], ['agent']],
  used: [['run'], ['artifact']],
  generated_by: [['artifact'], ['run']],
  derived_from: [['grant', 'policy'], ['grant', 'policy']],
  revoked_by: [['decision'], ['run']],
};

function checkApproval(approval, member) {
  checkId(approval.get('id'), `${member}.id`);
  checkId(approval.get('request'), `${member}.request`);
  parseBase64(approval.get('signature'), `${member}.signature`);
  if (approval.get('not_after') <= approval.get('at'))
    refuse(`${member}.not_after: must be later than at`);
}

function checkArtifact(artifact) {
  checkDistinct(at(artifact, 'scope', 'actions'), 'artifact.scope.actions');
  if (artifact.get('binding')?.size === 0)
    refuse('artifact.binding: expected spiffe_id, thumbprint or both');
  if (at(artifact, 'validity', 'not_after') <= at(artifact, 'validity', 'not_before'))
    refuse('artifact.validity: not_after must be later than not_before');
  const approval = artifact.get('approval');
  const further = artifact.get('further_approvals');
  if (!approval) {
    if (further) refuse('artifact.further_approvals: there is no first one');
    return;
  }
  checkAllowing(approval, 'artifact.approval');
  if (!further) return;
  further.forEach((one, number) => checkAllowing(one, `artifact.further_approvals[${number}]`));
  const all = [approval, ...further];
  for (const member of ['id', 'key'])
    if (new Set(all.map((one) => one.get(member))).size !== all.length)
      refuse(`artifact.further_approvals: the same ${member} twice`);
}

function checkAllowing(approval, member) {
  checkApproval(approval, member);
  if (!approval.get('decision')) refuse(`${member}.decision: nothing is authorised by a no`);
}

const RULES = {
  decision(record) {
    for (const member of ['request', 'response'])
      checkType(record.get(member), member, '', member);
    checkId(record.get('execution'), 'execution');
    if (record.has('denial')) {
      if (at(record, 'response', 'decision'))
        refuse('denial: codes come only with a decision of false');
      checkDistinct(at(record, 'denial', 'codes'), 'denial.codes');
    }
    if (record.has('artifact')) checkArtifact(record.get('artifact'));
    const signatures = record.get('signatures') ?? [];
    checkDistinct(signatures.map((one) => one.get('key')), 'signatures: key');
    signatures.forEach((one, number) =>
      parseBase64(one.get('signature'), `signatures[${number}].signature`));
    if (record.has('addenda')) checkAddenda(record);
    else if (record.has('kept')) refuse('kept: there are no addenda to keep');
  },
  edge(record) {
    const relation = record.get('relation');
    const ends = [record.get('from'), record.get('to')];
    for (const [number, member] of ['from', 'to'].entries()) {
      const thing = ends[number];
      const type = thing.get('type');
      const types = THINGS[relation][number];
      if (!types.includes(type))
        refuse(`${member}.type: expected ${types.join(' or ')} for ${relation}, got ${type}`);
      if (['run', 'decision'].includes(type) && thing.get('id').length > MAX_ID)
        refuse(`${member}.id: more than ${MAX_ID} characters`);
      if (![0, 3].includes(['origin', 'index', 'leaf'].filter((name) => thing.has(name)).length))
        refuse(`${member}: origin, index and leaf come together or not at all`);
      if (thing.has('origin')) checkKeyName(thing.get('origin'), `${member}.origin`);
    }
    if (['type', 'id', 'origin'].every((name) => ends[0].get(name) === ends[1].get(name)))
      refuse('to: an edge may not lead from a thing to itself');
  },
  verification(record) {
    checkId(record.get('execution'), 'execution');
  },
  outcome(record) {
    checkId(record.get('execution'), 'execution');
    if (record.has('denial')) {
      if (record.get('status') !== 'aborted')
        refuse(`denial: a run that is ${record.get('status')} was not denied`);
      if (record.get('denial').has('reduced')) refuse('denial.reduced: only of a decision');
      checkDistinct(at(record, 'denial', 'codes'), 'denial.codes');
    }
    checkDistinct(record.get('unbound') ?? [], 'unbound');
    if (!record.has('kept')) return;
    const digests = ['inputs', 'outputs'].flatMap((name) => [...(record.get(name) ?? []).values()]);
    if (!digests.length) refuse('kept: there are no addenda to keep');
    if (!digests.every((one) => one.startsWith('sha256:')))
      refuse('kept: an addendum is named by its SHA-256');
  },
  revocation(record) {
    const target = record.get('target');
    if (target.size !== 1) refuse('target: expected exactly one of decision, execution and key');
    checkId(target.get('decision'), 'target.decision');
    checkId(target.get('execution'), 'target.execution');
  },
  erasure(record) {
    const digests = record.get('digests');
    const late = digests.findIndex((one, number) => number > 0 && digests[number - 1] >= one);
    if (late > 0) refuse(`digests[${late}]: expected in ascending order, each once`);
  },
  approval(record) {
    const approval = record.get('approval');
    checkApproval(approval, 'approval');
    if (approval.get('id') !== record.get('id'))
      refuse('approval.id: expected the id of the record');
    if (approval.get('gateway') !== record.get('producer'))
      refuse('approval.gateway: expected the producer of the record');
  },
};
