import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bqgate.domain.errors import MalformedRequest, UnsupportedRequest
from bqgate.domain.job import Method
from bqgate.wire.json_text import JsonNumber
from bqgate.wire.query_request import dry_run_body, forward_body, parse_insert, parse_query


def insert(query: dict[str, Any] | None = None, **configuration: Any) -> dict[str, Any]:
    return {"configuration": {"query": {"query": "SELECT 1", **(query or {})}, **configuration}}


def test_both_methods_give_the_same_dry_run() -> None:
    """A query is estimated by jobs.insert whichever way it came."""
    fields = {"query": "SELECT @a", "useLegacySql": False, "parameterMode": "NAMED", "queryParameters": [{"name": "a"}]}
    by_insert = parse_insert("p", {"configuration": {"query": fields}})
    assert by_insert is not None
    by_query = parse_query("p", fields | {"requestId": "r", "timeoutMs": 10, "maxResults": 5})
    assert dry_run_body(by_insert) == dry_run_body(by_query)
    assert by_insert.fingerprint == by_query.fingerprint


def test_a_dry_run_asks_without_cache_cap_or_job_id() -> None:
    """What would hide the number of bytes is left out; what decides it stays."""
    request = parse_insert(
        "p",
        insert({"maximumBytesBilled": "5", "useQueryCache": True, "createDisposition": "CREATE_NEVER"})
        | {"jobReference": {"jobId": "j", "location": "EU"}},
    )
    assert request is not None
    body = dry_run_body(request)
    assert body["configuration"] == {"dryRun": True, "query": {"query": "SELECT 1", "useQueryCache": False}}
    assert body["jobReference"] == {"projectId": "p", "location": "EU"}


def test_forwarding_changes_only_what_the_gate_sets() -> None:
    """Invariant 8: job id, cap and the gate's labels; every other field is the caller's."""
    sent = insert({"useLegacySql": False, "priority": "BATCH", "unheardOf": [1]}, labels={"team": "a"})
    request = parse_insert("p", sent)
    assert request is not None
    body = forward_body(request, job_id="bqgate_1", maximum_bytes_billed=7, labels={"bqgate_hold": "1"})
    assert body == {
        "jobReference": {"projectId": "p", "jobId": "bqgate_1"},
        "configuration": {
            "query": {
                "query": "SELECT 1",
                "useLegacySql": False,
                "priority": "BATCH",
                "unheardOf": [1],
                "maximumBytesBilled": "7",
            },
            "labels": {"team": "a", "bqgate_hold": "1"},
        },
    }


def test_the_callers_job_id_stays() -> None:
    """An id that the client chose is how the client finds its job."""
    request = parse_insert("p", insert() | {"jobReference": {"projectId": "p", "jobId": "mine"}})
    assert request is not None
    body = forward_body(request, job_id="bqgate_1", maximum_bytes_billed=None, labels={})
    assert body["jobReference"] == {"projectId": "p", "jobId": "mine"}
    assert request.idempotency_key == "job:p:mine"


def test_a_query_without_a_job_becomes_one_with_a_job() -> None:
    """A job-less query could not be found again, so the gate asks for a job."""
    request = parse_query("p", {"query": "SELECT 1", "jobCreationMode": "JOB_CREATION_OPTIONAL"})
    body = forward_body(request, job_id="x", maximum_bytes_billed=5, labels={"bqgate_hold": "1"})
    assert body["jobCreationMode"] == "JOB_CREATION_REQUIRED"
    assert (body["maximumBytesBilled"], body["labels"]) == ("5", {"bqgate_hold": "1"})


@pytest.mark.parametrize("labels", [{"team": "m\0l"}, {"te\nam": "ml"}, {"team": "\ud800"}])
def test_labels_that_no_database_keeps_are_refused(labels: dict[str, str]) -> None:
    """Before anything is held: one of them in the ledger would fail every sum of a label."""
    with pytest.raises(MalformedRequest, match="has invalid characters"):
        parse_insert("p", insert(labels=labels))


