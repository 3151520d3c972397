"""Turn the section `pricing` and the table config/prices.yaml into the domain's PriceList.

Called by load. A price in the settings is the same everywhere and stands in for the table; the blended model has its
own two prices, those of the design's default ($5.00 per TiB, $0.04 per slot-hour). Prices are nano-dollars.
"""

from collections.abc import Mapping
from pathlib import Path

import bqgate
from bqgate.domain.pricing import PriceList, PricingModel
from bqgate.settings.document import parse_yaml
from bqgate.settings.faults import Fault, SettingsInvalid
from bqgate.settings.fields import read_usd
from bqgate.settings.sections import PricingSection

BLENDED_NANOS_PER_TIB = 5_000_000_000
BLENDED_NANOS_PER_SLOT_HOUR = 40_000_000

# The table's row for a place or an edition that has none of its own.
ELSEWHERE = "elsewhere"
_TABLES = ("on_demand_usd_per_tib", "editions_usd_per_slot_hour")

PriceTable = Mapping[str, int]


def prices_path() -> Path:
    """Where the list prices are: inside the installed package, or beside it in a checkout."""
    package = Path(bqgate.__file__).parent
    installed = package / "config" / "prices.yaml"
    return installed if installed.is_file() else package.parent / "config" / "prices.yaml"


def load_price_tables(path: Path) -> tuple[PriceTable, PriceTable]:
    """Nano-dollars per TiB by location and per slot-hour by edition.

    Raises:
        SettingsInvalid: the file is not there or not such a table.
    """
    try:
        tree, faults = parse_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsInvalid([Fault(str(path), f"cannot be read: {error}; reinstall bqgate")]) from error
    tables: list[PriceTable] = []
    for name in _TABLES:
        rows = tree.get(name)
        table: dict[str, int] = {}
        for row, price in rows.items() if isinstance(rows, dict) else ():
            try:
                table[row] = read_usd(price).nanos
            except ValueError as error:
                faults.append(Fault(f"{path.name}: {name}.{row}", str(error)))
        if ELSEWHERE not in table:
            faults.append(Fault(f"{path.name}: {name}", f"needs a row {ELSEWHERE}"))
        tables.append(table)
    if faults:
        raise SettingsInvalid(faults)
    return tables[0], tables[1]


def price_list(section: PricingSection, tables: tuple[PriceTable, PriceTable]) -> PriceList:
    """What to charge. `tables` as load_price_tables returns them."""
    tib, slot_hour = section.usd_per_tib, section.usd_per_slot_hour
    is_blended = section.model is PricingModel.BLENDED
    by_location, by_edition = ({}, {}) if is_blended else tables
    if tib is not None:
        by_location = {}
    if slot_hour is not None:
        by_edition = {}
    return PriceList(
        model=section.model,
        nanos_per_tib=tib.nanos if tib else by_location.get(ELSEWHERE, BLENDED_NANOS_PER_TIB),
        nanos_per_slot_hour=slot_hour.nanos if slot_hour else by_edition.get(ELSEWHERE, BLENDED_NANOS_PER_SLOT_HOUR),
        nanos_per_tib_by_location={name: price for name, price in by_location.items() if name != ELSEWHERE},
        nanos_per_slot_hour_by_edition={name: price for name, price in by_edition.items() if name != ELSEWHERE},
    )
