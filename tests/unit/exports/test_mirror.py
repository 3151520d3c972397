"""Tests of bqgate.exports.mirror over a real ledger and the sandbox: each entry once, whatever breaks when."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from bqgate.domain.entry import EntryKind
from bqgate.domain.errors import BqgateError, UpstreamRefused
from bqgate.exports.mirror_faults import LoadFailed, MirrorRefused
from bqgate.ledger.backup import write_backup
from bqgate.ledger.restore import restore_backup
from bqgate.sandbox import Sandbox
from bqgate.sandbox.faults import Fault, Kind
from bqgate.sandbox.warehouse import Invalid, LoadOptions, TableRef, Warehouse
from tests.support.full_ledger import ODD_LABELS
from tests.support.manual_clock import START
from tests.support.mirror_stand import PROJECT, TABLE, Crash, Interruption, MirrorStand, mirror_stand
from tests.support.registries import tamper


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """BigQuery."""
    warehouse = Warehouse(seed_examples=False)
    async with Sandbox.start(warehouse=warehouse) as running:
        yield running
    warehouse.close()


@pytest.fixture
async def stand(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[MirrorStand]:
    """A mirror's surroundings, the ledger on SQLite."""
    async with mirror_stand(sandbox, f"sqlite:///{tmp_path / 'ledger.db'}") as made:
        yield made


@pytest.fixture
async def any_stand(sandbox: Sandbox, ledger_url: str) -> AsyncIterator[MirrorStand]:
    """The same, on each database in turn."""
    async with mirror_stand(sandbox, ledger_url) as made:
        yield made


async def test_entries_are_in_the_table_once(any_stand: MirrorStand) -> None:
    """What was booked before the mirror, after it, and late with an early moment; another round adds nothing."""
    stand = any_stand
    await stand.book(*(f"e{number}" for number in range(7)))
    mirror = stand.mirror()
    await mirror.mirror()
    assert stand.mirrored() == [f"e{number}" for number in range(7)]
    await stand.book("late", booked_at=START - timedelta(days=3))
    await stand.book("next", booked_at=START + timedelta(days=3))
    await mirror.mirror()
    await mirror.mirror()
    assert stand.mirrored() == [*(f"e{number}" for number in range(7)), "late", "next"]
    assert (await stand.queue.fetch_backlog()).oldest_at is None
    assert stand.telemetry.counts["mirror_rows_total"] == 9


async def test_a_row_has_what_the_entry_has(any_stand: MirrorStand) -> None:
    """Every column, exactly: negative money, moments to the microsecond, labels, and what is absent."""
    stand = any_stand
    moment = START + timedelta(microseconds=123_457)
    odd: dict[str, Any] = {
        "kind": EntryKind.ADJUSTMENT,
        "cost_nanos": -1,
        "labels": ODD_LABELS,
        "booked_at": moment,
        "ended_at": moment,
        "workload": None,
        "estimate_bytes": None,
        "bytes_billed": 2**63 - 1,
        "reason": "a\ufffdb",
    }
    await stand.book("odd", **odd)
    if stand.url.startswith("sqlite"):  # an earlier version wrote zero bytes there, which BigQuery does not take
        of_a_zero_byte = "UPDATE entries SET reason = 'a' || char(0) || 'b'"
        tamper(stand.url, "DROP TRIGGER entries_no_update", of_a_zero_byte)
    await stand.mirror().mirror()
    (row,) = stand.rows()
    assert (row["cost_nanos"], row["cost_usd"]) == ("-1", "-0.000000001")
    assert row["bytes_billed"] == str(2**63 - 1)
    assert (row["workload"], row["estimate_bytes"], row["reason"]) == (None, None, "a\ufffdb")
    assert float(row["booked_at"]) == pytest.approx(moment.timestamp(), abs=1e-6)
    assert row["ended_at"] == row["booked_at"]
    labels = {each["v"]["f"][0]["v"]: each["v"]["f"][1]["v"] for each in row["labels"]}
    assert labels == ODD_LABELS
    assert row["kind"] == "adjustment"


async def test_the_table_is_partitioned_by_day_and_clustered_by_customer(stand: MirrorStand, sandbox: Sandbox) -> None:
    """As declared, in the dataset that was there."""
    await stand.mirror().mirror()
    info = sandbox.warehouse.get_table(TableRef(PROJECT, stand.dataset, TABLE))
    assert info.time_partitioning is not None
    assert (info.time_partitioning.type, info.time_partitioning.field) == ("DAY", "booked_at")
    assert info.clustering == ("customer",)
    assert {each.name: each.mode for each in info.schema}["customer"] == "REQUIRED"