def test_labels_that_imitate_the_gates_are_overwritten() -> None:
    """A caller cannot make its job look like another hold's."""
    request = parse_insert("p", insert(labels={"bqgate_hold": "forged"}))
    assert request is not None
    body = forward_body(request, job_id="j", maximum_bytes_billed=1, labels={"bqgate_hold": "true"})
    assert body["configuration"]["labels"] == {"bqgate_hold": "true"}


NOTES = {"bqgate_decision": "throttle", "bqgate_reason": "customer_day", "bqgate_waited_ms": "2000"}


@pytest.mark.parametrize(
    ("own_count", "added"),
    [
        (0, ["bqgate_hold", *NOTES]),
        (60, ["bqgate_hold", *NOTES]),
        (61, ["bqgate_hold", "bqgate_decision", "bqgate_reason"]),
        (63, ["bqgate_hold"]),
    ],
)
def test_notes_take_only_the_room_that_the_holds_label_leaves(own_count: int, added: list[str]) -> None:
    """BigQuery takes 64 labels of a job; the caller's come first, then the hold's, then what people read."""
    own = {f"own_{number}": "x" for number in range(own_count)}
    for request in (parse_insert("p", insert(labels=own)), parse_query("p", {"query": "SELECT 1", "labels": own})):
        assert request is not None
        body = forward_body(request, job_id="j", maximum_bytes_billed=1, labels={"bqgate_hold": "1"}, notes=NOTES)
        assert list(body.get("configuration", body)["labels"]) == [*own, *added]


def test_notes_of_another_job_are_not_copied_with_its_labels() -> None:
    """Who takes over an old job's labels does not say that the new one was throttled."""
    request = parse_insert("p", insert(labels={"team": "a", **NOTES}))
    assert request is not None
    body = forward_body(request, job_id="j", maximum_bytes_billed=1, labels={"bqgate_hold": "1"})
    assert body["configuration"]["labels"] == {"team": "a", "bqgate_hold": "1"}


@pytest.mark.parametrize(("own", "sent"), [(None, "9"), ("4", "4"), ("50", "9"), ("0", "9"), ("-1", "9")])
def test_a_script_is_capped_a_statement_too(own: str | None, sent: str) -> None:
    """Each statement of a script may bill at most the cap, or the caller's own budget when that is less."""
    options = {} if own is None else {"scriptOptions": {"statementByteBudget": own, "keyResultStatement": "LAST"}}
    request = parse_insert("p", insert(options))
    assert request is not None
    body = forward_body(request, job_id="j", maximum_bytes_billed=9, labels={}, is_script=True)
    assert body["configuration"]["query"]["scriptOptions"]["statementByteBudget"] == sent


def test_snake_case_names_mean_the_same() -> None:
    """Proto JSON takes both spellings; the gate forwards the one that it judged."""
    request = parse_insert(
        "p", {"configuration": {"dry_run": True, "query": {"query": "SELECT 1", "maximum_bytes_billed": 10}}}
    )
    assert request is not None
    assert (True, 10) == (request.dry_run, request.maximum_bytes_billed)
    assert request.body["configuration"]["query"]["maximumBytesBilled"] == 10


