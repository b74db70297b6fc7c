// C2SP tlog-proof: an inclusion proof and a cosigned checkpoint in one text.
import {
  FormatError, indexOf, parseBase64, parseDecimal, parseHash, parseText, splitLines,
} from './bytes.js';
import { MAX_NOTE_SIZE, parseSignedCheckpoint } from './note.js';
import { leafHash, MAX_PROOF, verifyInclusion } from './tree.js';

export const HEADER = 'c2sp.org/tlog-proof@v1';
const MAX_EXTRA = 64 * 1024;
const MAX_HEADER_SIZE = 4 * 1024 + Math.ceil(MAX_EXTRA / 3) * 4;
export const MAX_TLOG_PROOF_SIZE = MAX_HEADER_SIZE + MAX_NOTE_SIZE;

export function parseTlogProof(data) {
  const cut = indexOf(data, '\n\n', MAX_HEADER_SIZE);
  if (cut < 0)
    throw new FormatError('tlog-proof: no empty line after the proof, or beyond the size limits');
  const text = parseText(data.subarray(0, cut + 1), 'tlog-proof', MAX_HEADER_SIZE);
  const [header, ...lines] = splitLines(text);
  if (header !== HEADER) throw new FormatError(`tlog-proof: the first line is not ${HEADER}`);
  let extra = null;
  if (lines[0]?.startsWith('extra '))
    extra = parseBase64(lines.shift().slice(6), 'tlog-proof: extra line');
  if (!lines[0]?.startsWith('index ')) throw new FormatError('tlog-proof: no index line');
  const index = parseDecimal(lines.shift().slice(6), 'tlog-proof: index');
  const proof = lines.map((line, at) => parseHash(line, `tlog-proof: proof line ${at + 1}`));
  const checkpoint = parseSignedCheckpoint(data.subarray(cut + 2));
  if (proof.length > MAX_PROOF)
    throw new FormatError(`tlog-proof: more than ${MAX_PROOF} proof lines`);
  if (extra && (extra.length < 1 || extra.length > MAX_EXTRA))
    throw new FormatError(`tlog-proof: extra data is not 1 to ${MAX_EXTRA} bytes`);
  return { index, proof, checkpoint, extra };
}

export async function verifyTlogProof({ index, proof, checkpoint }, entry, policy) {
  const cosigned = await policy.verify(checkpoint);
  verifyInclusion(leafHash(entry), index, cosigned.size, proof, cosigned.root);
  return cosigned;
}
