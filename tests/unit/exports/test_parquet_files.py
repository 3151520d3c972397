"""Tests of files of Parquet: what other programs read of them, and that doing it again changes nothing."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.dataset
import pytest
from pyarrow import parquet
from typer.testing import CliRunner, Result

from bqgate.cli import app
from bqgate.domain.entry import Entry
from bqgate.exports.columns import COLUMNS
from bqgate.exports.parquet_files import ExportFailed, export_schema, write_days
from bqgate.ledger import SqlLedger
from tests.support.full_ledger import ODD_LABELS
from tests.support.ledgers import make_entry
from tests.support.manual_clock import START, ManualClock


def make(number: int, **changes: Any) -> Entry:
    """An entry of a third of a day after the one before it; the first is of noon."""
    own = {"id": f"e{number}", "job": None, "booked_at": START + timedelta(hours=8 * number), "labels": ODD_LABELS}
    return make_entry(None, **(own | changes))


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(each.relative_to(folder)): each.read_bytes() for each in folder.rglob("*") if each.is_file()}


def test_each_day_has_a_folder(tmp_path: Path) -> None:
    """By UTC's days, in hive's style, in parts of a bounded size; nothing else but the note of what is in there."""
    outcome = write_days([make(number) for number in range(6)], str(tmp_path / "out"), part_entries_max=2)
    assert (outcome.days, outcome.files, outcome.rows) == (3, 4, 6)
    assert sorted(files_of(tmp_path / "out")) == [
        "_bqgate_export.json",
        "day=2026-11-24/part-00000.parquet",
        "day=2026-11-25/part-00000.parquet",
        "day=2026-11-25/part-00001.parquet",
        "day=2026-11-26/part-00000.parquet",
    ]


def test_doing_it_again_writes_the_same_files(tmp_path: Path) -> None:
    """Byte for byte; with an entry more only its day differs; with fewer parts the old ones are gone."""
    entries = [make(number) for number in range(6)]
    write_days(entries, str(tmp_path), part_entries_max=2)
    first = files_of(tmp_path)
    write_days(entries, str(tmp_path), part_entries_max=2)
    assert files_of(tmp_path) == first
    write_days([*entries[:4], make(4, id="late"), *entries[4:]], str(tmp_path), part_entries_max=2)
    changed = {name for name, content in files_of(tmp_path).items() if content != first.get(name)}
    assert changed == {"day=2026-11-25/part-00001.parquet"} or len(changed) == 1
    write_days(entries, str(tmp_path))
    assert len([name for name in files_of(tmp_path) if name.startswith("day=2026-11-25")]) == 1


def test_types_are_stated(tmp_path: Path) -> None:
    """Money as int64 and as an exact decimal, moments in UTC to the microsecond, what must be there as not nullable."""
    write_days([make(0, cost_nanos=-1, bytes_billed=2**63 - 1, ended_at=START)], str(tmp_path))
    table = parquet.read_table(tmp_path / "day=2026-11-24" / "part-00000.parquet", partitioning=None)
    assert table.schema.equals(export_schema())
    assert table.schema.field("cost_nanos").type == pa.int64()
    assert table.schema.field("cost_usd").type == pa.decimal128(38, 9)
    assert table.schema.field("booked_at").type == pa.timestamp("us", tz="UTC")
    assert not table.schema.field("customer").nullable
    assert [each.name for each in table.schema] == [column.name for column in COLUMNS]
    (row,) = table.to_pylist()
    assert (row["cost_nanos"], row["cost_usd"]) == (-1, Decimal("-0.000000001"))
    assert (row["bytes_billed"], row["ended_at"], row["adjusts"]) == (2**63 - 1, START, None)
    assert {each["key"]: each["value"] for each in row["labels"]} == ODD_LABELS


def test_duckdb_pandas_and_pyarrow_read_it(tmp_path: Path) -> None:
    """With the day as a column, and sums that are exact."""
    entries = [make(number, cost_nanos=10**number) for number in range(6)]
    write_days(entries, str(tmp_path), part_entries_max=2)
    total = sum(each.cost_nanos for each in entries)
    with duckdb.connect() as connection:
        sums = connection.execute(
            f"SELECT sum(cost_nanos), sum(cost_usd), count(DISTINCT day) "
            f"FROM read_parquet('{tmp_path}/**/*.parquet', hive_partitioning = true)"
        ).fetchone()
    assert sums == (total, Decimal(total).scaleb(-9), 3)
    frame = pd.read_parquet(tmp_path)
    assert (frame["cost_nanos"].sum(), len(frame), set(frame["day"].astype(str))) == (
        total,
        6,
        {"2026-11-24", "2026-11-25", "2026-11-26"},
    )
    dataset = pyarrow.dataset.dataset(tmp_path, format="parquet", partitioning="hive")
    assert dataset.count_rows() == 6


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    """What breaks off leaves the file of before, and no other."""
    write_days([make(0)], str(tmp_path))
    before = files_of(tmp_path)

    def broken() -> Iterator[Entry]:
        yield make(0)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_days(broken(), str(tmp_path))
    assert files_of(tmp_path) == before
    assert pyarrow.dataset.dataset(tmp_path, format="parquet", partitioning="hive").count_rows() == 1


def test_a_folder_holds_one_choice_of_entries(tmp_path: Path) -> None:
    """One customer's entries do not take the place of everybody's."""
    write_days([make(0)], str(tmp_path))
    with pytest.raises(ExportFailed, match="entries of all customers"):
        write_days([make(0)], str(tmp_path), customer="acme")
    assert json.loads((tmp_path / "_bqgate_export.json").read_text())["customer"] is None


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    """A file where the folder should be, and a scheme that nobody knows."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(ExportFailed, match="cannot be written"):
        write_days([make(0)], str(tmp_path / "file" / "below"))
    with pytest.raises(ExportFailed, match="cannot be written"):
        write_days([make(0)], "nowhere://bucket/prefix")