@pytest.mark.parametrize(
    ("document", "fault"),
    [
        pytest.param({}, "configuration", id="no configuration"),
        pytest.param({"configuration": {}}, "Exactly one", id="empty configuration"),
        pytest.param({"configuration": {"query": {"query": "x"}, "load": {}}}, "Exactly one", id="two configurations"),
        pytest.param({"configuration": []}, "must be an object", id="configuration is a list"),
        pytest.param({"configuration": {"query": {}}}, "missing: query", id="no query"),
        pytest.param(insert({"query": 5}), "must be a string", id="query is a number"),
        pytest.param(insert(dryRun="perhaps"), "must be a boolean", id="dryRun is a word"),
        pytest.param(insert(dryRun=1), "must be a boolean", id="dryRun is a number"),
        pytest.param(insert({"priority": "URGENT"}), 'priority: "URGENT"', id="unknown priority"),
        pytest.param(insert({"priority": 2}), "is not a valid value", id="priority is a number"),
        pytest.param(insert({"createDisposition": "NEVER"}), "createDisposition", id="unknown disposition"),
        pytest.param(insert() | {"jobReference": {"location": "U\0S"}}, "location", id="location with NUL"),
        pytest.param(insert() | {"jobReference": {"location": "x" * 64}}, "location", id="long location"),
        pytest.param(insert({"connectionProperties": {}}), "a list of objects", id="properties are an object"),
        pytest.param(
            insert({"connectionProperties": [{"key": "k" * 129}]}), "128 characters", id="long name of a property"
        ),
        pytest.param(
            insert({"connectionProperties": [{"key": "k", "value": "v" * 2**15}]}), "characters", id="long property"
        ),
        pytest.param(insert(dryRun={}), "must be a boolean", id="dryRun is an object"),
        pytest.param(insert({"maximumBytesBilled": "-1"}), "must not be negative", id="negative cap"),
        pytest.param(insert({"maximumBytesBilled": str(2**63)}), "TYPE_INT64", id="cap past int64"),
        pytest.param(insert({"maximumBytesBilled": JsonNumber("1.5")}), "TYPE_INT64", id="fractional cap"),
        pytest.param(insert({"maximumBytesBilled": "9" * 5_000}), "TYPE_INT64", id="endless digits"),
        pytest.param(insert({"maximumBytesBilled": 1, "maximum_bytes_billed": 9}), "given twice", id="smuggled twin"),
        pytest.param(insert({"scriptOptions": 5}), "scriptOptions", id="script options are a number"),
        pytest.param(
            insert({"scriptOptions": {"statementByteBudget": []}}), "statement_byte_budget", id="byte budget is a list"
        ),
        pytest.param(insert(labels={"a": 1}), "map of strings", id="label is a number"),
        pytest.param(insert() | {"jobReference": {"jobId": "a b"}}, "Invalid job ID", id="bad job id"),
        pytest.param(insert() | {"jobReference": {"projectId": "q"}}, "is for project p", id="another project"),
    ],
)
def test_a_malformed_job_is_refused_with_its_fault(document: dict[str, Any], fault: str) -> None:
    """Bad input gets an error that names what is wrong."""
    with pytest.raises(MalformedRequest, match=fault):
        parse_insert("p", document)


@pytest.mark.parametrize(
    ("document", "fault"),
    [
        ({}, "missing: query"),
        ({"query": "SELECT 1", "requestId": "x" * 37}, "requestId"),
        ({"query": "SELECT 1", "timeoutMs": -1}, "timeout_ms"),
        ({"query": "SELECT 1", "maxResults": "many"}, "max_results"),
        ({"query": "SELECT 1", "location": "EU/../US"}, "location"),
        ({"query": "SELECT 1", "jobCreationMode": True}, "'job_creation_mode' .*JobCreationMode.*, true"),
        ({"query": "SELECT 1", "jobCreationMode": 7}, "'job_creation_mode' .*JobCreationMode.*, 7"),
    ],
)
def test_a_malformed_query_request_is_refused_with_its_fault(document: dict[str, Any], fault: str) -> None:
    """The same for jobs.query."""
    with pytest.raises(MalformedRequest, match=fault):
        parse_query("p", document)


def test_a_continuous_query_is_refused() -> None:
    """No hold covers a query without an end."""
    with pytest.raises(UnsupportedRequest, match="never end"):
        parse_query("p", {"query": "SELECT 1", "continuous": True})