async def _calls_of_a_run(sandbox: Sandbox, folder: Path) -> int:
    interruption = Interruption(0, "none")
    async with mirror_stand(sandbox, f"sqlite:///{folder / 'count.db'}") as stand:
        await stand.book(*(f"e{number}" for number in range(7)))
        await stand.mirror(interruption).mirror()
    return interruption.calls


# Each call of a run in the long tests, every eleventh in the everyday ones.
EACH = pytest.mark.parametrize(("start", "step"), [(2, 11), pytest.param(1, 1, marks=pytest.mark.long)])


@EACH
async def test_a_crash_at_any_moment_loses_nothing_and_repeats_nothing(
    sandbox: Sandbox, tmp_path: Path, start: int, step: int
) -> None:
    """Ended before or after each call to the ledger or to BigQuery: the next start leaves each entry there once."""
    calls = await _calls_of_a_run(sandbox, tmp_path)
    assert calls > 20
    for at in range(start, calls + 1, step):
        for how in ("crash_before", "crash_after"):
            async with mirror_stand(sandbox, f"sqlite:///{tmp_path / f'{at}{how}.db'}") as stand:
                await stand.book(*(f"e{number}" for number in range(7)))
                with pytest.raises(Crash):
                    await stand.mirror(Interruption(at, how)).mirror()
                await stand.book("e7", "e8")
                await stand.mirror().mirror()
                assert stand.mirrored() == [f"e{number}" for number in range(9)], (at, how)


@EACH
async def test_a_replica_that_was_stalled_at_any_moment_repeats_nothing(
    sandbox: Sandbox, tmp_path: Path, start: int, step: int
) -> None:
    """It stands still before each of its calls while another one mirrors everything, and goes on afterwards."""
    calls = await _calls_of_a_run(sandbox, tmp_path)
    for at in range(start, calls + 1, step):
        async with mirror_stand(sandbox, f"sqlite:///{tmp_path / f'{at}.db'}") as stand:
            await stand.book(*(f"e{number}" for number in range(7)))
            stalled = Interruption(at, "wait")
            task = asyncio.create_task(stand.mirror(stalled).mirror())
            await stalled.has_struck.wait()
            other = stand.mirror()
            with suppress(BqgateError):
                await other.mirror()
            await stand.book("e7", "e8")
            with suppress(BqgateError):
                await other.mirror()
            stalled.may_go_on.set()
            with suppress(BqgateError):
                await task
            await stand.mirror().mirror()
            assert stand.mirrored() == [f"e{number}" for number in range(9)], at


@pytest.mark.parametrize("at", range(1, 7))
async def test_a_replica_that_was_stalled_while_it_starts_over_repeats_nothing(stand: MirrorStand, at: int) -> None:
    """It has seen that the table is gone, and stands still; another one makes and fills it; it goes on."""
    await stand.book("e0", "e1", "e2", "e3")
    await stand.mirror().mirror()
    stand.sandbox.warehouse.delete_table(TableRef(PROJECT, stand.dataset, TABLE))
    stalled = Interruption(at, "wait")
    task = asyncio.create_task(stand.mirror(stalled).mirror())
    await stalled.has_struck.wait()
    with suppress(BqgateError):
        await stand.mirror().mirror()
    stalled.may_go_on.set()
    with suppress(BqgateError):
        await task
    await stand.mirror().mirror()
    assert stand.mirrored() == ["e0", "e1", "e2", "e3"]


async def test_two_that_mirror_at_once_repeat_nothing(any_stand: MirrorStand) -> None:
    """Without any lease, side by side, while entries are booked."""
    stand = any_stand
    one, two = stand.mirror(), stand.mirror()

    async def often(mirror: Any) -> None:
        for _ in range(6):
            with suppress(BqgateError):
                await mirror.mirror()

    async def book() -> None:
        for number in range(12):
            await stand.book(f"e{number:02}", booked_at=START - timedelta(hours=number))

    await asyncio.gather(often(one), often(two), book())
    await one.mirror()
    assert stand.mirrored() == [f"e{number:02}" for number in range(12)]


