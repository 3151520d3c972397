import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bqgate.observe.redact import MASK, TEXT_CHARS_MAX, redact_field, redact_line, redact_text

SECRET = "S3cr3tS3cr3tS3cr3t"


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer ya29.{SECRET}",
        f"authorization: bearer {SECRET}",
        f"Basic {SECRET}==",
        f"the token ya29.a0-{SECRET} has expired",
        f"/w/bqg_0123456789abcdef_{SECRET}/bigquery",
        f"upload_token=bqg_0123456789abcdef_{SECRET}",
        f"eyJhbGciOiJSUzI1NiJ9.{SECRET}.{SECRET}",
        f"redis://user:{SECRET}@cache:6379/0",
        f"postgresql://bqgate:{SECRET}@db/bqgate",
        f"postgresql://bqgate:a@b{SECRET}@db/bqgate",
        f"https://example.com/cb?access_token={SECRET}&x=1",
        f"grant_type=jwt&assertion={SECRET}",
        f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----",
        f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}",
    ],
)
def test_text_that_looks_like_a_credential_is_masked(text: str) -> None:
    """Credentials in running text are masked, whatever the text."""
    masked = redact_text(text)
    assert SECRET not in masked
    assert MASK in masked


@pytest.mark.parametrize(
    "name", ["authorization", "Authorization", "access-token", "private_key", "sql", "query", "body"]
)
def test_fields_that_hold_secrets_or_sql_lose_their_value(name: str) -> None:
    """A field is dropped by its name, at any depth, however its value looks."""
    shown = redact_field("request", {"headers": [{name: SECRET}], name: SECRET, "inner": {name: [SECRET]}})
    assert SECRET not in json.dumps(shown)


def test_the_key_of_a_masked_token_is_still_named() -> None:
    """Of the gate's own tokens the part that the list of keys shows stays, so that the key can be found and revoked."""
    assert redact_text(f"sent bqg_0123456789abcdef_{SECRET}.") == f"sent bqg_0123456789abcdef_{MASK}."


def test_headers_as_pairs_are_looked_at_by_name() -> None:
    """A list of (name, value) pairs is read like a mapping."""
    shown = redact_field("headers", (("Authorization", SECRET), ("Accept", "*/*")))
    assert shown == [["Authorization", MASK], ["Accept", "*/*"]]


def test_what_an_operator_needs_stays() -> None:
    """Numbers, ids and ordinary text are shown as they are."""
    fields = {
        "customer": "acme",
        "cost_nanos": 5,
        "job_id": "bqgate_1",
        "note": "key figures: 5",
        "idle": None,
        "ok": True,
    }
    assert redact_field("fields", fields) == fields


def test_long_text_is_cut() -> None:
    """One line never grows past a bound."""
    assert len(redact_text("x" * 10**6)) < TEXT_CHARS_MAX + 50


def test_a_structure_without_end_is_cut() -> None:
    """Something that contains itself is shown to a bounded depth."""
    loop: dict[str, object] = {}
    loop["again"] = loop
    assert "…" in json.dumps(redact_field("loop", loop), ensure_ascii=False)


@given(st.text(alphabet=st.characters(codec="ascii", categories=["L", "N"]), min_size=20), st.text(), st.text())
def test_no_bearer_token_survives(token: str, before: str, after: str) -> None:
    """Whatever stands around it, a bearer token is gone."""
    assert token not in redact_text(f"{before} Bearer {token} {after}").replace(before, "").replace(after, "")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_every_value_becomes_json(value: object) -> None:
    """Whatever is noted, the line can be written."""
    json.dumps(redact_field("anything", value))


_PIECES = (
    *("Bearer ", "bAsIc\t", "ya29.", "YA29.", "bqg_0123456789abcdef_", "eyJ", "-----BEGIN PRIVATE KEY-----"),
    *("://", "@", ":", "/", "key=", "Token=", "Secret=", "client_secret=", "password=", "="),
    *("x", " ", "aaaaaaaaaa", "b\n"),
)


@given(st.lists(st.sampled_from(_PIECES)).map("".join))
def test_what_is_passed_over_quickly_has_nothing_to_mask(text: str) -> None:
    """A text of ASCII alone, which is mostly not looked into, is masked as the same behind a letter of another kind."""
    assert redact_text(f"é\n{text}") == f"é\n{redact_text(text)}"


@given(
    st.dictionaries(
        st.sampled_from(("event", "Access-Token", "key", "note", "status", "path")),
        st.lists(st.sampled_from(_PIECES)).map("".join) | st.none() | st.integers() | st.lists(st.text()),
    )
)
def test_a_line_at_one_look_is_as_its_fields_one_by_one(fields: dict[str, object]) -> None:
    """What is seen at one look to need no mask needs none."""
    assert redact_line(fields) == {name: redact_field(name, value) for name, value in fields.items()}