def run(url: str, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["ledger", "export", *arguments], env={"BQGATE_LEDGER__URL": url})


@pytest.fixture
def filled_url(ledger_url: str) -> str:
    """A ledger with an entry every eight hours, every other one of another customer."""

    async def fill() -> None:
        ledger = await SqlLedger.open(ledger_url, ManualClock())
        for number in range(6):
            await ledger.book(make(number, customer="acme" if number % 2 else "other"))
        await ledger.close()

    asyncio.run(fill())
    return ledger_url


def test_the_command_writes_whole_days(filled_url: str, tmp_path: Path) -> None:
    """All of them, or from one day to before another; what it wrote is told."""
    result = run(filled_url, "--to", str(tmp_path / "all"))
    assert result.exit_code == 0, result.output
    assert "6 entries of 3 days are in 3 files" in result.stdout
    result = run(filled_url, "--to", str(tmp_path / "some"), "--since", "2026-11-25", "--until", "2026-11-26")
    assert result.exit_code == 0, result.output
    day = "day=2026-11-25/part-00000.parquet"
    assert files_of(tmp_path / "some")[day] == files_of(tmp_path / "all")[day]
    assert "3 entries of 1 days" in result.stdout


def test_the_command_reads_a_replica(postgres_url: str, other_postgres_url: str, tmp_path: Path) -> None:
    """Where there is one that answers; else the ledger itself, and says so."""

    async def fill() -> None:
        for number, url in enumerate((postgres_url, other_postgres_url)):
            ledger = await SqlLedger.open(url, ManualClock())
            for entry in range(number + 1):
                await ledger.book(make(entry))
            await ledger.close()

    def written(name: str, replica_url: str) -> Result:
        given = {"BQGATE_LEDGER__URL": postgres_url, "BQGATE_LEDGER__REPLICA_URL": replica_url}
        return CliRunner().invoke(app, ["ledger", "export", "--to", str(tmp_path / name)], env=given)

    asyncio.run(fill())
    assert "2 entries of" in written("replica", other_postgres_url).stdout
    result = written("ledger", "postgresql://postgres@/nowhere?host=/nowhere")
    assert "1 entries of" in result.stdout
    assert "The ledger itself is read." in result.stderr


def test_the_command_writes_one_customers(filled_url: str, tmp_path: Path) -> None:
    """And refuses to put them where everybody's are."""
    assert run(filled_url, "--to", str(tmp_path / "acme"), "--customer", "acme").exit_code == 0
    frame = pd.read_parquet(tmp_path / "acme")
    assert set(frame["customer"]) == {"acme"}
    refused = run(filled_url, "--to", str(tmp_path / "acme"))
    assert refused.exit_code == 1
    assert "name another folder" in refused.stderr


def test_a_moment_is_no_day(filled_url: str, tmp_path: Path) -> None:
    """Parts of days would take the place of whole ones."""
    refused = run(filled_url, "--to", str(tmp_path), "--since", "2026-11-25T12:00:00Z")
    assert refused.exit_code == 2
    assert "is no day" in refused.stderr


def test_an_entry_is_the_same_in_both_exports() -> None:
    """Every column has a type here, and a value for an entry that has nothing optional."""
    bare = replace(make(0), labels={}, workload=None, reason=None)
    assert all(column.value_of(bare) is not None for column in COLUMNS if column.mode == "REQUIRED")


def test_keys_in_a_url_are_not_shown() -> None:
    """S3's may stand there; an error says the bucket alone."""
    with pytest.raises(ExportFailed) as failed:
        write_days([make(0)], "nowhere://key:secret@bucket/prefix")
    assert "bucket" in str(failed.value)
    assert "secret" not in str(failed.value)
