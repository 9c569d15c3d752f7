"""Drivers that open a transaction around everything: which side answers their reads, before and after a write of the same transaction."""

import psycopg
import psycopg2
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from common import DATABASE, HOST, PORT, USER

TURNS = 10  # prepared on the server from the sixth on
PLACE, COUNT = "SELECT name FROM place", "SELECT n FROM counter WHERE id = 1"
ADD = "UPDATE counter SET n = n + 1 WHERE id = 1"


def turns(name, ask, do, commit):
    for _ in range(TURNS):
        print(name, "read", ask(PLACE), ask(PLACE))
        commit()
        first, before = ask(PLACE), ask(COUNT)
        do(ADD)
        print(name, "wrote", first, ask(PLACE), ask(COUNT) - before)
        commit()


def driver(name, module):
    connection = module.connect(f"host={HOST} port={PORT} user={USER} dbname={DATABASE}")
    cursor = connection.cursor()

    def ask(sql):
        cursor.execute(sql)
        return cursor.fetchone()[0]

    turns(name, ask, cursor.execute, connection.commit)
    connection.close()


def sessions(kind):
    engine = create_engine(f"postgresql+{kind}://{USER}@{HOST}:{PORT}/{DATABASE}")
    with Session(engine) as session:
        turns(f"sqlalchemy+{kind}", lambda sql: session.scalar(text(sql)), lambda sql: session.execute(text(sql)), session.commit)
    engine.dispose()


driver("psycopg", psycopg)
driver("psycopg2", psycopg2)
for kind in ("psycopg", "psycopg2", "pg8000"):
    sessions(kind)
