import itertools

import pytest

from bqgate.domain.tier import Mode, weaker
from bqgate.policies.compose import compose
from bqgate.policies.models import CustomerPolicy, DefaultsPolicy
from tests.support.policy_scene import make_base

STRENGTH = {Mode.OFF: 0, Mode.OBSERVE: 1, Mode.ENFORCE: 2}


@pytest.mark.parametrize(("own", "deployment"), tuple(itertools.product(Mode, Mode)))
def test_the_weaker_of_customer_and_deployment_holds(own: Mode, deployment: Mode) -> None:
    """For listed customers, with a mode of their own or the default's, and for unlisted ones."""
    base = make_base(
        customers={"acme": CustomerPolicy(mode=own), "globex": CustomerPolicy()},
        defaults=DefaultsPolicy(mode=own, deployment_mode=deployment),
    )
    customer_registry = compose(base, ()).customer_registry
    weakest = min((own, deployment), key=STRENGTH.__getitem__)
    assert {customer_registry.customer(name).mode for name in ("acme", "globex", "unlisted")} == {weakest}
    assert weaker(own, deployment) is weaker(deployment, own) is weakest


def test_a_customer_may_be_weaker_than_its_deployment() -> None:
    """One customer is observed while the others are enforced: so they graduate one by one."""
    base = make_base(customers={"acme": CustomerPolicy(mode=Mode.OBSERVE), "globex": CustomerPolicy()})
    customer_registry = compose(base, ()).customer_registry
    assert (customer_registry.customer("acme").mode, customer_registry.customer("globex").mode) == (
        Mode.OBSERVE,
        Mode.ENFORCE,
    )
