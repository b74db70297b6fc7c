// What is said of the selected node: the same as in the list, and where its relations lead.
import { count, marks, name, RELATIONS, short, state, when } from './words.js';

const MOST = 30; // relations listed; the list on the page has all

function tag(kind, words = '', ...children) {
  const made = document.createElement(kind);
  if (words) made.textContent = words;
  made.append(...children);
  return made;
}

// A text of the log, which keeps its direction to itself.
const told = (words) => tag('bdi', words);

function list(title, items) {
  if (!items.length) return [];
  const made = document.createElement('ul');
  made.append(...items.slice(0, MOST));
  if (items.length > MOST) made.append(tag('li', `and ${items.length - MOST} more`));
  return [tag('h3', title), made];
}

// Shows a node in `panel`; `go` selects another node, `leaf` makes the URL of a leaf.
export function show(graph, node, panel, { go, leaf }) {
  const owned = graph.owned.get(node.n) ?? [];
  const breaks = [node, ...owned].flatMap((one) => one.breaks);
  const heading = tag('h3', '', told(name(node)));
  const line = tag('p', [state(node), ...marks(node, owned)].join(', '));
  const out = [heading, line];
  if (node.type === 'run' && !node.origin && node.n !== 0 && node.name) {
    const link = tag('a', 'Trace this run');
    const query = new URLSearchParams(location.search);
    query.set('run', node.name);
    query.delete('from');
    link.href = `/lineage?${query}`;
    out.push(tag('p', '', link));
  }
  out.push(...list('Breaks', breaks.map((one) => {
    const item = tag('li', '', tag('strong', one.kind), ': ', told(one.sentence));
    if (one.leaf !== null) item.append(' ', leafOf(one.leaf, leaf));
    return item;
  })));
  out.push(...list('Said', node.said.map((words) => tag('li', '', told(words)))));
  out.push(...list('When, by the producers’ clocks', node.moments.map((one) => tag(
    'li', '', told(one.what), ` ${when(one.time)}, by `, told(one.producer), ' ', leafOf(one.leaf, leaf),
  ))));
  out.push(...list('Relations', relations(graph, node, go)));
  panel.replaceChildren(...out);
}

function leafOf(index, leaf) {
  const link = tag('a', `leaf ${index}`);
  link.href = leaf(index);
  return link;
}

function relations(graph, node, go) {
  const items = [];
  for (const edge of graph.edges) {
    const isFrom = edge.from === node.n;
    if (!isFrom && edge.to !== node.n) continue;
    if (items.length > MOST) {
      items.push(tag('li'));
      continue;
    }
    const words = RELATIONS[edge.relation]?.[isFrom ? 0 : 1] ?? edge.relation;
    const other = graph.nodes[isFrom ? edge.to : edge.from];
    const button = tag('button', '', told(short(name(other), 60)));
    button.type = 'button';
    button.className = 'link';
    button.addEventListener('click', () => go(other.n));
    items.push(tag('li', `${words} `, button, ' by ', told(edge.producer)));
  }
  return items;
}

export function showGroup(graph, members, panel) {
  const some = members.slice(0, 10).map((n) => tag('li', '', told(name(graph.nodes[n]))));
  panel.replaceChildren(
    tag('h3', count(members.length, 'more thing', 'more things')), ...list('Nearest of them', some),
  );
}
