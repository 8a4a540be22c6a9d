"""Fixtures that the whole suite shares, and the order in which it runs."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from sqlalchemy import Engine, text

from servers import postgres_url
from transfusion_client import waiting
from transfusion_core.db.engine import connect, migrate
from transfusion_core.db.tables import Table

settings.register_profile("transfusion", deadline=None)
settings.load_profile("transfusion")

_SLOWEST_FIRST = ("faults", "system", "web", "docs", "worker")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What starts whole platforms comes first, so that no process is left alone with it at the end."""

    def place(item: pytest.Item) -> int:
        folder = item.path.relative_to(Path(__file__).parent).parts[0]
        return _SLOWEST_FIRST.index(folder) if folder in _SLOWEST_FIRST else len(_SLOWEST_FIRST)

    items.sort(key=place)


@pytest.fixture(autouse=True, scope="module")
def _looks_often(request: pytest.FixtureRequest) -> Iterator[None]:
    """Who waits for an experiment of seconds looks twice a second.

    A client's pauses grow to three seconds, of which each of the dozens of waits would lose half.
    """
    with pytest.MonkeyPatch.context() as patch:
        if request.path.relative_to(Path(__file__).parent).parts[0] in _SLOWEST_FIRST:
            patch.setattr(waiting, "LAST_POLL_SECONDS", 0.5)
        yield


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> str:
    """Each kind of database in turn."""
    return str(request.param)


@pytest.fixture
def database_url(database: str, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database, without tables."""
    if database == "sqlite":
        yield f"sqlite:///{tmp_path}/empty.db"
        return
    with postgres_url() as url:
        yield url


@pytest.fixture
def engine(database: str, request: pytest.FixtureRequest) -> Iterator[Engine]:
    """An engine on a migrated database without rows."""
    yield from request.getfixturevalue(f"_{database}_engine")()


@pytest.fixture
def _sqlite_engine(_sqlite_template: Path, tmp_path: Path):
    def make() -> Iterator[Engine]:
        path = tmp_path / "transfusion.db"
        shutil.copy(_sqlite_template, path)
        made = connect(f"sqlite:///{path}")
        yield made
        made.dispose()

    return make


@pytest.fixture
def _postgres_engine(_migrated_postgres: Engine):
    def make() -> Iterator[Engine]:
        # Much faster than a new database for each test. Audit events stay unless the owner of the table says otherwise.
        with _migrated_postgres.begin() as connection:
            connection.execute(text("ALTER TABLE audit_events DISABLE TRIGGER USER"))
            connection.execute(text(f"TRUNCATE {', '.join(Table.metadata.tables)}"))
            connection.execute(text("ALTER TABLE audit_events ENABLE TRIGGER USER"))
        yield _migrated_postgres

    return make


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "transfusion.db"
    made = connect(f"sqlite:///{path}")
    migrate(made)
    made.dispose()
    return path


@pytest.fixture(scope="session")
def _migrated_postgres() -> Iterator[Engine]:
    with postgres_url() as url:
        made = connect(url)
        migrate(made)
        yield made
        made.dispose()
