// What the page does with files, and what other pages and tests may ask of it.
import { verifyEd25519 } from './note.js';
import { verifyConsistency, verifyInclusion } from './tree.js';
import { verify } from './verify.js';

globalThis.muniment = { verify, verifyConsistency, verifyEd25519, verifyInclusion };
