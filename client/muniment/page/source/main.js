// Starts the page, and gives other pages and tests what it is made of.
import { verifyEd25519 } from './note.js';
import { start } from './page.js';
import { verifyConsistency, verifyInclusion } from './tree.js';
import { verify } from './verify.js';

globalThis.muniment = { verify, verifyConsistency, verifyEd25519, verifyInclusion };
start();
