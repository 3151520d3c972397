"""Read the table of list prices, config/prices.yaml, which is part of the package.

Called by load; policies.prices makes prices of it. Amounts are nano-dollars.
"""

from pathlib import Path

from bqgate.policies.prices import ELSEWHERE, PriceTables
from bqgate.policies.values import read_usd
from bqgate.settings.document import parse_yaml
from bqgate.settings.faults import Fault, SettingsInvalid
from bqgate.settings.shipped import shipped_file

_TABLES = ("on_demand_usd_per_tib", "editions_usd_per_slot_hour")


def prices_path() -> Path:
    """Where the list prices are."""
    return shipped_file("prices.yaml")


def load_price_tables(path: Path) -> PriceTables:
    """Nano-dollars per TiB by location and per slot-hour by edition.

    Raises:
        SettingsInvalid: the file is not there or not such a table.
    """
    try:
        tree, faults = parse_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsInvalid([Fault(str(path), f"cannot be read: {error}; reinstall bqgate")]) from error
    tables: list[dict[str, int]] = []
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
    return PriceTables(*tables)
