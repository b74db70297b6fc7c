"""The log past one machine (design section 7): PostgreSQL for order, an object store for tiles.

What needs asyncpg and obstore is below here and imported only when a cluster is configured.
"""
