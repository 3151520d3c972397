from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import yaml

from bqgate.admission.sizing import UnknownEstimate
from bqgate.domain.budget import Period
from bqgate.domain.money import parse_usd
from bqgate.domain.principal import Role
from bqgate.domain.tier import DEFAULT_THRESHOLDS, Mode, Threshold, ThresholdAction
from bqgate.domain.units import GIB
from bqgate.settings import Settings, SettingsInvalid, load_settings
from bqgate.settings.sections import UnknownTables

EXAMPLE = Path(__file__).parents[3] / "config" / "bqgate.example.yaml"


def load(tmp_path: Path, text: str, environ: dict[str, str] | None = None) -> Settings:
    """Settings from a YAML text."""
    file = tmp_path / "bqgate.yaml"
    file.write_text(text, encoding="utf-8")
    return load_settings(file, environ or {})


def faults(tmp_path: Path, text: str, environ: dict[str, str] | None = None) -> list[str]:
    """The faults of a YAML text, as they are shown."""
    with pytest.raises(SettingsInvalid) as caught:
        load(tmp_path, text, environ)
    return [str(fault) for fault in caught.value.faults]


def test_without_anything_the_three_tiers_are_the_customers_table() -> None:
    """The built-in limits are those of the design, per day, month and emergency."""
    settings = load_settings(None, {})
    assert settings.customer_registry.default_tier.name == "standard"
    shown = settings.effective["tiers"]
    assert {name: (tier["daily_usd"], tier["monthly_usd"], tier["emergency_usd"]) for name, tier in shown.items()} == {
        "standard": ("10.00", "300.00", "50.00"),
        "premium": ("50.00", "1500.00", "200.00"),
        "enterprise": ("200.00", "6000.00", "1000.00"),
    }
    assert settings.customer_registry.default_tier.thresholds == DEFAULT_THRESHOLDS


def test_the_example_becomes_customers_of_the_domain() -> None:
    """Tier, mode, time zone and projects arrive where decisions are made."""
    customer_registry = load_settings(EXAMPLE, {}).customer_registry
    acme, initech = customer_registry.customer("acme"), customer_registry.customer("initech")
    assert (acme.tier.name, acme.tier.daily_nanos, acme.zone) == (
        "premium",
        parse_usd("50"),
        ZoneInfo("America/New_York"),
    )
    assert (initech.tier.name, initech.mode) == ("standard", Mode.OBSERVE)
    assert customer_registry.owner_of("acme-dev") == "acme"
    day, _ = acme.windows(datetime(2026, 11, 24, 3, tzinfo=UTC))
    assert (day.period, day.key) == (Period.DAY, "2026-11-23")


def test_a_file_changes_single_keys_of_a_built_in_tier(tmp_path: Path) -> None:
    """Who writes one key keeps the others, and the other tiers."""
    settings = load(tmp_path, 'tiers: {standard: {daily_usd: "20"}}')
    assert settings.customer_registry.default_tier.daily_nanos == parse_usd("20")
    assert settings.customer_registry.default_tier.monthly_nanos == parse_usd("300")
    assert set(settings.effective["tiers"]) == {"standard", "premium", "enterprise"}


def test_a_tier_of_ones_own_has_its_thresholds(tmp_path: Path) -> None:
    """A new tier can be the default of everybody; whole numbers need no quotes."""
    settings = load(
        tmp_path,
        """
        tiers:
          trial:
            {daily_usd: 1, monthly_usd: 5, emergency_usd: 1, query_usd: "0.25", throttle_wait_ms: 500,
             thresholds: [{used_ratio: "0.333333", action: throttle}]}
        defaults: {tier: trial, mode: observe}
        """,
    )
    tier = settings.customer_registry.customer("whoever").tier
    assert (tier.name, tier.query_nanos, tier.throttle_wait_ms) == ("trial", 250_000_000, 500)
    assert tier.thresholds == (Threshold(333_333, ThresholdAction.THROTTLE),)
    assert settings.customer_registry.customer("whoever").mode is Mode.OBSERVE