@pytest.mark.parametrize("method", ["upload", "jobs.get", "tables.get", "tables.insert", "datasets.get"])
@pytest.mark.parametrize("kind", ["lost", *(pytest.param(each, marks=pytest.mark.long) for each in ("error", "cut"))])
async def test_an_answer_that_is_lost_changes_nothing(
    stand: MirrorStand, sandbox: Sandbox, method: str, kind: Kind
) -> None:
    """The work was done or not, nobody heard: after another round each entry is there once."""
    await stand.book("e0", "e1", "e2", "e3")
    sandbox.faults.add(Fault(kind=kind, method=method, count=2))
    for _ in range(3):
        with suppress(BqgateError):
            await stand.mirror().mirror()
    await stand.mirror().mirror()
    assert stand.mirrored() == ["e0", "e1", "e2", "e3"]


def refuse(sandbox: Sandbox, word: bytes, error: Exception, *, times: int = 10**6) -> None:
    """Have load jobs fail where one of their rows has a word in it."""
    load, left = sandbox.warehouse.load, [times]

    def refusing(ref: TableRef, source: bytes | Path, options: LoadOptions | None = None) -> Any:
        assert isinstance(source, Path)
        if word in gzip.decompress(source.read_bytes()) and left[0]:
            left[0] -= 1
            raise error
        return load(ref, source, options)

    sandbox.warehouse.load = refusing


async def test_a_row_that_bigquery_does_not_take_stops_no_other(any_stand: MirrorStand, sandbox: Sandbox) -> None:
    """It is set aside and told, the others go; once it can be taken, it goes too."""
    stand = any_stand
    await stand.book(*(f"e{number}" for number in range(5)), "bad", *(f"f{number}" for number in range(5)))
    load = sandbox.warehouse.load
    refuse(sandbox, b'"bad"', Invalid("Error while reading data, error message: JSON parsing error"))
    mirror = stand.mirror(batch=8)
    await mirror.mirror()
    await mirror.mirror()
    expected = sorted([*(f"e{number}" for number in range(5)), *(f"f{number}" for number in range(5))])
    assert stand.mirrored() == expected
    assert (await stand.queue.fetch_backlog()).refused_count == 1
    assert [each["entry"] for each in stand.telemetry.of("mirror_entry_refused")] == ["bad"]
    sandbox.warehouse.load = load
    await stand.queue.retry_refused()
    await mirror.mirror()
    assert stand.mirrored() == sorted([*expected, "bad"])


async def test_a_load_job_that_failed_is_tried_again_under_another_id(stand: MirrorStand, sandbox: Sandbox) -> None:
    """Whatever made it fail had loaded nothing."""
    await stand.book("e0", "e1")
    refuse(sandbox, b'"e0"', MemoryError(), times=2)
    mirror = stand.mirror()
    for _ in range(2):
        with pytest.raises(LoadFailed):
            await mirror.mirror()
    await mirror.mirror()
    assert stand.mirrored() == ["e0", "e1"]
    ids = [job.id for job in sandbox.jobs if job.id.startswith("bqgate_mirror_")]
    assert len(set(ids)) == len(ids) == 3


async def test_new_columns_are_added_and_own_ones_left_alone(stand: MirrorStand, sandbox: Sandbox) -> None:
    """A table of an older version gets what it lacks; what an operator has added stays."""
    await stand.book("e0")
    await stand.mirror().mirror()
    ref = TableRef(PROJECT, stand.dataset, TABLE)
    shape = await stand.table().describe()
    assert shape is not None
    sandbox.warehouse.delete_table(ref)
    older = [dict(each) for each in shape.fields if each["name"] not in {"origin", "ended_at"}]
    own = {"name": "team", "type": "STRING", "mode": "NULLABLE"}
    await stand.table().create([*older, own], partitioned_by="booked_at", clustered_by="customer")
    await stand.book("e1", ended_at=START)
    mirror = stand.mirror()
    await mirror.mirror()
    columns = [each.name for each in sandbox.warehouse.get_table(ref).schema]
    assert columns[-3:] == ["team", "ended_at", "origin"]
    assert stand.mirrored() == ["e1"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "cost_usd", "type": "FLOAT"}, "column cost_usd: FLOAT in the table, NUMERIC declared"),
        ({"name": "kind", "type": None}, "column kind: missing in the table, and REQUIRED"),
        ({"name": "workload", "mode": "REQUIRED"}, "column workload: REQUIRED in the table, NULLABLE declared"),
    ],
)
async def test_a_table_that_is_not_as_declared_is_refused(
    stand: MirrorStand, change: dict[str, Any], said: str
) -> None:
    """Nothing is written; the difference is said, and what to do."""
    first = stand.mirror()
    await first.mirror()
    shape = await stand.table().describe()
    assert shape is not None
    stand.sandbox.warehouse.delete_table(TableRef(PROJECT, stand.dataset, TABLE))
    fields = [{**each, **change} if each["name"] == change["name"] else dict(each) for each in shape.fields]
    await stand.table().create(
        [each for each in fields if each["type"]], partitioned_by="booked_at", clustered_by="customer"
    )
    await stand.book("e0")
    with pytest.raises(MirrorRefused) as refused:
        await stand.mirror().mirror()
    assert said in str(refused.value)
    assert "Change it back" in refused.value.remedy
    assert stand.mirrored() == []


