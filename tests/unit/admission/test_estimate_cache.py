import random

from bqgate.admission.estimates.estimate_cache import EstimateCache
from bqgate.domain.job import Estimate
from bqgate.domain.touched import EVERYTHING, reads_of, touched_names


def of(*tables: str) -> Estimate:
    """A dry run that names these tables."""
    return Estimate(1, "SELECT", len(tables), referenced_tables=tables)


def keep(kept: EstimateCache, key: str, *tables: str) -> None:
    """Keep an estimate of these tables for a minute from 0 on."""
    kept.keep(key, of(*tables), reads_of(of(*tables), "p"), expires_s=60)


def test_an_estimate_is_kept_for_its_time() -> None:
    """Not a moment longer."""
    kept = EstimateCache(max_entries=2)
    keep(kept, "a", "p.d.t")
    assert kept.get("a", 59.9) == of("p.d.t")
    assert kept.get("a", 60) is None
    assert kept.get("b", 0) is None


def test_the_oldest_goes_first() -> None:
    """An estimate that is made anew counts as new."""
    kept = EstimateCache(max_entries=2)
    for key in ("a", "b", "a", "c"):
        keep(kept, key, "p.d.t")
    assert [kept.get(key, 0) is not None for key in "abc"] == [True, False, True]


def test_the_index_finds_what_a_look_at_each_would_find() -> None:
    """Any write drops just those that it may have changed, and nothing is left behind of what went."""
    rng = random.Random(9)
    names = [f"{p}.{d}.{t}" for p in ("p", "q") for d in ("d", "e") for t in ("t", "u", "ev_1", "ev_*", "ev_2")]
    metadata = ["p.d.INFORMATION_SCHEMA.TABLES"]
    for _ in range(300):
        kept = EstimateCache(max_entries=20)
        reads = {}
        for number in range(25):
            tables = tuple(rng.sample([*names, *metadata], rng.randint(0, 4)))
            keep(kept, str(number), *tables)
            reads[str(number)] = reads_of(of(*tables), "p")
        touched = touched_names(rng.sample(["p.d.t", "q.e.ev_1", "q.e", "p.e.u", "q", "z", "p.d.new"], 2))
        alive = {key for key in reads if kept.get(key, 0) is not None}
        doomed = {key for key in alive if reads[key].may_change_by(touched)}
        assert kept.drop(touched) == len(doomed)
        assert {key for key in reads if kept.get(key, 0) is not None} == alive - doomed
        kept.drop(EVERYTHING)
        assert (0, {}) == (len(kept), kept._index)


def test_forgetting_takes_it_out_of_the_index() -> None:
    """Forgotten one by one, nothing is left either."""
    kept = EstimateCache(max_entries=10)
    keep(kept, "a", "p.d.t", "p.d.ev_*", "p.d.__TABLES__")
    kept.forget("a")
    kept.forget("a")
    assert (0, {}) == (len(kept), kept._index)


def test_all_estimates_of_one_query_can_be_dropped() -> None:
    """Whoever asked; those of other queries stay."""
    kept = EstimateCache(max_entries=9)
    for key, query in (("ann", "q"), ("bob", "q"), ("eve", "r")):
        kept.keep(key, of("p.d.t"), reads_of(of("p.d.t"), "p"), expires_s=60, query=query)
    kept.drop_query("q")
    kept.drop_query("unknown")
    assert [kept.get(key, 0) is not None for key in ("ann", "bob", "eve")] == [False, False, True]
