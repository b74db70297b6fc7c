"""How a witness learns of heads that nobody brings it: pull, gossip, push, comparison.

What changes the database raises `FatalDatabaseError` when it could not make the change durable; the
process must end then.
"""