async def test_a_table_of_other_partitions_is_refused(stand: MirrorStand) -> None:
    """By another column, or clustered by something else."""
    shape_of = stand.mirror()
    await shape_of.mirror()
    shape = await stand.table().describe()
    assert shape is not None
    stand.sandbox.warehouse.delete_table(TableRef(PROJECT, stand.dataset, TABLE))
    await stand.table().create(shape.fields, partitioned_by="placed_at", clustered_by="principal")
    with pytest.raises(MirrorRefused) as refused:
        await stand.mirror().mirror()
    assert "partitions: DAY placed_at in the table, DAY booked_at declared" in str(refused.value)
    assert "clusters: principal in the table, customer declared" in str(refused.value)


async def test_a_table_that_was_dropped_is_written_anew(stand: MirrorStand) -> None:
    """With everything in the ledger: this is how an operator starts over."""
    await stand.book("e0", "e1")
    await stand.mirror().mirror()
    stand.sandbox.warehouse.delete_table(TableRef(PROJECT, stand.dataset, TABLE))
    await stand.book("e2")
    await stand.mirror().mirror()
    assert stand.mirrored() == ["e0", "e1", "e2"]


async def test_rows_of_somebody_else_are_not_added_to(stand: MirrorStand, sandbox: Sandbox, tmp_path: Path) -> None:
    """Two ledgers with one table: the second is refused before it writes, and so is the first from then on not."""
    await stand.book("e0")
    await stand.mirror().mirror()
    async with mirror_stand(sandbox, f"sqlite:///{tmp_path / 'second.db'}") as second:
        second.dataset = stand.dataset
        await second.book("x0")
        with pytest.raises(MirrorRefused, match="has 1 rows, and this ledger knows of 0"):
            await second.mirror().mirror()
    await stand.book("e1")
    await stand.mirror().mirror()
    assert stand.mirrored() == ["e0", "e1"]


async def test_a_restored_ledger_starts_over(any_stand: MirrorStand, sandbox: Sandbox, tmp_path: Path) -> None:
    """It cannot know what was mirrored since the backup: refused, until the table is dropped."""
    stand = any_stand
    await stand.book("e0")
    await stand.mirror().mirror()
    with (tmp_path / "backup").open("wb") as file:
        write_backup(stand.url, file, made_at="")
    await stand.book("e1")
    await stand.mirror().mirror()
    url = f"sqlite:///{tmp_path / 'restored.db'}"
    restore_backup(url, tmp_path / "backup")
    async with mirror_stand(sandbox, url) as restored:
        restored.dataset = stand.dataset
        await restored.book("e2")
        with pytest.raises(MirrorRefused, match="has 2 rows, and this ledger knows of 0"):
            await restored.mirror().mirror()
        sandbox.warehouse.delete_table(TableRef(PROJECT, stand.dataset, TABLE))
        await restored.mirror().mirror()
        assert restored.mirrored() == ["e0", "e2"]


async def test_a_state_that_was_put_back_is_noticed(sandbox: Sandbox, tmp_path: Path) -> None:
    """A SQLite file copied back over: the table has more rows than it knows of, and nothing is written."""
    file, copy = tmp_path / "ledger.db", tmp_path / "copy.db"
    async with mirror_stand(sandbox, f"sqlite:///{file}") as stand:
        await stand.book("e0")
        await stand.mirror().mirror()
        dataset = stand.dataset
    copy.write_bytes(file.read_bytes())
    async with mirror_stand(sandbox, f"sqlite:///{file}") as stand:
        stand.dataset = dataset
        await stand.book("e1")
        await stand.mirror().mirror()
    file.write_bytes(copy.read_bytes())
    async with mirror_stand(sandbox, f"sqlite:///{file}") as stand:
        stand.dataset = dataset
        await stand.book("e2")
        with pytest.raises(MirrorRefused, match="the ledger was restored"):
            await stand.mirror().mirror()
        assert stand.mirrored() == ["e0", "e1"]


