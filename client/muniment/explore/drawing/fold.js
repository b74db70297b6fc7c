// What of a graph is drawn: everything, or of a large one the part that says most, and groups.
//
// A graph is {nodes, edges} as /lineage.json gives it: nodes are numbered by their place, nearest
// to the traced run first, which is 0; edges have `from` and `to`, from the later thing to the
// earlier one.

export const MOST_NODES = 300; // of a graph that is drawn whole
export const MOST_EDGES = 700; // the layout takes a second for as many
export const MOST_OPEN = 600; // nodes drawn after groups were opened
export const OPENED = 40; // nodes that opening a group shows
const FEWEST = 10;

// The nodes and edges of a view: runs (and what they are tied to in other logs), or all things.
export function viewOf(graph, runsOnly) {
  const isIn = (node) => !runsOnly || node.type === 'run';
  return {
    order: graph.nodes.filter(isIn).map((node) => node.n),
    edges: graph.edges.filter(({ from, to }) => isIn(graph.nodes[from]) && isIn(graph.nodes[to])),
  };
}

// Which nodes to draw, those first that say most: the traced run, what a person has opened, what is
// near, then what is broken or revoked.
function pick(graph, view, opened, most) {
  const near = new Set(view.order.slice(0, Math.ceil(most / 3)));
  const rank = (n) => {
    const node = graph.nodes[n];
    if (n === 0) return 0;
    if (opened.has(n)) return 1;
    if (near.has(n)) return 2;
    return isMarked(graph, node) ? 3 : 4;
  };
  const ranked = view.order.map((n, at) => [rank(n), at, n]);
  ranked.sort((one, other) => one[0] - other[0] || one[1] - other[1]);
  return new Set(ranked.slice(0, most).map(([, , n]) => n));
}

export function isMarked(graph, node) {
  return node.breaks.length > 0 || node.revoked || (graph.owned?.get(node.n)?.length ?? 0) > 0;
}

// Puts what is not drawn into groups: what hangs together, and what stands at the same drawn nodes.
function group(view, shown) {
  const parent = new Map();
  const find = (n) => {
    let root = n;
    while (parent.get(root) !== root) root = parent.get(root);
    while (parent.get(n) !== root) [n] = [parent.get(n), parent.set(n, root)];
    return root;
  };
  for (const n of view.order) if (!shown.has(n)) parent.set(n, n);
  const beside = new Map();
  for (const { from, to } of view.edges) {
    if (!shown.has(from) && !shown.has(to)) parent.set(find(from), find(to));
  }
  for (const { from, to } of view.edges) {
    if (shown.has(from) === shown.has(to)) continue;
    const [hidden, way, other] = shown.has(from) ? [to, '<', from] : [from, '>', to];
    const root = find(hidden);
    if (!beside.has(root)) beside.set(root, new Set());
    beside.get(root).add(way + other);
  }
  const groups = new Map(); // by what they stand at: the nodes, nearest first
  for (const n of view.order) {
    if (shown.has(n)) continue;
    const at = [...(beside.get(find(n)) ?? [])].sort().join();
    if (!groups.has(at)) groups.set(at, []);
    groups.get(at).push(n);
  }
  return [...groups.values()];
}

function contract(view, shown, groups) {
  const place = new Map([...shown].map((n) => [n, `n${n}`]));
  groups.forEach((members, at) => members.forEach((n) => place.set(n, `g${at}`)));
  const edges = new Map();
  for (const edge of view.edges) {
    const [from, to] = [place.get(edge.from), place.get(edge.to)];
    if (from === to) continue;
    const key = `${from} ${to}`;
    if (!edges.has(key)) edges.set(key, { from, to, edges: [] });
    edges.get(key).edges.push(edge);
  }
  return [...edges.values()];
}

// What to draw: {nodes: [number], groups: [[number]], edges: [{from, to, edges}], isFull}, where
// ends are n<number> of a node or g<place> of a group. `isFull` says that no more can be opened.
export function fold(graph, view, opened) {
  let most = view.order.length <= MOST_NODES ? view.order.length : MOST_NODES;
  most = Math.min(Math.max(most, 0) + (most < view.order.length ? opened.size : 0), MOST_OPEN);
  for (;;) {
    const shown = pick(graph, view, opened, most);
    let groups = group(view, shown);
    if (groups.length > most) {
      groups.sort((one, other) => other.length - one.length || one[0] - other[0]);
      groups = [...groups.slice(0, most - 1), groups.slice(most - 1).flat()];
    }
    const edges = contract(view, shown, groups);
    if (edges.length <= MOST_EDGES || most <= FEWEST) {
      const isFull = groups.length > 0 && most >= MOST_OPEN;
      return { nodes: view.order.filter((n) => shown.has(n)), groups, edges, isFull };
    }
    most = Math.max(FEWEST, Math.floor(most / 2));
  }
}
