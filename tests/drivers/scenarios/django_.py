"""Django: migrations, the ORM's reads and writes, transactions."""

import datetime

import django
from django.conf import settings

from common import BORN, DATABASE, HOST, PORT, RUN, USER, email, show

settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "NAME": DATABASE, "USER": USER, "HOST": HOST, "PORT": PORT,
                           "OPTIONS": {"server_side_binding": RUN % 2 == 1}}},
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions"],
    USE_TZ=True,
)
django.setup()

from django.contrib.auth.models import Group, User  # noqa: E402
from django.contrib.sessions.models import Session  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db.migrations.recorder import MigrationRecorder  # noqa: E402
from django.db import IntegrityError, connection, transaction  # noqa: E402
from django.db.models import Count, F, Q  # noqa: E402
from django.utils import timezone  # noqa: E402


def crud():
    people = [User(username=f"user{RUN}-{n}", email=email(f"django{n}"), last_name="odd" if n % 2 else "even") for n in range(25)]
    User.objects.bulk_create(people, batch_size=10)
    mine = User.objects.filter(username__startswith=f"user{RUN}-")
    show("created", mine.count(), [bool(p.pk) for p in people[:2]])
    group, fresh = Group.objects.get_or_create(name=f"group {RUN}")
    show("group", group.name, fresh)
    group.user_set.set(mine.filter(last_name="odd"))
    show("grouped", list(mine.values("last_name").annotate(n=Count("groups")).order_by("last_name")))
    show("updated", mine.filter(Q(last_name="even")).update(first_name=F("last_name")))
    one = mine.order_by("pk").first()
    one.set_unusable_password()
    one.save(update_fields=["password"])
    show("again", User.objects.get(pk=one.pk).first_name)
    show("deleted", mine.filter(username__endswith="9").delete())
    show("iterated", len(list(mine.iterator(chunk_size=4))))
    Session.objects.bulk_create([Session(session_key=f"{RUN}-{n}", session_data="x", expire_date=timezone.now()) for n in range(5)])
    Session.objects.bulk_create(
        [Session(session_key=f"{RUN}-1", session_data="y", expire_date=timezone.now() + datetime.timedelta(1))],
        update_conflicts=True, unique_fields=["session_key"], update_fields=["session_data"])
    show("merged", list(Session.objects.filter(session_key__startswith=f"{RUN}-").order_by("pk").values_list("session_data", flat=True)))


def transactions():
    with transaction.atomic():
        User.objects.create_user(f"outer{RUN}")
        try:
            with transaction.atomic():
                User.objects.create_user(f"user{RUN}-1")
        except IntegrityError as error:
            show("conflict", str(error))
        locked = User.objects.select_for_update().get(username=f"outer{RUN}")
        locked.last_name = "locked"
        locked.save()
        seen = []
        transaction.on_commit(lambda: seen.append(True))
    show("after", User.objects.get(username=f"outer{RUN}").last_name, seen)


if __name__ == "__main__":
    import sys

    if sys.argv[1:] == ["migrate"]:
        call_command("migrate", verbosity=0)
        # The one thing that every database has its own of.
        MigrationRecorder(connection).migration_qs.update(applied=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC))
    else:
        show("tables", sorted(connection.introspection.table_names()))
        crud()
        transactions()
