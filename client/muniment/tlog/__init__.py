"""The transparency log kernel: trees, proofs, tiles, notes, policies, evidence. Pure."""