def test_other_jobs_are_not_queries() -> None:
    """Load, copy and extract jobs are told apart."""
    assert parse_insert("p", {"configuration": {"load": {"destinationTable": {}}}}) is None


def test_a_cap_of_zero_is_no_cap() -> None:
    """Proto JSON drops zero, so BigQuery would see none: the gate puts its own."""
    request = parse_query("p", {"query": "SELECT 1", "maximumBytesBilled": "0"})
    assert request.maximum_bytes_billed is None
    body = forward_body(request, job_id="j", maximum_bytes_billed=3, labels={})
    assert body["maximumBytesBilled"] == "3"


def test_submitting_methods_know_their_names() -> None:
    """The request says how it came."""
    assert parse_query("p", {"query": "x"}).method is Method.QUERY


LEAF: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just(1.5) | st.just([])
)
NAMES = st.sampled_from(
    ["query", "configuration", "jobReference", "jobId", "dryRun", "dry_run", "labels", "maximumBytesBilled", "load"]
)
LEVEL_2 = LEAF | st.dictionaries(NAMES, LEAF, max_size=3)
LEVEL_1 = LEVEL_2 | st.dictionaries(NAMES, LEVEL_2, max_size=3)


@given(st.dictionaries(NAMES, LEVEL_1, max_size=4))
def test_any_json_object_is_read_or_refused_by_name(document: dict[str, Any]) -> None:
    """Whatever comes in, the gate understands it or says MalformedRequest; nothing else leaves, and all is JSON."""
    for parse in (parse_insert, parse_query):
        try:
            request = parse("p", document)
        except (MalformedRequest, UnsupportedRequest):
            continue
        if request is not None:
            json.dumps(forward_body(request, job_id="j", maximum_bytes_billed=1, labels={}))
            assert len(request.fingerprint) == 64


@pytest.mark.parametrize(("name", "told"), [("maxSlots", "max_slots"), ("jobTimeoutMs", "job_timeout_ms")])
def test_a_bound_that_is_no_number_is_refused_as_it_comes(name: str, told: str) -> None:
    """Found later, when a throttled query is slowed down, its hold would stand already."""
    with pytest.raises(MalformedRequest, match=told):
        parse_insert("p", {"configuration": {"query": {"query": "SELECT 1"}, name: "many"}})
    with pytest.raises(MalformedRequest, match=told):
        parse_query("p", {"query": "SELECT 1", name: "many"})


@pytest.mark.parametrize(
    "mode",
    [
        "JOB_CREATION_OPTIONAL",
        "jobCreationOptional",
        "job-creation-optional",
        2,
        "2",
        JsonNumber("2.0"),
        "NEW",
        None,
        "",
    ],
)
def test_a_query_without_a_job_is_never_asked_for(mode: Any) -> None:
    """Enums may come as numbers and in other spellings; whichever it is, the query gets a job that can be found.

    Absent, too, for a project may have another default.
    """
    body = forward_body(
        parse_query("p", {"query": "SELECT 1", "jobCreationMode": mode}), job_id="", maximum_bytes_billed=5, labels={}
    )
    assert body["jobCreationMode"] == "JOB_CREATION_REQUIRED"


def test_whole_numbers_are_sent_as_they_were_judged() -> None:
    """Every number that the gate reads goes on in plain digits; the caller's other numbers stay as they came."""
    billion = JsonNumber("1e9")
    request = parse_insert(
        "p",
        insert(
            {"maximumBytesBilled": "1e9", "scriptOptions": {"statementByteBudget": billion}, "other": billion},
            jobTimeoutMs=JsonNumber("60000.0"),
            maxSlots="1E2",
        ),
    )
    assert request is not None
    assert request.maximum_bytes_billed == 10**9
    configuration = forward_body(request, job_id="j", maximum_bytes_billed=None, labels={})["configuration"]
    assert (configuration["jobTimeoutMs"], configuration["maxSlots"]) == (60_000, "100")
    assert configuration["query"]["maximumBytesBilled"] == "1000000000"
    assert configuration["query"]["scriptOptions"] == {"statementByteBudget": 10**9}
    assert configuration["query"]["other"] is billion
    query = parse_query("p", {"query": "SELECT 1", "timeoutMs": JsonNumber("1e4"), "max_results": "1e1"})
    assert (query.body["timeoutMs"], query.body["maxResults"]) == (10_000, "10")


