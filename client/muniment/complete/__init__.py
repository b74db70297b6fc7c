"""Completeness proofs: that nothing was left out of an answer. Pure, and offline.

`keys` is what can be asked, `listing` the leaves of a key, `prooffile` the file with its proof.
"""
