from pathlib import Path

import pytest

from bqgate.domain.job import Outcome, Usage
from bqgate.domain.money import parse_usd
from bqgate.domain.units import MS_PER_HOUR, TIB
from bqgate.settings import SettingsInvalid, load_settings
from bqgate.settings.prices import load_price_tables, prices_path


def prices_of(**pricing: str) -> dict[str, str]:
    """The environment that sets keys of the section pricing."""
    return {f"BQGATE_PRICING__{key.upper()}": value for key, value in pricing.items()}


def test_the_blended_model_has_its_own_prices_everywhere() -> None:
    """$5.00 per TiB and $0.04 per slot-hour, wherever the job runs."""
    prices = load_settings(None, {}).prices
    usage = Usage(None, Outcome.DONE, statement_type="SELECT", bytes_billed=TIB, slot_ms=MS_PER_HOUR)
    for location in ("US", "southamerica-east1", None):
        assert prices.cost_of(usage, location=location) == parse_usd("5.04")


@pytest.mark.parametrize(
    ("location", "usd"),
    [
        ("US", "6.25"),
        ("EU", "6.25"),
        (None, "11.25"),
        ("asia-south2", "7.50"),
        ("me-central1", "7.59375"),
        ("europe-west12", "8.0625"),
        ("southamerica-east1", "11.25"),
        ("moon-north1", "11.25"),
    ],
)
def test_on_demand_is_charged_at_the_regions_list_price(location: str | None, usd: str) -> None:
    """The table is data; capitals of a multi-region do not matter, an unknown place costs the most."""
    prices = load_settings(None, prices_of(model="on_demand")).prices
    usage = Usage(None, Outcome.DONE, statement_type="SELECT", bytes_billed=TIB)
    assert prices.cost_of(usage, location=location) == parse_usd(usd)


@pytest.mark.parametrize(
    ("edition", "usd"), [("STANDARD", "0.04"), ("ENTERPRISE", "0.06"), ("ENTERPRISE_PLUS", "0.10"), (None, "0.10")]
)
def test_capacity_is_charged_at_the_editions_list_price(edition: str | None, usd: str) -> None:
    """An edition that BigQuery does not name is priced as the most expensive."""
    prices = load_settings(None, prices_of(model="capacity")).prices
    usage = Usage(None, Outcome.DONE, slot_ms=MS_PER_HOUR, reservation="p:US.r", edition=edition)
    assert prices.cost_of(usage, location="US") == parse_usd(usd)


def test_a_price_in_the_settings_beats_the_table_everywhere() -> None:
    """A negotiated price is the price in every region and edition."""
    prices = load_settings(None, prices_of(model="auto", usd_per_tib="4.2", usd_per_slot_hour="0.03")).prices
    assert {prices.tib_price(place) for place in ("US", "me-central2", None)} == {parse_usd("4.2")}
    assert {prices.slot_price(edition) for edition in ("STANDARD", "ENTERPRISE_PLUS", None)} == {parse_usd("0.03")}


def test_the_table_has_every_region_once() -> None:
    """49 places of the pricing page, all between the cheapest and the most expensive."""
    tables = load_price_tables(prices_path())
    by_location, by_edition = tables.by_location, tables.by_edition
    assert len(by_location) == 49
    assert (min(by_location.values()), max(by_location.values())) == (parse_usd("6.25"), parse_usd("11.25"))
    assert set(by_edition) == {"elsewhere", "standard", "enterprise", "enterprise_plus"}


def test_a_damaged_table_is_named(tmp_path: Path) -> None:
    """A float, a missing row or a missing file is a fault with its place."""
    table = tmp_path / "prices.yaml"
    table.write_text("on_demand_usd_per_tib: {us: 6.25}\n")
    with pytest.raises(SettingsInvalid) as caught:
        load_price_tables(table)
    assert [fault.path for fault in caught.value.faults] == [
        "prices.yaml: on_demand_usd_per_tib.us",
        "prices.yaml: on_demand_usd_per_tib",
        "prices.yaml: editions_usd_per_slot_hour",
    ]
    with pytest.raises(SettingsInvalid, match="cannot be read"):
        load_price_tables(tmp_path / "nowhere.yaml")
