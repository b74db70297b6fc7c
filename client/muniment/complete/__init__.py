"""Completeness proofs: that nothing was left out of an answer; all but `asking` without I/O.

`keys` is what can be asked, `listing` the leaves of a key, `prooffile` the file with its proof,
`wording` what that states; `facts` is what follows for lineage and permits. `asking` asks a log,
also for all that somebody looks up, and `tracing` traces a run by it.
"""
