"""The servers of the other tests themselves: what they have confirmed survives a kill."""

import asyncpg

import engines


async def test_a_killed_database_keeps_what_it_has_committed() -> None:
    with engines.postgresql() as server:
        url = server.create_database()
        connection = await asyncpg.connect(url)
        assert await connection.fetchval("SHOW fsync") == "on"
        await connection.execute("CREATE TABLE kept (number int)")
        await connection.execute("INSERT INTO kept VALUES (7)")
        server.kill()
        connection.terminate()
        server.start()
        assert server.url(url.rpartition("/")[2]) == url
        connection = await asyncpg.connect(url)
        assert await connection.fetchval("SELECT number FROM kept") == 7
        await connection.close()


async def test_each_test_gets_a_database_of_its_own(
    database: str, postgres_server: engines.PostgreSQL
) -> None:
    other = postgres_server.create_database()
    assert other != database
    for url in (database, other):
        connection = await asyncpg.connect(url)
        await connection.execute("CREATE TABLE mine (number int)")
        await connection.close()
    postgres_server.drop_database(other)
