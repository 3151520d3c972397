from enum import StrEnum
from typing import Any

import pytest
from pydantic import BaseModel, Field, ValidationError

from bqgate.policies.messages import message_of

SECRET = "bqg_0123456789abcdef_not-to-be-repeated"


class Colour(StrEnum):
    """What there is to choose from."""

    RED = "red"
    BLUE = "blue"


class Thing(BaseModel, extra="forbid"):
    """One key of each kind that messages speak of."""

    colour: Colour = Colour.RED
    name: str = Field(default="a", pattern="^[a-z]$")
    is_on: bool = False
    count: int = Field(default=1, ge=1)


def said(document: dict[str, Any], *, may_quote: bool) -> str:
    with pytest.raises(ValidationError) as caught:
        Thing.model_validate(document)
    (error,) = caught.value.errors(include_url=False)
    return message_of(error, tuple(Thing.model_fields), may_quote=may_quote)


@pytest.mark.parametrize(
    ("document", "quoting", "silent"),
    [
        ({"colour": SECRET}, f"'{SECRET}' is not one of red, blue", "is not one of red, blue"),
        ({"is_on": SECRET}, f"'{SECRET}' is neither true nor false", "is neither true nor false"),
        ({"count": 0}, "0 is too small; 1 is the least", "is too small; 1 is the least"),
        ({"name": 5}, 'must be text; quote it, like "5"', "must be text"),
        ({"name": [SECRET]}, "must be text", "must be text"),
        ({"nam": SECRET}, "unknown key; did you mean name?", "unknown key; did you mean name?"),
    ],
)
def test_what_was_given_is_repeated_only_where_it_may_be(document: dict[str, Any], quoting: str, silent: str) -> None:
    """The settings file quotes what its writer sees anyway; a body may hold a token in the place of a word."""
    assert said(document, may_quote=True) == quoting
    assert said(document, may_quote=False) == silent
    assert SECRET not in silent
