"""asyncpg: binary parameters, its cache of prepared statements, cursors, executemany, copy_records_to_table."""

import asyncio
import io

import asyncpg

from common import BORN, PHOTO, RUN, code, email, show


async def attempt(label, coroutine):
    try:
        show(label, await coroutine)
    except asyncpg.PostgresError as error:
        show(label, type(error).__name__, code(error), error.as_dict())


async def autocommit(connection):
    show("tag", await connection.execute("INSERT INTO customers (email, born, balance, tags, photo) VALUES ($1, $2, $3, $4, $5)",
                                         email("cid"), BORN, 3, ["x", None], PHOTO))
    for turn in range(4):
        row = await connection.fetchrow("UPDATE customers SET balance = balance + $2 WHERE email = $1 RETURNING *", email("cid"), turn)
        show("row", dict(row))
        show("value", await connection.fetchval("SELECT balance FROM customers WHERE email = $1", email("cid")))
    await connection.executemany("INSERT INTO customers (email, balance) VALUES ($1, $2)", [(email(f"m{n}"), n) for n in range(100)])
    show("many", [tuple(r) for r in await connection.fetch("SELECT count(*), sum(balance) FROM customers WHERE email LIKE $1", email("m%"))])
    show("script", await connection.execute("INSERT INTO events (what) VALUES ('s'); UPDATE customers SET balance = 0 WHERE balance < 0"))
    await attempt("conflict", connection.execute("INSERT INTO customers (email) VALUES ($1)", email("cid")))
    await attempt("syntax", connection.fetch("SELECT 1 FROM customers WHERE nothing = 2"))
    await attempt("of many", connection.executemany("INSERT INTO customers (email) VALUES ($1)", [(email("q"),), (email("q"),)]))
    show("none of them", await connection.fetchval("SELECT count(*) FROM customers WHERE email = $1", email("q")))


async def prepared(connection):
    statement = await connection.prepare("INSERT INTO orders SELECT id, $2, $3, 1.5 FROM customers WHERE email = $1 RETURNING line, price")
    show("described", [(a.name, a.type.name) for a in statement.get_attributes()], [t.name for t in statement.get_parameters()])
    for line in range(5):
        show("ran", [tuple(r) for r in await statement.fetch(email("cid"), line, f"article {line}")], statement.get_statusmsg())
    silent = await connection.prepare("DELETE FROM orders WHERE customer_id = (SELECT id FROM customers WHERE email = $1) AND line = $2")
    show("silent", silent.get_attributes(), await silent.fetch(email("cid"), 4), silent.get_statusmsg())


async def transactions(connection):
    async with connection.transaction():
        await connection.execute("INSERT INTO customers (email) VALUES ($1)", email("outer"))
        try:
            async with connection.transaction():
                await connection.execute("INSERT INTO customers (email) VALUES ($1)", email("inner"))
                raise LookupError
        except LookupError:
            pass
        cursor = await connection.cursor("SELECT n, repeat('x', n) FROM generate_series(1, 30) n")
        show("cursor", [tuple(r) for r in await cursor.fetch(2)], await cursor.forward(20), [tuple(r) for r in await cursor.fetch(100)])
        rows = [r["email"] async for r in connection.cursor("SELECT email FROM customers WHERE email LIKE $1 ORDER BY 1", email("%er"), prefetch=1)]
        show("iterated", rows)
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await attempt("read only", connection.execute("DELETE FROM orders"))


async def copy(connection):
    records = [(RUN * 1000 + n, f"n{n}", n / 9, None, PHOTO[: n % 256]) for n in range(500)]
    show("copied", await connection.copy_records_to_table("copied", records=records))
    await attempt("again", connection.copy_records_to_table("copied", records=records[:1]))
    out = io.BytesIO()
    tag = await connection.copy_from_query("SELECT id, name FROM copied WHERE id % 100 = 1 ORDER BY id", output=out, format="csv")
    show("out", tag, out.getvalue())


async def reset(pool):
    for turn in range(3):
        async with pool.acquire() as connection:
            show("pooled", await connection.fetchval("SELECT count(*) FROM customers WHERE email LIKE $1", email("m%")))


async def main():
    connection = await asyncpg.connect()
    for part in (autocommit, prepared, transactions, copy):
        await part(connection)
    await connection.close()
    async with asyncpg.create_pool(min_size=1, max_size=2) as pool:
        await reset(pool)


asyncio.run(main())
