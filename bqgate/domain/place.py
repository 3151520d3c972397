"""Name where something happens at BigQuery: a project, and one of its regions."""

from dataclasses import dataclass

# These are written in capitals where jobs run (https://cloud.google.com/bigquery/docs/locations).
_MULTI_REGIONS = frozenset({"us", "eu"})


@dataclass(frozen=True, slots=True)
class Place:
    """A project, and one of its regions in small letters ("us", "europe-west3"); "": all of them."""

    project_id: str
    region: str = ""

    @property
    def location(self) -> str:
        """The region as jobs name it."""
        return self.region.upper() if self.region in _MULTI_REGIONS else self.region

    @property
    def information_schema(self) -> str:
        """The views of one region, to be followed by a dot and a view's name in a FROM."""
        return f"`{self.project_id}`.`region-{self.region}`.INFORMATION_SCHEMA"
