from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from bqgate.domain.errors import LedgerUnavailable
from bqgate.ledger import SqlLedger, check_revision, migrate
from bqgate.ledger.connections import read_url
from tests.support.manual_clock import ManualClock
from tests.support.postgres_server import PostgresServer


async def refusal_of(url: str) -> LedgerUnavailable:
    with pytest.raises(LedgerUnavailable) as refused:
        await check_revision(url, timeout_s=2)
    return refused.value


@pytest.mark.parametrize(
    ("database", "user", "says"),
    [("absent", "postgres", 'database "absent" does not exist'), ("postgres", "eve", 'role "eve" does not exist')],
)
async def test_what_postgresql_says_of_a_connection_is_told(
    postgres_server: PostgresServer, database: str, user: str, says: str
) -> None:
    """Its own words name the user or the database that is not there; the remedy, what to look at."""
    refused = await refusal_of(postgres_server.url(database).replace("postgres@", f"{user}@"))
    assert says in str(refused)
    assert "ledger.url names its host" in refused.remedy


async def test_an_option_that_postgresql_does_not_know_is_told(postgres_server: PostgresServer) -> None:
    """A misspelt option of the URL is named."""
    refused = await refusal_of(f"{postgres_server.url('postgres')}&nonsense=1")
    assert 'invalid connection option "nonsense"' in str(refused)


@pytest.mark.parametrize(
    ("make", "says", "remedy"),
    [
        (lambda file: file.mkdir(), "unable to open database file", "It is a folder"),
        (lambda file: file.write_bytes(b"hello" * 1000), "file is not a database", "backup"),
        (lambda file: file.parent.rmdir(), "ledger.db is not there", "Its folder is not there"),
    ],
)
async def test_what_sqlite_says_of_a_file_is_told(
    make: Callable[[Path], object], says: str, remedy: str, tmp_path: Path
) -> None:
    """Its own words, and what the file really is."""
    file = tmp_path / "here" / "ledger.db"
    file.parent.mkdir()
    make(file)
    refused = await refusal_of(f"sqlite:///{file}")
    assert says in str(refused)
    assert remedy in refused.remedy


async def test_a_database_of_a_later_version_is_left_alone(postgres_server: PostgresServer, tmp_path: Path) -> None:
    """Neither the gate nor migrate touches tables that they know nothing of, on both databases."""
    with postgres_server.database() as postgres_url:
        for url in (postgres_url, f"sqlite:///{tmp_path}/ledger.db"):
            await migrate(url)
            await _pretend_later(url)
            for attempt in (migrate(url), SqlLedger.open(url, ManualClock())):
                with pytest.raises(LedgerUnavailable, match="later bqgate") as refused:
                    await attempt
                assert "another database" in refused.value.remedy


async def _pretend_later(url: str) -> None:
    engine = sa.create_engine(read_url(url, is_async=False))
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE ledger_revision SET version_num = '9999'"))
    engine.dispose()


@pytest.mark.parametrize("url", ["postgresql://gate:p@ss@h/b", "postgresql://h:first/b"])
def test_a_url_whose_password_ends_too_early_is_refused_without_quoting_it(url: str) -> None:
    """What comes behind would be taken for the host, and named in errors."""
    with pytest.raises(ValueError, match="url") as refused:
        read_url(url, is_async=True)
    assert "ss@" not in str(refused.value)
