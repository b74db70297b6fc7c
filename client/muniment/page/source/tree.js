// RFC 6962 and RFC 9162: hashes of a Merkle tree, and what proofs imply.
import { equal, HASH_SIZE, sha256, VerificationError } from './bytes.js';

export const MAX_PROOF = 63;
export const EMPTY_ROOT = sha256();
export const leafHash = (entry) => sha256([0], entry);
const nodeHash = (left, right) => sha256([1], left, right);

const bitLength = (number) => (number ? number.toString(2).length : 0);
const bitCount = (number) => number.toString(2).replaceAll('0', '').length;
const zeros = (number) => bitLength(number & -number) - 1;

function checkLength(proof, expected, what) {
  if (proof.length !== expected)
    throw new VerificationError(`${what}: ${proof.length} hashes instead of ${expected}`);
}

// The hash of the leaves [start, end) and the root that a proof implies. A proof is the siblings on
// the path from a node to the root; the node is the highest one on the right edge of [start, end)
// that is also one of the tree. Siblings inside, all on the left, go into the older hash as well.
// How many there are follows from the three numbers, so no inner node can pass for a leaf.
function implied(start, end, hash, size, proof, what) {
  let [first, last, edge] = [start, end - 1n, size - 1n];
  let level = bitLength(first ^ last);
  if (last !== edge) level = Math.min(level, zeros(end));
  [first, last, edge] = [first, last, edge].map((at) => at >> BigInt(level));
  const isWhole = first === last;
  const inner = bitLength(last ^ edge);
  checkLength(proof, (isWhole ? 0 : 1) + inner + bitCount(last >> BigInt(inner)), what);
  if ([hash, ...proof].some((value) => value.length !== HASH_SIZE))
    throw new VerificationError(`${what}: a hash is not ${HASH_SIZE} bytes`);
  let older = isWhole ? hash : proof[0];
  let newer = older;
  for (const sibling of proof.slice(isWhole ? 0 : 1)) {
    if (last === edge) {
      // On the right edge of the tree, levels without a sibling are skipped.
      const skip = BigInt(zeros(last));
      [first, last, edge] = [first >> skip, last >> skip, edge >> skip];
    }
    if (last & 1n) {
      newer = nodeHash(sibling, newer);
      if (first < last) older = nodeHash(sibling, older);
    } else newer = nodeHash(newer, sibling);
    [first, last, edge] = [first >> 1n, last >> 1n, edge >> 1n];
  }
  return [older, newer];
}

export function verifyInclusion(leaf, index, size, proof, root) {
  if (!(0n <= index && index < size))
    throw new VerificationError(`inclusion proof: a tree of size ${size} has no leaf ${index}`);
  const what = `inclusion proof of leaf ${index}`;
  if (!equal(implied(index, index + 1n, leaf, size, proof, what)[1], root))
    throw new VerificationError(`${what}: not in the tree of size ${size}`);
}

export function verifyConsistency(old, oldRoot, size, root, proof) {
  if (!(0n <= old && old <= size))
    throw new VerificationError(`consistency proof: no tree grows from ${old} to ${size} leaves`);
  const what = `consistency proof from ${old} to ${size}`;
  if (old === 0n) {
    checkLength(proof, 0, what);
    if (!equal(oldRoot, EMPTY_ROOT) || (size === 0n && !equal(root, EMPTY_ROOT)))
      throw new VerificationError(`${what}: not the root of the empty tree`);
    if (root.length !== HASH_SIZE)
      throw new VerificationError(`${what}: a hash is not ${HASH_SIZE} bytes`);
  } else if (old === size) {
    checkLength(proof, 0, what);
    if (!equal(oldRoot, root)) throw new VerificationError(`${what}: two roots of one size`);
  } else {
    const [older, newer] = implied(0n, old, oldRoot, size, proof, what);
    if (!equal(older, oldRoot))
      throw new VerificationError(`${what}: the subtree or older root does not match`);
    if (!equal(newer, root))
      throw new VerificationError(`${what}: the tree root does not match`);
  }
}

// The root of the one tree of which a proof of many leaves would be true. `leaves` has hashes by
// index, `proof` by "level index"; each node must be needed, so that nothing is without effect.
export function rootFromMultiproof(leaves, size, proof) {
  if (size < 1n || [...leaves.keys()].some((index) => index >= size))
    throw new VerificationError(`multiproof: a leaf is not in a tree of size ${size}`);
  let used = 0;
  const given = (level, index) => {
    used += 1;
    const found = proof.get(`${level} ${index}`);
    if (found) return found;
    throw new VerificationError(
      `multiproof: the node at level ${level}, index ${index} is missing`);
  };
  let row = new Map(leaves);
  const peaks = [];
  for (let level = 0; level < bitLength(size); level++) {
    const end = size >> BigInt(level);
    const above = new Map();
    if (end & 1n) {
      peaks.push(row.get(end - 1n) ?? given(level, end - 1n));
      row.delete(end - 1n);
    }
    for (const [index, hash] of row) {
      if (!(index & 1n))
        above.set(index >> 1n, nodeHash(hash, row.get(index + 1n) ?? given(level, index + 1n)));
      else if (!row.has(index - 1n))
        above.set(index >> 1n, nodeHash(given(level, index - 1n), hash));
    }
    row = above;
  }
  if (used !== proof.size)
    throw new VerificationError(`multiproof: ${proof.size - used} hashes that nothing needs`);
  return peaks.slice(1).reduce((root, left) => nodeHash(left, root), peaks[0]);
}