async def test_a_transaction_under_way_at_the_beginning_is_waited_for(sandbox: Sandbox, postgres_url: str) -> None:
    """An entry that is written but not committed when the mirror begins, by a gate that knows nothing of it."""
    async with mirror_stand(sandbox, postgres_url) as stand:
        await stand.book("e0")
        columns = "customer, principal, project_id, booked_at, outcome, cost_nanos, hold_nanos, decision"
        values = "'c', 'p', 'p', 0, 'done', 1, 0, 'forward'"
        rest = "estimate_nanos, bytes_processed, bytes_billed, slot_ms, statement_type, cache_hit, labels"
        with psycopg.connect(postgres_url) as connection:
            connection.execute(
                f"INSERT INTO entries (id, kind, {columns}, {rest}) "
                f"VALUES ('under-way', 'charge', {values}, 0, 0, 0, 0, '', false, '{{}}')"
            )
            assert await stand.queue.begin("t", "e", seen=None)
            assert [await stand.queue.fill(10) for _ in range(3)] == [False, False, False]
            assert await stand.queue.open_batch(10) is None
            connection.commit()
        assert await stand.queue.fill(10)
        batch = await stand.queue.open_batch(10)
        assert batch is not None
        found = [each.id async for page in stand.queue.fetch_batch(batch) for each in page]
        assert found == ["under-way", "e0"]


async def test_without_a_mirror_nothing_is_queued(stand: MirrorStand) -> None:
    """A gate that mirrors nothing pays nothing for it."""
    await stand.book("e0")
    backlog = await stand.queue.fetch_backlog()
    assert (backlog.oldest_at, backlog.refused_count) == (None, 0)
    assert await stand.queue.fetch_state() is None
    assert not await stand.queue.fill(10)


async def test_each_customer_sees_its_rows_and_admins_see_all(stand: MirrorStand, sandbox: Sandbox) -> None:
    """Policies before the first row, the admins' first; a customer's own follow its principals, and go with it."""
    stand.readers = {"acme": ["ann@acme.example", "acme.example"], "it's": ["bob@x.example"], "quiet": []}
    await stand.book("e0")
    mirror = stand.mirror(admins=["group:finops@example.com"])
    await mirror.mirror()
    info = sandbox.warehouse.get_table(TableRef(PROJECT, stand.dataset, TABLE))
    said = dict(info.row_policies)
    assert said.pop("bqgate_admins") == 'GRANT TO ("group:finops@example.com") FILTER USING (TRUE)'
    assert sorted(said.values()) == [
        'GRANT TO ("user:ann@acme.example", "domain:acme.example") FILTER USING (customer = \'acme\')',
        "GRANT TO (\"user:bob@x.example\") FILTER USING (customer = 'it\\'s')",
    ]
    del stand.readers["it's"]
    stand.readers["acme"] = ["sa@p.iam.gserviceaccount.com"]
    await stand.mirror(admins=["group:finops@example.com"]).mirror()
    said = dict(sandbox.warehouse.get_table(TableRef(PROJECT, stand.dataset, TABLE)).row_policies)
    assert len(said) == 2
    assert (
        "GRANT TO (\"serviceAccount:sa@p.iam.gserviceaccount.com\") FILTER USING (customer = 'acme')" in said.values()
    )


async def test_a_principal_that_iam_does_not_know_stops_nothing(stand: MirrorStand, sandbox: Sandbox) -> None:
    """Its customer sees nothing, which is told; everything else goes on."""
    stand.readers = {"acme": ["white space@acme.example"], "other": ["bob@x.example"]}
    await stand.book("e0")
    await stand.mirror(admins=["user:a@example.com"]).mirror()
    assert stand.mirrored() == ["e0"]
    assert len(sandbox.warehouse.get_table(TableRef(PROJECT, stand.dataset, TABLE)).row_policies) == 2
    assert stand.telemetry.of("mirror_policy_refused")