def test_admission_becomes_rules_of_the_domain(tmp_path: Path) -> None:
    """Ratios are parts per million, GiB are bytes."""
    settings = load(
        tmp_path,
        """
        admission:
          {headroom_ratio: "0.125", unknown_estimate: reject, unknown_hold_gib: 7, slot_ms_per_gib: 3,
           slot_prior_weight_gib: 0, estimate_ttl_s: 5, estimate_cache_entries: 9, dry_runs_max: 2}
        settlement: {poll_first_ms: 10, poll_longest_ms: 20}
        """,
    )
    rules = settings.hold_rules
    assert (rules.headroom_ppm, rules.unknown, rules.unknown_hold_bytes) == (125_000, UnknownEstimate.REJECT, 7 * GIB)
    assert (rules.slot_prior.slot_ms_per_gib, rules.slot_prior.weight_gib) == (3, 0)
    caching = settings.estimate_caching
    assert (caching.ttl_s, caching.max_entries, caching.max_dry_runs) == (5, 9, 2)
    assert (settings.patience.first_delay_ms, settings.patience.longest_delay_ms) == (10, 20)


def test_what_check_config_shows_can_be_loaded_again(tmp_path: Path) -> None:
    """The effective settings, written down, have the same effect."""
    settings = load_settings(EXAMPLE, {})
    again = load(tmp_path, yaml.safe_dump(dict(settings.effective)))
    assert again == settings


def test_all_faults_come_at_once_with_their_paths(tmp_path: Path) -> None:
    """Faults of the file's form, of single keys, of several keys together and of the environment in one report."""
    found = faults(
        tmp_path,
        """
        server: {port: 8080, port: 80800, control_port: yes}
        tiers: {standard: {daily_usd: 1.5}, premium: {daily_usd: "90000"}}
        customers: {acme: {tier: gold, zone: UTC}, globex: {tier: gold}}
        sever: {}
        """,
        {"BQGATE_LEDGER__URL": "mysql://x", "BQGATE_NOWHERE__KEY": "1"},
    )
    paths = [line.split(": ")[0] for line in found]
    assert paths == [
        "line 2",
        "BQGATE_NOWHERE__KEY",
        "sever",
        "server.port",
        "server.control_port",
        "ledger.url",
        "tiers.standard.daily_usd",
        "customers.acme.zone",
        "tiers.premium.daily_usd",
        "tiers.premium.emergency_usd",
        "customers.globex.tier",
    ]


def test_a_faulty_tier_is_not_called_unknown(tmp_path: Path) -> None:
    """One mistake is one fault: customers of a tier with a slip in it are not reported too."""
    assert len(faults(tmp_path, "tiers: {standard: {daily_usd: 1.5}}\ncustomers: {acme: {tier: standard}}")) == 1


def test_no_message_quotes_a_password(tmp_path: Path) -> None:
    """Whatever is wrong with a URL, its password is not in the report."""
    for text in (
        'budgets: {url: "memcached://me:hunter2@cache"}',
        'ledger: {url: "mysql://me:hunter2@db"}',
        'upstream: {url: "https://me:hunter2@host"}',
        'upstream: {url: "https://me:hunter2@host:notaport"}',
        'budgets: {uri: "redis://me:hunter2@cache"}',
        'budgets: "redis://me:hunter2@cache"',
    ):
        assert "hunter2" not in "\n".join(faults(tmp_path, text))


def test_settings_do_not_show_passwords() -> None:
    """The repr of settings may end in a traceback, so it is masked."""
    settings = load_settings(None, {"BQGATE_BUDGETS__URL": "redis://:hunter2@cache"})
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in str(settings.budgets)
    assert settings.budgets.url.reveal() == "redis://:hunter2@cache"


SECRET = "hunter2.Zm9vYmFyYmF6cXV4.kw81LpQe37Tn"


