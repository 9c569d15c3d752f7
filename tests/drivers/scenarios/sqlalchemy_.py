"""SQLAlchemy: the ORM's unit of work, insertmanyvalues, RETURNING, reflection; over psycopg 3, psycopg2 and pg8000."""

import datetime
import decimal

from sqlalchemy import ForeignKey, MetaData, create_engine, delete, func, insert, inspect, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, insert as upsert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship, selectinload
from sqlalchemy.types import Date, Numeric, Text

from common import BORN, DATABASE, HOST, PORT, USER, email, show


class Base(DeclarativeBase):
    pass


class Customer(Base):
    __tablename__ = "customers"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str]
    born: Mapped[datetime.date | None] = mapped_column(Date)
    balance: Mapped[decimal.Decimal] = mapped_column(Numeric(12, 2), server_default="0")
    tags: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    profile: Mapped[dict | None] = mapped_column(JSONB)
    orders: Mapped[list["Order"]] = relationship(back_populates="customer", cascade="all, delete-orphan", order_by="Order.line")


class Order(Base):
    __tablename__ = "orders"
    customer_id: Mapped[int] = mapped_column(ForeignKey("customers.id"), primary_key=True)
    line: Mapped[int] = mapped_column(primary_key=True)
    article: Mapped[str]
    price: Mapped[decimal.Decimal | None] = mapped_column(Numeric(10, 2))
    customer: Mapped[Customer] = relationship(back_populates="orders")


def unit_of_work(engine, name):
    with Session(engine) as session:
        people = [Customer(email=email(f"{name}{n}"), born=BORN, profile={"n": n}) for n in range(12)]
        people[0].orders = [Order(line=n, article=f"a{n}", price=n) for n in range(3)]
        session.add_all(people)
        session.commit()
        show("defaults", [(p.balance, p.tags) for p in people[:2]])
        first = session.scalars(select(Customer).options(selectinload(Customer.orders)).where(Customer.email == email(f"{name}0"))).one()
        show("loaded", [(o.line, o.price) for o in first.orders], first.profile)
        first.balance += decimal.Decimal("1.10")
        first.orders.pop()
        first.orders.append(Order(line=7, article="new"))
        session.flush()
        with session.begin_nested() as inner:
            first.tags = ["nested"]
            session.flush()
            inner.rollback()
        session.commit()
        show("after", first.balance, first.tags, [o.line for o in first.orders])
        session.delete(people[11])
        session.add(Customer(email=email(f"{name}1")))
        try:
            session.commit()
        except IntegrityError as error:
            show("conflict", str(error.orig).splitlines()[0])
            session.rollback()


def statements(engine, name):
    with engine.begin() as connection:
        rows = connection.execute(insert(Customer).returning(Customer.email, sort_by_parameter_order=True),
                                  [{"email": email(f"{name}x{n}")} for n in range(30)])
        show("insertmanyvalues", len(rows.all()))
        conflict = upsert(Customer).values(email=email(f"{name}x1"), balance=5)
        merged = conflict.on_conflict_do_update(index_elements=["email"], set_={"balance": conflict.excluded.balance}).returning(Customer.balance)
        show("upsert", connection.execute(merged).all())
        changed = connection.execute(update(Customer).where(Customer.email.like(email(f"{name}x%"))).values(balance=Customer.balance + 1))
        show("updated", changed.rowcount)
        gone = connection.execute(delete(Customer).where(Customer.email == email(f"{name}x2")).returning(Customer.email))
        show("deleted", gone.all())
    with engine.connect() as connection:
        stream = connection.execution_options(yield_per=5).execute(text("SELECT n FROM generate_series(1, 12) n"))
        show("streamed", [row.n for row in stream])
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        show("autocommit", connection.execute(select(func.count(), func.sum(Customer.balance)).where(Customer.email.like(email(f"{name}%")))).all())


def reflection(engine):
    seen = MetaData()
    seen.reflect(engine, only=["customers", "orders", "events"])
    for table in seen.sorted_tables:
        show("table", table.name, [(c.name, str(c.type), c.nullable) for c in table.columns], [c.name for c in table.primary_key])
    show("keys", inspect(engine).get_foreign_keys("orders"), inspect(engine).get_unique_constraints("customers"))


for driver in ("psycopg", "psycopg2", "pg8000"):
    engine = create_engine(f"postgresql+{driver}://{USER}@{HOST}:{PORT}/{DATABASE}")
    show(driver)
    unit_of_work(engine, driver)
    statements(engine, driver)
    reflection(engine)
    engine.dispose()
