import pytest

from bqgate.domain.errors import AccessDenied
from bqgate.gate.isolation.upload_sessions import MARK, UploadSessions, unmarked
from bqgate.wire.http_message import HttpRequest, HttpResponse

SECRET, OLD_SECRET = "s" * 32, "o" * 32
LOCATION = "https://bigquery.googleapis.com/upload/bigquery/v2/projects/hub/jobs?uploadType=resumable&upload_id=a%2Fb"


def query_of(sessions: UploadSessions, *, owner: str = "acme") -> str:
    """The query of the address to which acme's chunks go."""
    answer = sessions.marked(HttpResponse(200, (("location", LOCATION),)), project_id="hub", owner=owner)
    return (answer.header("location") or "").partition("?")[2]


def check(sessions: UploadSessions, query: str, *, owner: str = "acme", project_id: str = "hub") -> HttpRequest:
    return sessions.checked(HttpRequest("PUT", "/p", query), project_id=project_id, owner=owner)


def test_a_mark_holds_at_every_gate_and_through_a_change_of_the_secret() -> None:
    """Replicas have the same secret; the one before it is taken until it is gone."""
    query = query_of(UploadSessions(OLD_SECRET))
    for sessions in (UploadSessions(OLD_SECRET), UploadSessions(SECRET, previous_secret=OLD_SECRET)):
        assert "uploadType=resumable&upload_id=a%2Fb" == check(sessions, query).query
    rotated = UploadSessions(OLD_SECRET)
    rotated.rotate(SECRET, previous_secret=None)
    with pytest.raises(AccessDenied):
        check(rotated, query)


@pytest.mark.parametrize(
    "change",
    [
        lambda query: query.replace("a%2Fb", "c"),
        lambda query: query.partition(f"&{MARK}")[0],
        lambda query: f"{query}&{MARK}=x",
        lambda query: f"{query}&upload_id=c",
        lambda query: query[:-1],
        lambda query: f"upload_id=a%2Fb&{MARK}=é",
        lambda query: f"upload_id=a%2Fb&{MARK}=",
    ],
)
def test_no_other_upload_goes_by_a_mark(change: object) -> None:
    """Nor the same without it, or by a second one."""
    assert callable(change)
    with pytest.raises(AccessDenied):
        check(UploadSessions(SECRET), change(query_of(UploadSessions(SECRET))))


def test_nobody_elses_project_or_label_fits() -> None:
    """The mark says whose upload it is, and where."""
    query = query_of(UploadSessions(SECRET))
    for owner, project_id in (("globex", "hub"), ("acme", "other")):
        with pytest.raises(AccessDenied):
            check(UploadSessions(SECRET), query, owner=owner, project_id=project_id)


def test_other_addresses_stay_as_they_are() -> None:
    """Only an upload's has an upload_id; an admin's chunk goes on without a mark that it need not have."""
    answer = HttpResponse(200, (("Location", "https://x/y?z=1"),))
    assert answer == UploadSessions(SECRET).marked(answer, project_id="hub", owner="acme")
    assert "upload_id=u" == unmarked(HttpRequest("PUT", "/p", f"upload_id=u&{MARK}=m")).query
