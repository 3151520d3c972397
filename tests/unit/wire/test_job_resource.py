from datetime import UTC, datetime
from typing import Any

import pytest

from bqgate.domain.job import Accuracy, JobRef, Outcome
from bqgate.domain.pricing import bytes_billed_at_most
from bqgate.domain.units import MIB
from bqgate.wire.job_resource import estimate_from, job_ref_from, usage_from, usages_in
from bqgate.wire.sql_facts import read_facts

TABLE = {"projectId": "p", "datasetId": "d", "tableId": "t"}


def dry_run(**query: Any) -> dict[str, Any]:
    return {
        "user_email": "ann@example.com",
        "jobReference": {"projectId": "p", "location": "EU"},
        "status": {"state": "DONE"},
        "statistics": {"query": {"statementType": "SELECT", "totalBytesProcessedAccuracy": "PRECISE", **query}},
    }


def finished(error: dict[str, str] | None = None, statistics: dict[str, Any] | None = None, **query: Any) -> Any:
    status = {"state": "DONE"} | ({"errorResult": error} if error else {})
    reference = {"projectId": "p", "jobId": "j", "location": "US"}
    return {"jobReference": reference, "status": status, "statistics": {"query": query, **(statistics or {})}}


def test_a_dry_run_tells_bytes_tables_place_and_user() -> None:
    """One free answer says what is read, where, how much, and who asks."""
    estimate = estimate_from(dry_run(totalBytesProcessed="123", referencedTables=[TABLE]))
    assert (123, 1, "EU", "ann@example.com") == (
        estimate.bytes_processed,
        estimate.table_count,
        estimate.location,
        estimate.user_email,
    )
    assert (True, Accuracy.PRECISE, ("p.d.t",)) == (estimate.is_known, estimate.accuracy, estimate.referenced_tables)


@pytest.mark.parametrize(
    ("end_time", "ended_at"),
    [
        ("1764000000123", datetime(2025, 11, 24, 16, 0, 0, 123_000, tzinfo=UTC)),
        (None, None),
        ("soon", None),
        ("-1", None),
        (str(2**63 - 1), None),
    ],
)
def test_a_finished_job_says_when_it_ended(end_time: str | None, ended_at: datetime | None) -> None:
    """The end is in milliseconds; what is no moment is not told."""
    usage = usage_from(finished(statistics={} if end_time is None else {"endTime": end_time}))
    assert usage is not None
    assert usage.ended_at == ended_at


@pytest.mark.parametrize(
    ("query", "sql", "why"),
    [
        pytest.param({"totalBytesProcessed": "0", "referencedTables": [TABLE]}, "", "zero_bytes", id="zero, not free"),
        pytest.param({"totalBytesProcessed": "9", "statementType": "SCRIPT"}, "", "script", id="script"),
        pytest.param(
            {"totalBytesProcessed": "9", "totalBytesProcessedAccuracy": "LOWER_BOUND"}, "", "lower_bound", id="lower"
        ),
        pytest.param(
            {"totalBytesProcessed": "0"}, "SELECT * FROM external_query ('c', 'q')", "federated", id="federated"
        ),
        pytest.param(
            {"totalBytesProcessed": "9", "referencedTables": [TABLE]},
            "SELECT * FROM d.t JOIN `EXTERNAL_QUERY`/* */('c', 'q') USING (a)",
            "federated",
            id="federated beside a table",
        ),
        pytest.param(
            {"totalBytesProcessed": "9", "referencedTables": [TABLE]},
            "SELECT AI.GENERATE(a) FROM d.t",
            "remote",
            id="a model elsewhere",
        ),
        pytest.param(
            {"totalBytesProcessed": "9", "referencedTables": [TABLE]},
            "SELECT 'EXTERNAL_QUERY(1)' FROM d.t -- ML.PREDICT(x)",
            None,
            id="words in a string and a comment",
        ),
        pytest.param({"totalBytesProcessed": "0", "referencedLogicalViews": [TABLE]}, "", "zero_bytes", id="a view"),
        pytest.param(
            {
                "totalBytesProcessed": "0",
                "referencedRoutines": [{"projectId": "p", "datasetId": "d", "routineId": "remote"}],
            },
            "SELECT d.remote(1)",
            "zero_bytes",
            id="a routine",
        ),
        pytest.param({}, "", "no_statistics", id="nothing said"),
        pytest.param({"totalBytesProcessed": "-4"}, "", "no_statistics", id="a negative number says nothing"),
        pytest.param({"totalBytesProcessed": "0", "statementType": "CREATE_MODEL"}, "", "zero_bytes", id="model"),
        pytest.param({"totalBytesProcessed": "0"}, "SELECT 1", None, id="no table at all"),
        pytest.param(
            {"totalBytesProcessed": "9", "totalBytesProcessedAccuracy": "UNKNOWN"},
            "",
            "accuracy",
            id="unknown accuracy",
        ),
        pytest.param(
            {"totalBytesProcessed": "9", "totalBytesProcessedAccuracy": None}, "", "accuracy", id="missing accuracy"
        ),
        pytest.param({"totalBytesProcessed": "9", "totalBytesProcessedAccuracy": "EXACT"}, "", "accuracy", id="new"),
        pytest.param(
            {"totalBytesProcessed": "9", "totalBytesProcessedAccuracy": "UPPER_BOUND"}, "", None, id="upper bound"
        ),
        pytest.param({"totalBytesProcessed": "9", "statementType": None}, "", "statement_type", id="no kind"),
        pytest.param({"totalBytesProcessed": "9", "statementType": "CREATE_FOO"}, "", "statement_type", id="new kind"),
        pytest.param(
            {"totalBytesProcessed": "0", "statementType": "DROP_TABLE", "totalBytesProcessedAccuracy": None},
            "",
            None,
            id="what reads nothing needs no accuracy",
        ),
        pytest.param(
            {"totalBytesProcessed": "0", "statementType": "CREATE_VIEW", "referencedTables": [TABLE]},
            "",
            None,
            id="data definition",
        ),
        *(
            pytest.param({"totalBytesProcessed": "0", "statementType": kind}, "", "purchase", id=kind)
            for kind in ("CREATE_CAPACITY", "CREATE_RESERVATION", "ALTER_RESERVATION", "ALTER_BI_CAPACITY")
        ),
        pytest.param({"totalBytesProcessed": "0", "statementType": "DROP_RESERVATION"}, "", None, id="an end of costs"),
    ],
)
def test_bytes_that_bound_nothing_are_called_unknown(query: dict[str, Any], sql: str, why: str | None) -> None:
    """Zero bytes are not free, and a lower bound is no bound."""
    assert estimate_from(dry_run(**query)).with_calls(read_facts(sql)).unknown_because == why


