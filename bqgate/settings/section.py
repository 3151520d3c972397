"""Say what every section of the settings has in common: it is frozen, and an unknown key is an error.

Taken by sections.py and by the sections that have a file of their own. Nothing else leaves it. Validators are made when
they are first used.
"""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A mapping of the settings: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
