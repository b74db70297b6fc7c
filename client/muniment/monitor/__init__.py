"""The monitor, for people without a witness: whether the log shows what the witnesses hold.

``heads`` (what a party showed, verified) and ``core`` (what follows from it, and since when) are
pure; ``watch`` asks and waits, ``webhook`` tells others, ``report`` is what is told.
"""