def test_secrets_of_identity_are_masked() -> None:
    """Neither the effective settings nor a repr show what signs tokens; the one who signs gets it."""
    environ = {
        "BQGATE_IDENTITY__MODE": "required",
        "BQGATE_IDENTITY__TOKEN_SECRET": SECRET,
        "BQGATE_IDENTITY__PREVIOUS_TOKEN_SECRET": SECRET[::-1],
    }
    settings = load_settings(None, environ)
    assert (settings.effective["identity"]["token_secret"], settings.warnings) == ("*****", ())
    for shown in (repr(settings), str(settings.identity), str(settings.effective), settings.identity.model_dump_json()):
        assert "hunter2" not in shown
        assert SECRET[::-1] not in shown
    assert settings.identity.token_secret is not None
    assert settings.identity.token_secret.reveal() == SECRET


def test_callers_and_their_data_reach_the_domain(tmp_path: Path) -> None:
    """Addresses, data, accounts and shared projects of the file are where identity and isolation look."""
    settings = load(
        tmp_path,
        """
        upstream: {credentials: service_account}
        isolation: {shared_projects: [pool], unknown_tables: allow}
        issuers: {corp: {issuer: "https://login.example.com/", audience: gate, roles: [super_admin]}}
        customers:
          acme:
            {projects: [acme-prod], principals: [Acme.example, ann@globex.example], data: [],
             service_account: bq@acme-prod.iam.gserviceaccount.com}
        """,
        {"BQGATE_ISSUERS__CORP__ROLE_CLAIM": "https://example.com/role"},
    )
    acme = settings.customer_registry.customer("acme")
    assert (acme.projects, acme.data) == (("acme-prod",), ())
    assert acme.account == "bq@acme-prod.iam.gserviceaccount.com"
    assert settings.customer_registry.customer_id_of_email("BOB@acme.EXAMPLE") == "acme"
    assert settings.customer_registry.customer_id_of_email("ann@globex.example") == "acme"
    assert settings.customer_registry.shared_projects == {"pool"}
    assert settings.isolation.unknown_tables is UnknownTables.ALLOW
    issuer = settings.issuers["corp"]
    assert (issuer.issuer, issuer.role_claim, issuer.roles) == (
        "https://login.example.com/",
        "https://example.com/role",
        (Role.SUPER_ADMIN,),
    )


@pytest.mark.parametrize(
    ("environ", "warned"),
    [
        ({"BQGATE_IDENTITY__PUBLIC_URL": "http://bq.example.com"}, "identity.public_url"),
        (
            {
                "BQGATE_SERVER__HOST": "0.0.0.0",
                "BQGATE_IDENTITY__MODE": "required",
                "BQGATE_IDENTITY__TOKEN_SECRET": SECRET,
            },
            "server.host",
        ),
        ({"BQGATE_SERVER__HOST": "0.0.0.0"}, "server.host"),
        ({"BQGATE_SERVER__TRUSTED_PROXIES": "10.0.0.1, 0.0.0.0/0"}, "server.trusted_proxies"),
        ({"BQGATE_UPSTREAM__CREDENTIALS": "anonymous"}, "upstream.credentials"),
        ({"BQGATE_UPSTREAM__URL": "http://bigquery.example.com"}, "upstream.url"),
        ({"BQGATE_BUDGETS__URL": "redis://cache"}, "ledger.url"),
        (
            {"BQGATE_PRICING__MODEL": "on_demand", "BQGATE_PRICING__USD_PER_SLOT_HOUR": "1"},
            "pricing.usd_per_slot_hour",
        ),
        ({"BQGATE_PRICING__MODEL": "capacity", "BQGATE_PRICING__USD_PER_TIB": "1"}, "pricing.usd_per_tib"),
    ],
)
def test_what_is_probably_not_meant_is_a_warning(environ: dict[str, str], warned: str) -> None:
    """Each doubtful setting is named, and the gate may still start."""
    [warning] = load_settings(None, environ).warnings
    assert warning.startswith(f"{warned}: ")


