// The page itself: takes files by drop, choice or paste, and shows what `verify` says of them. All
// that files say is set as text, never as markup.
import { digestOf, OPAQUE, readAddendum } from './addenda.js';
import { decode, startsWith, utf8 } from './bytes.js';
import { sayReport } from './report.js';
import { kindOf, roleOf, verify } from './verify.js';

const element = (id) => document.getElementById(id);
const FILES = ['file', 'policy', 'entry', 'context'];
const TEXTS = ['file', 'policy', 'context', 'authorities', 'approvers', 'gateways'];
let chosen = { addenda: [] };
let turn = 0;

// Text with what is not printed as escapes: controls, and what would turn the direction of a line.
const visible = (text) => text.replace(/[^\P{C}\n]|[\u2028\u2029]/gu, (char) =>
  `\\u{${char.codePointAt(0).toString(16)}}`);

async function read(file) {
  return { name: file.name, data: new Uint8Array(await file.arrayBuffer()) };
}

function take(role, one) {
  if (role === 'addenda') chosen.addenda.push(one);
  else chosen[role] = one;
  if (element(`${role}-text`)) element(`${role}-text`).value = '';
  const names = role === 'addenda' ? chosen.addenda : [one];
  const shown = element(`${role}-name`) ?? element('file-name');
  const words = names.map(({ name, data }) => `${name}: ${data.length} bytes`);
  shown.textContent = visible(words.join(', '));
  if (!['file', 'policy'].includes(role)) element('more').open = true;
}

// What was pasted goes before what was chosen. Texts end with a newline, which is often not copied.
function given(role) {
  const text = TEXTS.includes(role) ? element(`${role}-text`).value : '';
  if (!text) return chosen[role]?.data;
  return utf8(['file', 'policy'].includes(role) && !text.endsWith('\n') ? `${text}\n` : text);
}

async function run() {
  const own = ++turn;
  const now = Math.floor(Date.now() / 1000);
  const input = { addenda: chosen.addenda.map(({ data }) => data), now };
  for (const role of new Set([...FILES, ...TEXTS])) input[role] = given(role);
  if (!input.file || !input.policy) {
    show('Not verified yet', null, [`Give ${input.file ? 'the policy' : 'what to verify'}, too.`]);
    return;
  }
  input.kind = kindOf(input.file, chosen.file?.name ?? '', Boolean(input.context));
  input.allowUnbound = element('allow-unbound').checked;
  input.allowAnyPolicy = element('allow-any-policy').checked;
  input.requireApproval = element('require-approval').checked;
  input.approvals = Math.trunc(Number(element('approvals').value)) || 1;
  input.run = element('run').value.trim();
  try {
    const report = await verify(input);
    if (own !== turn) return; // other files were given meanwhile
    const { verdict, isGood, lines, checked, unchecked } = sayReport(report, input.now);
    const leaves = (report.disclosed ?? []).map(([pointer, data]) =>
      [`Disclosed: ${pointer}`, data]);
    if (report.leaf) leaves.unshift(['The entry', report.leaf]);
    show(verdict, isGood, lines, checked, unchecked, leaves);
  } catch (error) {
    const why = globalThis.crypto?.subtle ? `${error.name}: ${error.message}`
      : 'this browser has no WebCrypto here: open the file from disk, or by https';
    show('Not verified', false, [`The page failed, and so nothing is verified: ${why}`]);
  }
}

function show(verdict, isGood, lines, checked = [], unchecked = [], leaves = []) {
  const add = (name, text, kind = '') => {
    const made = document.createElement(name);
    made.textContent = visible(text);
    if (kind) made.className = kind;
    return made;
  };
  const list = (title, items) => {
    if (!items.length) return [];
    const made = document.createElement('ul');
    made.append(...items.map((item) => add('li', item)));
    return [add('h3', title), made];
  };
  const kind = isGood === null ? '' : isGood ? 'good' : 'bad';
  const texts = leaves.flatMap(([title, data]) => [add('h3', title), add('pre', pretty(data))]);
  element('report').replaceChildren(add('h2', verdict, kind), add('pre', lines.join('\n')),
    ...list('What was checked', checked), ...list('What was not checked', unchecked), ...texts);
}

// A verified leaf or addendum for reading; its exact bytes are canonical JSON, on one line. Of content
// that is no JSON there is but its size and digest, since nobody knows what it is.
function pretty(data) {
  if (startsWith(data, OPAQUE)) {
    const content = readAddendum(data, 'addendum');
    return `${content.length} bytes of content, SHA-256 ${digestOf(content)}`;
  }
  const text = decode(data, () => '\ufffd').slice(0, 1 << 20);
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

export function start() {
  for (const role of [...FILES, 'addenda'])
    element(role).addEventListener('change', async ({ target }) => {
      if (role === 'addenda') chosen.addenda = [];
      for (const file of target.files) take(role, await read(file));
      await run();
    });
  element('form').addEventListener('submit', (event) => {
    event.preventDefault();
    run().then(() => element('report').focus());
  });
  element('form').addEventListener('reset', () => {
    turn += 1;
    chosen = { addenda: [] };
    document.querySelectorAll('output').forEach((one) => one.replaceChildren());
    element('report').replaceChildren();
  });
  document.addEventListener('dragover', (event) => {
    event.preventDefault();
    document.body.classList.add('dropping');
  });
  for (const name of ['dragleave', 'drop'])
    document.addEventListener(name, () => document.body.classList.remove('dropping'));
  document.addEventListener('drop', async (event) => {
    event.preventDefault();
    for (const one of await Promise.all([...event.dataTransfer.files].map(read)))
      take(roleOf(one.data, one.name), one);
    await run();
  });
}
