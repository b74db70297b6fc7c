// What nodes, groups and edges are called. All texts came out of records: they are only ever set as
// text, and the server has made visible what nobody would see in them.

export const RELATIONS = {
  triggered_by: ['triggered by', 'triggered'],
  authorized_by: ['authorized by', 'authorizes'],
  performed_by: ['performed by', 'performed'],
  delegated_by: ['acts for', 'delegated to'],
};

export function short(text, most = 24) {
  const chars = [...text];
  if (chars.length <= most) return text;
  const head = Math.ceil((most - 1) * 0.6);
  return `${chars.slice(0, head).join('')}…${chars.slice(head + 1 - most).join('')}`;
}

export function count(number, one, many) {
  return `${number.toLocaleString('en')} ${number === 1 ? one : many}`;
}

export function name(node) {
  return `${node.type} ${node.id}${node.origin ? ` in ${node.origin}` : ''}`;
}

const ANSWERS = { allow: 'allowed', deny: 'denied', both: 'allowed and denied', none: 'no decision' };

// The second line of a node: its answer and end.
export function state(node) {
  const parts = [];
  if (node.answer) parts.push(ANSWERS[node.answer]);
  if (node.ended && node.ended !== 'not told') parts.push(node.ended);
  if (node.origin) parts.push('another log');
  return parts.join(', ') || node.type;
}

// The marks of a node: what makes it more than ordinary. `owned` are marked things of a run that
// are not drawn.
export function marks(node, owned = []) {
  const said = [];
  const all = [node, ...owned];
  if (all.some((one) => one.revoked)) said.push('revoked');
  if (node.cut) said.push('cut by a revocation');
  const kinds = [...new Set(all.flatMap((one) => one.breaks.map(({ kind }) => kind)))];
  const rest = kinds.filter((kind) => !kind.startsWith('revoked_'));
  said.push(...rest.map((kind) => kind.replaceAll('_', ' ')));
  return said;
}

export function when(milliseconds) {
  const date = new Date(milliseconds);
  if (Number.isNaN(date.getTime())) return `${milliseconds} ms after 1970`;
  return date.toISOString().replace('T', ' ').replace(/\.000Z$|Z$/, ' UTC');
}

const SIDES = { traced: 'the traced run', before: 'led to it', after: 'followed from it' };

// The name of a node for screen readers: what is drawn in it, in that order, and what is not.
export function label(node, lines, said) {
  const whole = said.join(', ');
  const parts = [`${node.type} ${lines.join(', ')}`];
  if (whole && !lines.includes(whole)) parts.push(whole);
  if (SIDES[node.side]) parts.push(SIDES[node.side]);
  return parts.join(', ');
}
