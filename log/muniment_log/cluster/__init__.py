"""The log past one machine: PostgreSQL for order, an object store for tiles.

What needs asyncpg and obstore is below here and imported only when a cluster is configured.
"""
