// Builds verify.html from source/ and the two libraries that package-lock.json pins:
//   node build.mjs MODULES OUT      MODULES has node_modules, as `npm ci` made it
// scripts/page runs it. The result depends on nothing else: no time, no path, no network.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const [modules, out] = process.argv.slice(2).map((path) => resolve(path));
const source = join(import.meta.dirname, 'source');
const read = (...path) => readFileSync(join(...path), 'utf8');
const hash = (text) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;

// What is bundled is looked up beside the sources, so they are built from a copy.
const work = mkdtempSync(join(tmpdir(), 'muniment-page-'));
let script;
try {
  cpSync(source, work, { recursive: true });
  symlinkSync(join(modules, 'node_modules'), join(work, 'node_modules'));
  const options = ['--bundle', '--format=iife', '--charset=utf8', '--target=es2022',
    '--legal-comments=inline', '--preserve-symlinks', '--log-level=warning'];
  script = execFileSync(join(modules, 'node_modules', '.bin', 'esbuild'), ['main.js', ...options],
    { cwd: work, encoding: 'utf8', maxBuffer: 1 << 26 });
} finally {
  rmSync(work, { recursive: true });
}
if (/<\/script|<!--/i.test(script)) throw new Error('the script would end its own element');

const notices = ['@noble/post-quantum', '@noble/curves', '@noble/hashes'].map((name) => {
  const folder = join(modules, 'node_modules', name);
  const { version } = JSON.parse(read(folder, 'package.json'));
  return `${name} ${version}\n\n${read(folder, 'LICENSE')}`;
}).join('\n').replaceAll('--', '- -');
const style = read(source, 'page.css');
const csp = `default-src 'none'; script-src ${hash(script)}; style-src ${hash(style)}; ` +
  "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'";
const page = read(source, 'page.html')
  .replace('{{csp}}', () => csp)
  .replace('{{notices}}', () => notices)
  .replace('{{style}}', () => style)
  .replace('{{script}}', () => script);
writeFileSync(out, page);
