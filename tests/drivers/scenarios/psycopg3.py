"""psycopg 3: both commit modes, the pipeline, cursors on the server, COPY both ways, binary."""

import psycopg
from psycopg.rows import dict_row

from common import BORN, PHOTO, RUN, attempt, email, show

INSERT = "INSERT INTO customers (email, born, balance, tags, photo) VALUES (%s, %s, %s, %s, %s)"


def columns(cursor):
    return [(c.name, c.type_code, c.internal_size) for c in cursor.description or []]


def transactions():
    with psycopg.connect() as connection:
        cursor = connection.cursor()
        cursor.execute(INSERT + " RETURNING *", (email("ada"), BORN, "12.50", ["a", "b,c"], PHOTO))
        show("returning", columns(cursor), cursor.statusmessage, cursor.fetchall())
        ada = cursor.execute("SELECT id FROM customers WHERE email = %s", (email("ada"),)).fetchone()[0]
        with connection.transaction():
            cursor.execute("INSERT INTO orders VALUES (%s, 1, 'tea', 3.20), (%s, 2, 'cup', NULL)", (ada, ada))
            show("two rows", cursor.rowcount, cursor.description)
        with connection.transaction(force_rollback=True):
            cursor.execute("DELETE FROM orders")
            show("rolled back", cursor.rowcount)
        attempt("conflict", psycopg.Error, lambda: nested(connection))
        connection.commit()
        attempt("position", psycopg.Error, lambda: cursor.execute("UPDATE customers SET nothing = 1 WHERE id = 1"))
        show("status", connection.info.transaction_status.name)
        connection.rollback()
        cursor.execute("SELECT count(*), sum(balance) FROM customers WHERE email LIKE %s", (email("%"),))
        show("sum", cursor.fetchall())


def nested(connection):
    with connection.transaction():
        connection.execute(INSERT, (email("ada"), None, 1, [], None))


def autocommit():
    with psycopg.connect(autocommit=True, row_factory=dict_row) as connection:
        for turn in range(8):  # prepared on the server from the sixth on
            cursor = connection.execute(INSERT + " RETURNING email, balance", (email(f"n{turn}"), BORN, turn, [str(turn)], None))
            show("row", cursor.fetchone(), cursor.statusmessage)
            seen = connection.execute("SELECT balance, tags FROM customers WHERE email = %s", (email(f"n{turn}"),))
            show("read", seen.fetchone())
        many = connection.cursor()
        many.executemany("UPDATE customers SET balance = balance + %s WHERE email = %s RETURNING balance",
                         [(n, email(f"n{n}")) for n in range(5)], returning=True)
        show("many", many.rowcount, many.fetchall())
        binary = connection.execute("SELECT id, balance, photo, born, tags FROM customers WHERE email = %b",
                                    (email("ada"),), binary=True)
        show("binary", binary.fetchone())
        both = connection.execute("INSERT INTO events (what) VALUES ('a'); SELECT 1 AS one; DELETE FROM events WHERE what = 'none'")
        show("several", both.statusmessage, both.nextset(), both.fetchall(), both.nextset(), both.statusmessage)
        show("upsert", connection.execute(
            "INSERT INTO customers (email) VALUES (%s) ON CONFLICT (email) DO UPDATE SET balance = 99 RETURNING (xmax = 0) AS new",
            (email("ada"),)).fetchall())


def pipeline():
    with psycopg.connect(autocommit=True) as connection:
        with connection.pipeline() as pipe:
            cursors = [connection.execute("INSERT INTO events (what) VALUES (%s) RETURNING what", (f"p{n}",)) for n in range(20)]
            reads = [connection.execute("SELECT count(*) FROM customers WHERE email LIKE %s", (email("n%"),)) for _ in range(3)]
            pipe.sync()
            show("pipelined", [c.fetchone()[0] for c in cursors], [c.fetchone()[0] for c in reads])
        with connection.pipeline() as pipe:
            good = connection.execute("INSERT INTO events (what) VALUES ('lost') RETURNING what")
            attempt("in the pipeline", psycopg.Error, lambda: connection.execute("INSERT INTO customers (email) VALUES (NULL)").fetchall())
            attempt("behind it", psycopg.Error, good.fetchone)
        show("lost", connection.execute("SELECT count(*) FROM events WHERE what = 'lost'").fetchone())


def server_cursor():
    with psycopg.connect() as connection:
        with connection.cursor("stream") as cursor:
            cursor.itersize = 3
            cursor.execute("SELECT n, n * n FROM generate_series(1, 10) n")
            show("cursor", list(cursor))
        with connection.cursor("both", scrollable=True) as cursor:
            cursor.execute("SELECT email FROM customers WHERE email LIKE %s ORDER BY email", (email("%"),))
            show("scroll", cursor.fetchmany(2), cursor.scroll(-1), cursor.fetchone(), columns(cursor))
            show("current", connection.execute("UPDATE customers SET balance = 5 WHERE email = %s", (email("n1"),)).rowcount)


def copy():
    rows = [(RUN * 1000 + n, None if n % 3 else f"t\t{n}\\", n / 7, None, PHOTO[:n]) for n in range(200)]
    with psycopg.connect() as connection, connection.cursor() as cursor:
        with cursor.copy("COPY copied (id, name, size, at, raw) FROM STDIN") as into:
            for row in rows[:100]:
                into.write_row(row)
        show("copied", cursor.rowcount, cursor.statusmessage)
        with cursor.copy("COPY copied (id, name, size, at, raw) FROM STDIN (FORMAT binary)") as into:
            into.set_types(["int4", "text", "float8", "timestamptz", "bytea"])
            for row in rows[100:]:
                into.write_row(row)
        show("copied in binary", cursor.rowcount)
        with cursor.copy("COPY (SELECT * FROM copied WHERE id % 50 = 0 ORDER BY id) TO STDOUT") as out:
            show("out", b"".join(out))
        attempt("broken", psycopg.Error, lambda: broken_copy(cursor))


def broken_copy(cursor):
    with cursor.copy("COPY copied FROM STDIN") as into:
        into.write("1\tx\n")


for part in (transactions, autocommit, pipeline, server_cursor, copy):
    part()