@pytest.mark.parametrize(
    ("credentials", "mode"), [("caller", "required"), ("caller", "open"), ("anonymous", "required")]
)
def test_a_customer_that_nothing_is_charged_to_is_a_warning(tmp_path: Path, credentials: str, mode: str) -> None:
    """Where Google's tokens say who calls, a project is nobody's for being called like a customer."""
    text = "customers: {acme-prod: {}, globex: {projects: [globex-prod]}, initech: {principals: [initech.example]}}"
    environ = {
        "BQGATE_UPSTREAM__URL": "http://127.0.0.1:9050",
        "BQGATE_UPSTREAM__CREDENTIALS": credentials,
        "BQGATE_IDENTITY__MODE": mode,
        "BQGATE_IDENTITY__TOKEN_SECRET": SECRET,
    }
    warned = [each for each in load(tmp_path, text, environ).warnings if "charged" in each]
    expected = ["customers.acme-prod"] if (credentials, mode) == ("caller", "required") else []
    assert [each.partition(":")[0] for each in warned] == expected


def test_several_workers_over_redis_need_no_warning() -> None:
    """Workers share budgets and metrics, and a port that the system chooses."""
    environ = {
        "BQGATE_SERVER__WORKERS": "4",
        "BQGATE_SERVER__PORT": "0",
        "BQGATE_BUDGETS__URL": "redis://c",
        "BQGATE_LEDGER__URL": "postgresql://d",
    }
    assert not load_settings(None, environ).warnings


def test_https_on_a_network_needs_no_warning(tmp_path: Path) -> None:
    """Identity required, and a certificate: nothing is in the clear, and nobody is trusted unseen."""
    certificate = tmp_path / "cert.pem"
    certificate.write_text("any", encoding="utf-8")
    environ = {
        "BQGATE_SERVER__HOST": "0.0.0.0",
        "BQGATE_SERVER__TLS_CERT_FILE": str(certificate),
        "BQGATE_SERVER__TLS_KEY_FILE": str(certificate),
        "BQGATE_IDENTITY__MODE": "required",
        "BQGATE_IDENTITY__TOKEN_SECRET": SECRET,
        "BQGATE_IDENTITY__PUBLIC_URL": "https://bq.example.com/",
    }
    settings = load_settings(None, environ)
    assert settings.warnings == ()
    assert settings.identity.public_url == "https://bq.example.com"


def test_loopback_needs_no_warning() -> None:
    """The default, and the sandbox on this machine, are what they are meant to be."""
    environ = {"BQGATE_UPSTREAM__URL": "http://127.0.0.1:9050", "BQGATE_UPSTREAM__CREDENTIALS": "anonymous"}
    assert load_settings(None, environ | {"BQGATE_SERVER__HOST": "::1"}).warnings == ()


def test_trusted_proxies_are_a_list_in_the_file_and_a_text_in_the_environment(tmp_path: Path) -> None:
    """The environment beats the file, and check-config shows them as they are written."""
    text = 'server: {trusted_proxies: ["192.0.2.1"]}'
    assert load(tmp_path, text).effective["server"]["trusted_proxies"] == ["192.0.2.1/32"]
    settings = load(tmp_path, text, {"BQGATE_SERVER__TRUSTED_PROXIES": "10.0.0.0/8,fd00::/8"})
    assert [str(network) for network in settings.server.trusted_proxies] == ["10.0.0.0/8", "fd00::/8"]


def test_names_are_a_list_in_the_file_and_a_text_in_the_environment(tmp_path: Path) -> None:
    """In one spelling, however they are written."""
    settings = load(tmp_path, "server: {allowed_hosts: [Gate.example., '*.Below.example']}")
    assert settings.effective["server"]["allowed_hosts"] == ["gate.example", "*.below.example"]
    environ = {"BQGATE_SERVER__ALLOWED_HOSTS": "gate.example, front.example"}
    assert load_settings(None, environ).server.allowed_hosts == ("gate.example", "front.example")


def test_every_name_before_an_open_gate_is_a_warning() -> None:
    """Also on loopback, where a browser reaches it; on a network the warning says where names belong."""
    [warning] = load_settings(None, {"BQGATE_SERVER__ALLOWED_HOSTS": "*"}).warnings
    assert warning.startswith("server.allowed_hosts: ")
    [warning] = load_settings(None, {"BQGATE_SERVER__HOST": "0.0.0.0"}).warnings
    assert "server.allowed_hosts" in warning