async def test_a_refused_change_lets_nobody_in_whom_it_was_to_keep_out(stand: MirrorStand, sandbox: Sandbox) -> None:
    """Where a customer's new principals are refused, the policy of before goes: one of its people may have left."""
    admins = ["user:a@example.com"]
    stand.readers = {"acme": ["ann@acme.example", "bob@acme.example"]}
    await stand.mirror(admins=admins).mirror()
    stand.readers["acme"] = ["ann@acme.example", "white space@acme.example"]
    for _ in range(2):
        await stand.mirror(admins=admins).mirror()
        policies = sandbox.warehouse.get_table(TableRef(PROJECT, stand.dataset, TABLE)).row_policies
        assert list(dict(policies)) == ["bqgate_admins"]
    stand.readers["acme"].pop()
    await stand.mirror(admins=admins).mirror()
    policies = sandbox.warehouse.get_table(TableRef(PROJECT, stand.dataset, TABLE)).row_policies
    assert len(dict(policies)) == 2


async def test_a_dataset_that_was_made_anew_elsewhere_is_written_to(stand: MirrorStand, sandbox: Sandbox) -> None:
    """The mirror that runs asks again where it is, and begins anew there."""
    await stand.book("e0")
    mirror = stand.mirror()
    await mirror.mirror()
    sandbox.warehouse.delete_dataset(PROJECT, stand.dataset, delete_contents=True)
    sandbox.warehouse.create_dataset(PROJECT, stand.dataset, location="EU")
    await mirror.mirror()
    assert stand.mirrored() == ["e0"]
    uploads = [each.body for each in sandbox.journal.entries() if each.method == "upload"]
    assert uploads[-1]["jobReference"]["location"] == "EU"


async def test_without_the_admins_policy_no_row_is_written(stand: MirrorStand) -> None:
    """Better no mirror than one that everybody reads."""
    await stand.book("e0")
    with pytest.raises(UpstreamRefused):
        await stand.mirror(admins=["nobody"]).mirror()
    assert stand.mirrored() == []


async def test_failures_are_told_with_what_to_do(stand: MirrorStand, sandbox: Sandbox) -> None:
    """Counted by cause, logged, and tried again less and less often; the request path hears nothing."""
    await stand.book("e0")
    sandbox.faults.add(Fault(status=403, reason="accessDenied", message="No.", method="tables.get"))
    task = asyncio.create_task(stand.mirror().run())
    await stand.telemetry.until(lambda notes: len(notes.of("mirror_failed")) >= 4)
    sandbox.faults.clear()
    await stand.telemetry.until(lambda notes: notes.counts["mirror_rows_total"] > 0)
    task.cancel()
    failures = stand.telemetry.of("mirror_failed")
    assert [each["again_in_s"] for each in failures][:4] == [15, 30, 60, 120]
    assert failures[0]["error"] == "BigQuery refuses it (403): No."
    assert "roles/bigquery.dataEditor" in str(failures[0]["remedy"])
    assert stand.telemetry.counts["mirror_failures_total refused"] >= 4
    assert stand.mirrored() == ["e0"]


async def test_the_age_of_the_oldest_is_known_to_every_replica(stand: MirrorStand) -> None:
    """Whoever mirrors: the gauge looks at the queue."""
    watcher = stand.mirror()
    assert watcher.oldest_age_s == 0
    await stand.mirror().mirror()
    await stand.book("e0", booked_at=stand.clock.now() - timedelta(minutes=5))
    task = asyncio.create_task(watcher.watch())
    stand.clock.has_slept.clear()
    await stand.clock.has_slept.wait()
    task.cancel()
    assert 300 <= watcher.oldest_age_s < 600


async def test_a_load_job_is_what_bigquery_documents(stand: MirrorStand, sandbox: Sandbox) -> None:
    """JSON lines, appended to a table that must be there, in one upload under an id that the batch gives."""
    await stand.book("e0")
    await stand.mirror().mirror()
    upload = next(each for each in sandbox.journal.entries() if each.method == "upload")
    body = upload.body
    assert body["jobReference"]["jobId"].startswith("bqgate_mirror_epoch")
    assert body["jobReference"]["location"] == "US"
    load = body["configuration"]["load"]
    assert load["destinationTable"] == {"projectId": PROJECT, "datasetId": stand.dataset, "tableId": TABLE}
    assert (load["sourceFormat"], load["writeDisposition"]) == ("NEWLINE_DELIMITED_JSON", "WRITE_APPEND")
    assert load["createDisposition"] == "CREATE_NEVER"
    assert json.dumps(body).count("e0") == 0
