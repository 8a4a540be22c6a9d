"""Time in the database: aware UTC inside, one representation that compares rightly on both databases, and its clock."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import DateTime, Dialect, Float, String, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time: TIMESTAMPTZ on PostgreSQL, RFC 3339 text in milliseconds on SQLite."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The column type of a dialect."""
        return dialect.type_descriptor(String(24) if dialect.name == "sqlite" else DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """What is stored."""
        return rfc3339(value) if value is not None and dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """What is read."""
        read = datetime.fromisoformat(value) if isinstance(value, str) else value
        return read.astimezone(UTC) if read is not None else None


def clock(offset_seconds: float = 0.0) -> "Clock":
    """SQL: the database's time now, plus an offset. Leases are kept by this clock, never by a worker's."""
    return Clock(offset_seconds)


class Clock(FunctionElement[datetime]):
    """The SQL expression behind `clock`."""

    type = UtcDateTime()
    inherit_cache = True

    def __init__(self, offset_seconds: float) -> None:
        super().__init__(literal(float(offset_seconds), Float()))


@compiles(Clock, "postgresql")
def _clock_on_postgres(element: Clock, compiler: SQLCompiler, **options: Any) -> str:
    return f"(clock_timestamp() + make_interval(secs => {compiler.process(element.clauses, **options)}))"


@compiles(Clock, "sqlite")
def _clock_on_sqlite(element: Clock, compiler: SQLCompiler, **options: Any) -> str:
    return f"strftime('%Y-%m-%dT%H:%M:%fZ', 'now', {compiler.process(element.clauses, **options)} || ' seconds')"


class Elapsed(FunctionElement[float]):
    """SQL: seconds from a time to the database's now."""

    type = Float()
    inherit_cache = True


@compiles(Elapsed, "postgresql")
def _elapsed_on_postgres(element: Elapsed, compiler: SQLCompiler, **options: Any) -> str:
    return f"EXTRACT(EPOCH FROM clock_timestamp() - {compiler.process(element.clauses, **options)})::float"


@compiles(Elapsed, "sqlite")
def _elapsed_on_sqlite(element: Elapsed, compiler: SQLCompiler, **options: Any) -> str:
    return f"((julianday('now') - julianday({compiler.process(element.clauses, **options)})) * 86400.0)"


def rfc3339(time: datetime) -> str:
    """The time as clients read it, in milliseconds: `2026-01-31T12:00:00.000Z`."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
