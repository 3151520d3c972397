import pytest

from bqgate.wire.error_reply import error_body, is_about_the_query

NO_JOBS = "User does not have bigquery.jobs.create permission in project acme-prod."


@pytest.mark.parametrize(
    ("status", "reason", "message", "is_about_it"),
    [
        (400, "invalidQuery", "Syntax error: Unexpected end of statement at [1:8]", True),
        (404, "notFound", "Not found: Table acme-prod:d.t was not found in location US", True),
        (404, "notFound", "Not found: Project acme-prod-2", True),
        (404, "notFound", "Not found: Project example.com:acme-prod", True),
        (403, "accessDenied", "Access Denied: Table acme-prod:d.t: User does not have permission to query it", True),
        (403, "accessDenied", "Access Denied: Project hub: User does not have bigquery.jobs.create permission.", True),
        (404, "notFound", "Not found: Project acme-prod", False),
        (404, "notFound", "Not found: Project acme-prod.", False),
        (400, "invalid", "Invalid project ID 'acme-prod'. Project IDs must contain 6-63 lowercase letters", False),
        (403, "accessDenied", f"Access Denied: Project acme-prod: {NO_JOBS}", False),
        (403, "accessNotConfigured", "BigQuery API has not been used in project 1 before or it is disabled.", False),
        (401, "authError", "Invalid Credentials", False),
    ],
)
def test_a_project_that_takes_no_jobs_is_no_fault_of_the_query(
    status: int, reason: str, message: str, is_about_it: bool
) -> None:
    """What blames the query makes a job that fails; where BigQuery makes no job, its refusal is the answer."""
    assert is_about_the_query(status, error_body(status, reason, message), "acme-prod") is is_about_it
