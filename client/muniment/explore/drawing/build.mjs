// Builds ../static/graph.js from these files and the layout library that page/package-lock.json pins:
//   node build.mjs MODULES OUT      MODULES has node_modules, as `npm ci` made it
// scripts/page runs it. The result depends on nothing else: no time, no path, no network.
import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const [modules, out] = process.argv.slice(2).map((path) => resolve(path));
const read = (...path) => readFileSync(join(...path), 'utf8');

// What is bundled is looked up beside the sources, so they are built from a copy.
const work = mkdtempSync(join(tmpdir(), 'muniment-graph-'));
try {
  cpSync(import.meta.dirname, work, { recursive: true });
  symlinkSync(join(modules, 'node_modules'), join(work, 'node_modules'));
  const options = ['--bundle', '--format=iife', '--charset=utf8', '--target=es2022',
    '--legal-comments=none', '--preserve-symlinks', '--log-level=warning'];
  const script = execFileSync(join(modules, 'node_modules', '.bin', 'esbuild'),
    ['main.js', ...options], { cwd: work, encoding: 'utf8', maxBuffer: 1 << 26 });
  const notices = ['@dagrejs/dagre', '@dagrejs/graphlib'].map((name) => {
    const folder = join(modules, 'node_modules', name);
    const { version } = JSON.parse(read(folder, 'package.json'));
    return `${name} ${version}\n\n${read(folder, 'LICENSE')}`;
  }).join('\n').replaceAll('*/', '* /');
  writeFileSync(out, `/* Built by scripts/page from client/muniment/explore/drawing, with\n\n${notices}*/\n${script}`);
} finally {
  rmSync(work, { recursive: true });
}
