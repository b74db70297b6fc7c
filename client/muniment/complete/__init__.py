"""Completeness proofs: that nothing was left out of an answer; all but `asking` without I/O.

`keys` is what can be asked, `listing` the leaves of a key, `prooffile` the file with its proof,
`facts` what follows from it for lineage and permits; `answering` is the log's side of it, and
`asking` asks over HTTP.
"""
