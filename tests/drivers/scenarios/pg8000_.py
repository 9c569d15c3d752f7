"""pg8000: an extended protocol of its own kind, in both of its interfaces."""

import io

import pg8000.dbapi
import pg8000.native

from common import BORN, DATABASE, HOST, PHOTO, PORT, RUN, USER, show, email

WHERE = {"user": USER, "host": HOST, "port": int(PORT), "database": DATABASE}


def attempt(label, action):
    try:
        show(label, action())
    except (pg8000.native.DatabaseError, pg8000.dbapi.DatabaseError) as error:
        show(label, {key: value for key, value in error.args[0].items() if key not in "FLR"})


def native():
    connection = pg8000.native.Connection(**WHERE)
    insert = "INSERT INTO customers (email, born, balance, photo) VALUES (:email, :born, :balance, :photo) RETURNING id, email, photo"
    show("returning", connection.run(insert, email=email("dan"), born=BORN, balance=4, photo=PHOTO), connection.columns, connection.row_count)
    prepared = connection.prepare("UPDATE customers SET balance = balance * :by WHERE email = :email")
    for by in range(1, 5):
        show("prepared", prepared.run(by=by, email=email("dan")), prepared.row_count if hasattr(prepared, "row_count") else None)
        show("read", connection.run("SELECT balance, born, tags FROM customers WHERE email = :email", email=email("dan")))
    prepared.close()
    connection.run("START TRANSACTION")
    connection.run("INSERT INTO customers (email) VALUES (:email)", email=email("lost"))
    connection.run("ROLLBACK")
    attempt("conflict", lambda: connection.run("INSERT INTO customers (email) VALUES (:email)", email=email("dan")))
    attempt("position", lambda: connection.run("DELETE FROM customers WHERE nothing"))
    show("script", connection.run("INSERT INTO events (what) VALUES ('x'); SELECT 1; SELECT 2"), connection.columns)
    text = io.BytesIO(b"".join(b"%d\tname\t1.5\t\\N\t\\\\x01\n" % (RUN * 1000 + n) for n in range(100)))
    show("copied", connection.run("COPY copied FROM STDIN", stream=text), connection.row_count)
    show("lost", connection.run("SELECT count(*) FROM customers WHERE email = :email", email=email("lost")))
    connection.close()


def dbapi():
    connection = pg8000.dbapi.connect(**WHERE)
    cursor = connection.cursor()
    cursor.executemany("INSERT INTO customers (email, balance) VALUES (%s, %s)", [(email(f"e{n}"), n) for n in range(20)])
    show("many", cursor.rowcount)
    connection.commit()
    cursor.execute("SELECT email, balance, made FROM customers WHERE email LIKE %s ORDER BY email", (email("e%"),))
    show("fetched", cursor.fetchmany(3), cursor.fetchone(), [(c[0], c[1]) for c in cursor.description])
    connection.rollback()
    attempt("conflict", lambda: cursor.execute("INSERT INTO customers (email) VALUES (%s)", (email("e1"),)))
    connection.rollback()
    connection.autocommit = True
    cursor.execute("DELETE FROM customers WHERE email = %s RETURNING email", (email("e19"),))
    show("deleted", cursor.fetchall(), cursor.rowcount)
    connection.close()


native()
dbapi()
