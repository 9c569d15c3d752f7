"""What the scenarios in Python have in common. They print all that a client can see; who runs them compares that with a direct run."""

import datetime
import decimal
import os
import re
import uuid

HOST, PORT, USER, DATABASE = (os.environ[name] for name in ("PGHOST", "PGPORT", "PGUSER", "PGDATABASE"))
RUN = int(os.environ["RUN"])
BORN = datetime.date(1990, 1, 31)
PHOTO = bytes(range(256))
# Tokens and times, where a server's message quotes a row.
VARYING = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d{4}-\d\d-\d\d \d\d:[0-9:.+]+")


def email(name):
    return f"{name}.{RUN}@example.com"


def show(label, *seen):
    print(label, *(plain(value) for value in seen), flush=True)


def plain(value):
    """A value's type and text; of what differs from run to run only the type."""
    if isinstance(value, (uuid.UUID, datetime.datetime)):
        return type(value).__name__
    if isinstance(value, (memoryview, bytearray)):
        value = bytes(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {plain(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return f"{type(value).__name__}[{', '.join(plain(item) for item in value)}]"
    if isinstance(value, (decimal.Decimal, datetime.date)):
        return f"{type(value).__name__} {value}"
    return VARYING.sub("...", repr(value))


def attempt(label, kinds, action):
    """Runs what has to fail, and shows how."""
    try:
        action()
        show(label, "no error")
    except kinds as error:
        show(label, type(error).__name__, code(error), str(error))


def code(error):
    return getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
