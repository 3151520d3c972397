"""Say what one check of `bqgate doctor` found."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found. `is_good` None: nothing to check, or it could not be tried; `remedy`: what to do next."""

    subject: str
    is_good: bool | None
    said: str
    remedy: str = ""