def test_row_level_security_hides_the_estimate() -> None:
    """The dry run of a protected table says 0; that is unknown, not free."""
    job = dry_run(totalBytesProcessed="0")
    job["statistics"]["rowLevelSecurityStatistics"] = {"rowLevelSecurityApplied": True}
    assert estimate_from(job).unknown_because == "row_level_security"
    assert estimate_from(job).with_calls(read_facts("SELECT AI.IF(a) FROM d.t")).unknown_because == "row_level_security"
    # Of the two only this one is billed past every cap.
    assert (
        estimate_from(job).with_calls(read_facts("SELECT * FROM EXTERNAL_QUERY('c', 'q')")).unknown_because
        == "federated"
    )


@pytest.mark.parametrize("state", ["PENDING", "RUNNING", None])
def test_a_running_job_has_no_usage_yet(state: str | None) -> None:
    """Only DONE is the end."""
    assert usage_from({"status": {"state": state}}) is None


@pytest.mark.parametrize(
    ("job", "outcome", "bytes_billed"),
    [
        (finished(totalBytesBilled="10485760"), Outcome.DONE, 10_485_760),
        (finished(cacheHit=True, totalBytesBilled="0"), Outcome.CACHED, 0),
        (finished({"reason": "invalidQuery"}), Outcome.FAILED, None),
        (finished({"reason": "invalidQuery"}, totalBytesBilled="9"), Outcome.FAILED, 9),
        (finished({"reason": "stopped"}, totalBytesBilled="7"), Outcome.STOPPED, 7),
        (finished(statementType="SELECT"), Outcome.DONE, None),
    ],
)
def test_the_end_of_a_job_says_what_was_billed(job: Any, outcome: Outcome, bytes_billed: int | None) -> None:
    """What is reported is what was billed, however the job ended; what is not told stays unknown."""
    usage = usage_from(job)
    assert usage is not None
    assert (outcome, bytes_billed) == (usage.outcome, usage.bytes_billed)


def test_reservation_and_edition_are_read() -> None:
    """Slot prices need them."""
    usage = usage_from(
        finished(None, {"reservation_id": "p:US.r", "edition": "ENTERPRISE", "totalSlotMs": "5"}, totalBytesBilled="0")
    )
    assert usage is not None
    assert ("p:US.r", "ENTERPRISE", 5) == (usage.reservation, usage.edition, usage.slot_ms)


def test_a_reference_without_an_id_is_no_job() -> None:
    """A dry run leaves no job behind."""
    assert job_ref_from({"projectId": "p", "location": "US"}) is None
    assert job_ref_from({"projectId": "p", "jobId": "j"}) == JobRef("p", "j")


@pytest.mark.parametrize(("listed", "counted"), [(49, 49), (50, 1_000)])
def test_a_full_list_of_tables_may_be_a_part_of_them(listed: int, counted: int) -> None:
    """BigQuery lists fifty at most; a query may read a thousand, each with its minimum."""
    tables = [TABLE | {"tableId": f"t{number}"} for number in range(listed)]
    estimate = estimate_from(dry_run(totalBytesProcessed="5", referencedTables=tables))
    assert (estimate.table_count, bytes_billed_at_most(estimate)) == (counted, counted * 10 * MIB)


def test_what_a_finished_job_does_not_tell_is_unknown() -> None:
    """Neither zero, nor on demand, nor a query."""
    usage = usage_from({"status": {"state": "DONE"}})
    assert usage is not None
    assert (usage.bytes_billed, usage.slot_ms, usage.statement_type, usage.is_reservation_known) == (
        None,
        None,
        None,
        False,
    )
    script = usage_from(finished(statementType="SCRIPT", totalBytesBilled="1"))
    assert script is not None
    assert not script.is_reservation_known  # its children tell
    query = usage_from(finished(statementType="SELECT", totalBytesBilled="1"))
    assert query is not None
    assert (query.reservation, query.is_reservation_known) == (None, True)


@pytest.mark.parametrize("kind", ["load", "copy", "extract"])
def test_other_jobs_process_no_query_bytes(kind: str) -> None:
    """They are free on the shared pool, and say what they are."""
    usage = usage_from({"status": {"state": "DONE"}, "configuration": {kind: {}}, "statistics": {}})
    assert usage is not None
    assert usage.bytes_billed == 0


def test_the_finished_jobs_of_a_page_are_read() -> None:
    """A statement that still runs has used nothing yet."""
    page = {"jobs": [finished(statementType="INSERT", totalBytesBilled="3"), {"status": {"state": "RUNNING"}}, None]}
    assert [(usage.statement_type, usage.bytes_billed) for usage in usages_in(page)] == [("INSERT", 3)]
    assert usages_in({}) == ()