@pytest.mark.parametrize(
    ("field", "value"), [("timeoutMs", 2**32), ("maxResults", "1e10"), ("maxSlots", 2**31), ("jobTimeoutMs", 2**63)]
)
def test_a_number_past_its_fields_type_is_malformed(field: str, value: Any) -> None:
    """Fields of 32 bits take no more than those."""
    with pytest.raises(MalformedRequest, match="Invalid value at"):
        parse_query("p", {"query": "SELECT 1", field: value})


def test_a_parameters_digits_decide_the_estimate() -> None:
    """Two numbers that differ in their last digit are two queries; numbers can be hashed whatever they are."""
    prints = {
        parse_query("p", {"query": "SELECT @a", "queryParameters": [JsonNumber(text)]}).fingerprint
        for text in ("1.0", "1.00", "1234567890123456789.123456789", "1234567890123456789.123456788", "1E400")
    }
    assert len(prints) == 5


@pytest.mark.parametrize("text", ["true", "TRUE", "True", "t", "yes", "Y", "1"])
def test_a_dry_run_is_sent_as_the_one_that_it_was_judged_to_be(text: str) -> None:
    """A spelling that only one of two readers takes would let a query run that the gate saw as free."""
    by_insert, by_query = parse_insert("p", insert(dryRun=text)), parse_query("p", {"query": "x", "dry_run": text})
    assert by_insert is not None
    assert (by_insert.dry_run, by_insert.body["configuration"]["dryRun"]) == (True, True)
    assert (by_query.dry_run, by_query.body["dryRun"]) == (True, True)


@pytest.mark.parametrize("text", ["false", "FALSE", "f", "no", "N", "0"])
def test_what_is_no_dry_run_is_sent_as_none(text: str) -> None:
    """And every other flag that the gate reads goes on as true or false."""
    request = parse_query("p", {"query": "x", "dryRun": text, "useQueryCache": text, "useLegacySql": text})
    assert (request.dry_run, request.use_query_cache) == (False, False)
    assert [request.body[name] for name in ("dryRun", "useQueryCache", "useLegacySql")] == [False, False, False]


@pytest.mark.parametrize(
    ("field", "value", "sent"),
    [
        ("priority", "batch", "BATCH"),
        ("createDisposition", "create-never", "CREATE_NEVER"),
        ("writeDisposition", "writeAppend", "WRITE_APPEND"),
        ("writeDisposition", "WRITE_SOMETHING_NEW", "WRITE_SOMETHING_NEW"),
        ("parameterMode", "named", "NAMED"),
    ],
)
def test_names_of_values_go_on_in_one_spelling(field: str, value: str, sent: str) -> None:
    """What the gate acts on is what BigQuery reads; what it does not act on may be newer than the gate."""
    request = parse_insert("p", insert({field: value}))
    assert request is not None
    assert request.body["configuration"]["query"][field] == sent


def test_a_format_may_come_as_a_number() -> None:
    """Generated clients write enums so."""
    assert parse_query("p", {"query": "x", "queryResultsFormat": "2"}).body["queryResultsFormat"] == "ARROW"


def test_system_variables_are_bigquerys_to_tell() -> None:
    """They are an output; as an input query_label would mark the job."""
    sent = insert({"systemVariables": {"values": {"query_label": "bqgate_hold:1"}}})
    request = parse_insert("p", sent)
    assert request is not None
    assert "systemVariables" not in request.body["configuration"]["query"]
