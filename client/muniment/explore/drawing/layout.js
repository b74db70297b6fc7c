// Where everything stands: the layered layout of dagre, earlier things to the left.
import { Graph, layout } from '@dagrejs/dagre';

export const WIDTH = 196;
const QUICK = 120; // above so many nodes, ranks are good enough and soon there

// Places what `fold` gives; `height` is that of a node. Returns {places: Map(id → {x, y}), edges:
// [{points, …}], width, height}; x and y are of the centre.
export function place(folded, height) {
  const graph = new Graph();
  const count = folded.nodes.length + folded.groups.length;
  graph.setGraph({
    rankdir: 'LR', nodesep: 14, ranksep: 56, marginx: 12, marginy: 12,
    ranker: count > QUICK ? 'tight-tree' : 'network-simplex',
  });
  for (const n of folded.nodes) graph.setNode(`n${n}`, { width: WIDTH, height });
  folded.groups.forEach((_, at) => graph.setNode(`g${at}`, { width: WIDTH, height }));
  for (const edge of folded.edges) graph.setEdge(edge.to, edge.from, {});
  layout(graph);
  const places = new Map(graph.nodes().map((id) => [id, graph.node(id)]));
  const edges = folded.edges.map((edge) => ({
    ...edge, points: graph.edge(edge.to, edge.from).points,
  }));
  const { width, height: tall } = graph.graph();
  return { places, edges, width: width || WIDTH, height: tall || height };
}
