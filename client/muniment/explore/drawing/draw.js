// The picture: one SVG element a node, with a name for screen readers; texts are set as text.
import { count, label, marks, RELATIONS, short, state, when } from './words.js';
import { place, WIDTH } from './layout.js';

const SVG = 'http://www.w3.org/2000/svg';
const HEIGHT = 58;
const LINE = 16;

export function element(kind, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, kind);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function text(words, y, kind = '') {
  const made = element('text', { x: 12 - WIDTH / 2, y, class: kind });
  made.textContent = words;
  return made;
}

// Draws what `fold` gave into `into`; returns {elements: Map(id → element), places, links, width,
// height}: links tell for each id what is drawn before and after it.
export function draw(graph, folded, into, { times }) {
  const height = HEIGHT + (times ? LINE : 0);
  const laid = place(folded, height);
  const links = new Map();
  const at = (id) => links.get(id) ?? links.set(id, { before: [], after: [] }).get(id);
  const lines = laid.edges.map((edge) => {
    at(edge.from).before.push(edge.to);
    at(edge.to).after.push(edge.from);
    return line(graph, edge);
  });
  const elements = new Map();
  for (const n of folded.nodes) elements.set(`n${n}`, nodeOf(graph, graph.nodes[n], height, times));
  folded.groups.forEach((members, g) => elements.set(`g${g}`, groupOf(graph, members, height)));
  for (const [id, made] of elements) {
    const { x, y } = laid.places.get(id);
    made.setAttribute('transform', `translate(${x} ${y})`);
    made.dataset.id = id;
  }
  const drawn = element('g', { class: 'edges', 'aria-hidden': 'true' }, ...lines);
  into.replaceChildren(drawn, ...elements.values());
  for (const id of elements.keys()) at(id);
  return { elements, places: laid.places, links, width: laid.width, height: laid.height };
}

function line(graph, { from, to, edges, points }) {
  const path = points.map(({ x, y }, at) => {
    if (!at) return `M${x} ${y}`;
    const before = points[at - 1];
    const middle = (before.x + x) / 2;
    return `C${middle} ${before.y} ${middle} ${y} ${x} ${y}`;
  }).join('');
  const kinds = new Set(edges.map(({ relation }) => relation));
  const ends = [from, to].filter((id) => id[0] === 'n').map((id) => graph.nodes[id.slice(1)]);
  const isCut = ends.length === 2 && (ends[0].cut || ends[0].revoked) && (ends[1].cut || ends[1].revoked);
  const made = element('path', {
    d: path, class: `edge ${[...kinds].join(' ')}${isCut ? ' cut' : ''}`, 'marker-end': 'url(#tip)',
  });
  const title = element('title');
  title.textContent = [...kinds].map((kind) => RELATIONS[kind]?.[0] ?? kind).join(', ');
  made.append(title);
  return made;
}

function nodeOf(graph, node, height, times) {
  const owned = graph.owned.get(node.n);
  const said = marks(node, owned);
  const kinds = ['node', node.type, node.answer, node.side];
  if (said.length) kinds.push('marked');
  if (node.revoked || owned?.some((one) => one.revoked)) kinds.push('revoked');
  if (node.cut) kinds.push('cut');
  if (node.origin) kinds.push('elsewhere');
  const lines = [short(node.id), state(node)];
  if (times && node.moments.length) lines.push(when(node.moments[0].time).slice(0, 19));
  const texts = lines.map((words, at) => text(words, 20 + at * LINE - height / 2, at ? 'state' : 'name'));
  if (said.length) {
    lines.push(short(said.join(', '), 27));
    texts.push(text(`! ${lines.at(-1)}`, height / 2 - 8, 'mark'));
  }
  const made = element('g', {
    class: kinds.filter(Boolean).join(' '), role: 'button', tabindex: '-1',
    'aria-label': label(node, lines, said),
  });
  made.append(box(height), ...spaced(texts));
  return made;
}

// With spaces between them, which are not drawn: else two lines would be read as one word.
function spaced(texts) {
  return texts.flatMap((one) => [one, ' ']);
}

function groupOf(graph, members, height) {
  const marked = members.filter((n) => marks(graph.nodes[n], graph.owned.get(n)).length);
  const words = count(members.length, 'more', 'more');
  const more = marked.length ? `${count(marked.length, 'is', 'are')} marked` : 'none is marked';
  const made = element('g', {
    class: `node group${marked.length ? ' marked' : ''}`, role: 'button', tabindex: '-1',
    'aria-label': `${words}, ${more}; opens`,
  });
  const texts = [text(`+ ${words}`, 24 - height / 2, 'name'), text(more, 24 + LINE - height / 2, 'state')];
  made.append(box(height), ...spaced(texts));
  return made;
}

function box(height) {
  return element('rect', {
    x: -WIDTH / 2, y: -height / 2, width: WIDTH, height, rx: 6,
  });
}
