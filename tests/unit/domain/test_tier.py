from bqgate.domain.tier import Customer, Directory, Mode, Tier

STANDARD = Tier("standard", 10, 300, 50)
PREMIUM = Tier("premium", 50, 1_500, 200)
DIRECTORY = Directory(
    customers={"acme": Customer("acme", PREMIUM)}, customer_by_project={"acme-prod": "acme"}, default_tier=STANDARD
)


def test_an_unknown_customer_is_one_of_the_default_tier() -> None:
    """Nobody is unlimited by being unknown."""
    stranger = DIRECTORY.customer("stranger")
    assert ("stranger", STANDARD, Mode.ENFORCE) == (stranger.id, stranger.tier, stranger.mode)


def test_the_customer_is_the_workload_else_the_owner_of_the_project_else_the_project() -> None:
    """Open mode finds who pays from what the URL says."""
    assert DIRECTORY.customer_id_for(project_id="other", workload="acme") == "acme"
    assert DIRECTORY.customer_id_for(project_id="acme-prod", workload="dbt") == "acme"
    assert DIRECTORY.customer_id_for(project_id="other", workload="dbt") == "other"
