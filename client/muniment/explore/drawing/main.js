// The graph on the page of a run: fetches it, draws it, and answers to pointer and keys.
import { version } from '@dagrejs/dagre';
import { show, showGroup } from './detail.js';
import { draw } from './draw.js';
import { fold, isMarked, OPENED, viewOf } from './fold.js';
import { View } from './view.js';
import { count } from './words.js';

const FEW = 60; // things of a graph that is drawn with decisions and agents at first

// Tells for each run the marked things that belong to it; the server has numbered all things.
export function prepare(graph) {
  graph.owned = new Map();
  for (const node of graph.nodes) {
    if (node.owner === null || !isMarked(graph, node)) continue;
    if (!graph.owned.has(node.owner)) graph.owned.set(node.owner, []);
    graph.owned.get(node.owner).push(node);
  }
  return graph;
}

class Picture {
  constructor(place, graph) {
    const find = (name) => place.querySelector(`#${name}`);
    this.place = place;
    this.graph = graph;
    this.panel = find('detail');
    this.drawn = find('drawn');
    this.svg = find('picture');
    this.inside = find('inside');
    this.things = find('things');
    this.times = find('times');
    this.opened = new Set();
    this.made = { width: 1, height: 1 };
    this.view = new View(this.svg, this.inside, () => this.made);
    this.things.checked = graph.nodes.length <= FEW;
    for (const box of [this.things, this.times]) box.addEventListener('change', () => this.redraw());
    const actions = {
      closer: () => this.view.closer(), farther: () => this.view.farther(),
      whole: () => this.view.fitWhole(), home: () => this.select('n0', true),
    };
    for (const [id, act] of Object.entries(actions)) find(id).addEventListener('click', act);
    this.svg.addEventListener('keydown', (event) => this.#key(event));
    this.svg.addEventListener('click', (event) => this.#click(event));
    this.svg.addEventListener('focusin', (event) => this.#focus(event));
    this.redraw();
    this.view.fit(this.made.places.get('n0'));
    this.select('n0', false);
  }

  redraw() {
    const graph = this.graph;
    this.folded = fold(graph, viewOf(graph, !this.things.checked), this.opened);
    this.made = draw(graph, this.folded, this.inside, { times: this.times.checked });
    const { nodes, groups, edges, isFull } = this.folded;
    const rest = groups.reduce((sum, members) => sum + members.length, 0);
    let words = `Drawn: ${count(nodes.length, 'thing', 'things')}, ${count(edges.length, 'relation', 'relations')}`;
    if (rest) words += `, and ${count(rest, 'more thing', 'more things')} in ${count(groups.length, 'group', 'groups')}, which open`;
    if (isFull) words += '. No more can be drawn at once; the list has all';
    this.drawn.textContent = `${words}.`;
    const chosen = this.made.elements.has(this.chosen) ? this.chosen : 'n0';
    this.mark(chosen);
  }

  mark(id) {
    this.made.elements.get(this.chosen)?.setAttribute('tabindex', '-1');
    this.made.elements.get(this.chosen)?.classList.remove('chosen');
    this.chosen = id;
    const made = this.made.elements.get(id);
    made.setAttribute('tabindex', '0');
    made.classList.add('chosen');
  }

  // Shows what is said of a node or group, and brings it into sight.
  select(id, isCentred) {
    this.mark(id);
    const at = this.made.places.get(id);
    if (isCentred) this.view.centre(at);
    if (id[0] === 'g') {
      showGroup(this.graph, this.folded.groups[id.slice(1)], this.panel);
      return;
    }
    const { leaf } = this.place.dataset;
    show(this.graph, this.graph.nodes[id.slice(1)], this.panel, {
      go: (n) => this.goto(n), leaf: (index) => leaf.replace('{leaf}', String(index)),
    });
  }

  // Selects a node that may not be drawn yet.
  goto(n) {
    if (!this.made.elements.has(`n${n}`)) {
      if (this.graph.nodes[n].type !== 'run') this.things.checked = true;
      this.opened.add(n);
      this.redraw();
    }
    if (!this.made.elements.has(`n${n}`)) return;
    this.select(`n${n}`, true);
    this.made.elements.get(`n${n}`).focus({ preventScroll: true });
  }

  open(id) {
    const members = this.folded.groups[id.slice(1)];
    const first = members[0];
    for (const n of members.slice(0, OPENED)) this.opened.add(n);
    this.redraw();
    if (this.made.elements.has(`n${first}`)) this.goto(first);
    else this.drawn.textContent = 'No more can be drawn at once; the list has all.';
  }

  act(id) {
    if (id[0] === 'g') this.open(id);
    else this.select(id, false);
  }

  // What stands beside a node: earlier, later, above or below in its own rank.
  beside(id, key) {
    const { places, links, elements } = this.made;
    const here = places.get(id);
    const nearest = (ids) => ids
      .map((one) => [Math.hypot(places.get(one).x - here.x, places.get(one).y - here.y), one])
      .sort((one, other) => one[0] - other[0])[0]?.[1];
    if (key === 'ArrowLeft') return nearest(links.get(id).before);
    if (key === 'ArrowRight') return nearest(links.get(id).after);
    const isBelow = key === 'ArrowDown';
    return nearest([...elements.keys()].filter((one) => {
      const { x, y } = places.get(one);
      return Math.abs(x - here.x) < 20 && (isBelow ? y > here.y : y < here.y);
    }));
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const id = event.target.closest?.('[data-id]')?.dataset.id ?? this.chosen;
    const far = 60;
    const moves = {
      ArrowLeft: [far, 0], ArrowRight: [-far, 0], ArrowUp: [0, far], ArrowDown: [0, -far],
    };
    if (event.shiftKey && moves[event.key]) this.view.by(...moves[event.key]);
    else if (moves[event.key]) this.focus(this.beside(id, event.key));
    else if (event.key === 'Home') this.focus('n0');
    else if (event.key === 'Enter' || event.key === ' ') this.act(id);
    else if (event.key === '+' || event.key === '=') this.view.closer();
    else if (event.key === '-') this.view.farther();
    else if (event.key === '0') this.view.fitWhole();
    else return;
    event.preventDefault();
  }

  focus(id) {
    if (id !== undefined) this.made.elements.get(id).focus({ preventScroll: true });
  }

  #focus(event) {
    const id = event.target.closest?.('[data-id]')?.dataset.id;
    if (!id) return;
    // Under a pressed pointer nothing may move: the click would meet something else.
    if (!this.view.pointers.size) this.view.reveal(this.made.places.get(id), 110);
    if (id !== this.chosen) this.select(id, false);
  }

  #click(event) {
    if (this.view.moved > 4) return; // it was a pan
    const id = event.target.closest('[data-id]')?.dataset.id;
    if (id) this.act(id);
  }
}

async function begin() {
  const place = document.getElementById('graph');
  if (!place) return;
  place.hidden = false;
  const drawn = place.querySelector('#drawn');
  try {
    const answer = await fetch(place.dataset.source, { cache: 'no-store' });
    if (!answer.ok) throw new Error(`the explorer answered ${answer.status}`);
    const graph = prepare(await answer.json());
    const picture = new Picture(place, graph);
    place.dataset.layout = `dagre ${version}`;
    place.dataset.drawn = String(Math.round(performance.now())); // milliseconds after the page was asked for
    place.picture = picture;
  } catch (error) {
    drawn.textContent = `The graph cannot be drawn (${error.message}); the list below says the same.`;
  }
}

begin();
