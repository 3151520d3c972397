from benchmarks.gated.soak import LIMITS, SAMPLES, growths


def samples_of(name: str, values: list[float]) -> list[dict[str, float]]:
    return [dict.fromkeys(LIMITS, 0.0) | {name: value} for value in values]


def test_growth_in_the_warm_up_is_none() -> None:
    """Caches fill in the first third of a soak; what counts is behind it."""
    values = [min(100.0 + 5 * at, 200.0) for at in range(SAMPLES)]
    memory = next(each for each in growths(samples_of("memory MiB", values)) if each.name == "memory MiB")
    assert (memory.before, memory.after, memory.is_within) == (200.0, 200.0, True)


def test_what_goes_on_growing_is_told() -> None:
    """A fifth of a MiB in each sample is more than 3 % between the first and the last behind the warm-up."""
    values = [100.0 + 0.2 * at for at in range(SAMPLES)]
    found = {each.name: each.is_within for each in growths(samples_of("memory MiB", values))}
    assert found.pop("memory MiB") is False
    assert all(found.values())
