"""psycopg2: the simple protocol, cursors on the server, execute_values, copy_from."""

import io

import psycopg2
import psycopg2.extras

from common import BORN, PHOTO, RUN, attempt, email, show


def columns(cursor):
    return [(c.name, c.type_code, c.internal_size) for c in cursor.description or []]


def transactions(connection):
    with connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO customers (email, born, balance, photo) VALUES (%s, %s, %s, %s) RETURNING id, email, photo, made",
                       (email("bob"), BORN, 7, psycopg2.Binary(PHOTO)))
        row = cursor.fetchone()
        show("returning", columns(cursor), cursor.statusmessage, row)
        psycopg2.extras.execute_values(cursor, "INSERT INTO orders VALUES %s", [(row[0], n, f"it's {n}", n) for n in range(50)], page_size=20)
        show("values", cursor.rowcount, cursor.description)
        got = psycopg2.extras.execute_values(
            cursor, "INSERT INTO customers (email) VALUES %s RETURNING email", [(email(f"v{n}"),) for n in range(7)], fetch=True, page_size=3)
        show("fetched", got)
        psycopg2.extras.execute_batch(cursor, "UPDATE orders SET price = price + 1 WHERE customer_id = %s AND line = %s",
                                      [(row[0], n) for n in range(10)])
        cursor.execute("SELECT sum(price) FROM orders WHERE customer_id = %s", (row[0],))
        show("sum", cursor.fetchall())
    attempt("conflict", psycopg2.Error, lambda: insert(connection, email("bob")))
    connection.rollback()


def insert(connection, address):
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO customers (email) VALUES (%s)", (address,))


def savepoints(connection):
    with connection, connection.cursor() as cursor:
        cursor.execute("SAVEPOINT a")
        insert(connection, email("kept"))
        cursor.execute("SAVEPOINT b")
        insert(connection, email("lost"))
        attempt("in b", psycopg2.Error, lambda: insert(connection, email("lost")))
        attempt("aborted", psycopg2.Error, lambda: insert(connection, email("other")))
        cursor.execute("ROLLBACK TO b")
        cursor.execute("SELECT email FROM customers WHERE email IN (%s, %s)", (email("kept"), email("lost")))
        show("savepoints", cursor.fetchall())


def server_cursor(connection):
    with connection, connection.cursor("stream", scrollable=True) as cursor:
        cursor.itersize = 4
        cursor.execute("SELECT line, article FROM orders JOIN customers ON customer_id = id WHERE email = %s ORDER BY line", (email("bob"),))
        show("stream", cursor.fetchmany(3), cursor.fetchone(), len(cursor.fetchall()))
        cursor.scroll(0, mode="absolute")
        show("again", cursor.fetchone())


def autocommit(connection):
    connection.autocommit = True
    with connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
        for turn in range(3):
            cursor.execute("UPDATE customers SET balance = balance + 1.5 WHERE email = %s", (email("bob"),))
            show("count", cursor.rowcount, cursor.statusmessage)
            cursor.execute("SELECT balance, born, tags, made FROM customers WHERE email = %s", (email("bob"),))
            show("read", cursor.fetchall(), columns(cursor))
        cursor.execute("DO $$ BEGIN RAISE NOTICE 'hello %', 42; END $$")
        show("notices", connection.notices)
        cursor.execute("WITH gone AS (DELETE FROM orders WHERE line > 45 RETURNING line) SELECT count(*) FROM gone")
        show("with", cursor.fetchall())
        cursor.execute("INSERT INTO events (what) SELECT 'e' || n FROM generate_series(1, 5) n")
        show("keyless", cursor.statusmessage)
    connection.autocommit = False


def copy(connection):
    text = "".join(f"{RUN * 1000 + n}\tname {n}\t{n / 3}\t\\N\t\\\\x0102\n" for n in range(300))
    with connection, connection.cursor() as cursor:
        cursor.copy_from(io.StringIO(text), "copied", columns=("id", "name", "size", "at", "raw"))
        show("copied", cursor.rowcount)
        out = io.StringIO()
        cursor.copy_expert("COPY (SELECT id, name, size FROM copied WHERE id % 60 = 0 ORDER BY id) TO STDOUT WITH CSV HEADER", out)
        show("out", out.getvalue())
        wide = "".join(f"{RUN * 10000 + 500000 + n}\t{'w' * 10000}\n" for n in range(500))
        cursor.copy_from(io.StringIO(wide), "copied", columns=("id", "name"))
        show("more than any buffer", cursor.rowcount)
        attempt("broken", psycopg2.Error, lambda: cursor.copy_from(io.StringIO("x\ty\n"), "copied", columns=("id", "name")))


link = psycopg2.connect("")
for part in (transactions, savepoints, server_cursor, autocommit, copy):
    part(link)
link.close()
