"""Ways that a text has round isolation: what one reader of SQL sees and another does not, and what names no table."""

import pytest

from bqgate.domain.data_scope import DataScope
from bqgate.domain.tier import Customer, Tier
from bqgate.gate.isolation.names import names_others
from bqgate.gate.isolation.text_verdict import judge_text

SCOPE = DataScope.of(
    Customer("acme", Tier("standard", 10, 300, 50), projects=("acme-prod",), data=("gs://acme/in",)), ()
)
PROJECTS = ("acme-prod",)

# What ends a line for some readers of SQL, and what separates words for some.
LINE_ENDS = ["\r", "\b", "\f", "\v", "\u0085", "\u2028", "\u2029", "\x00", "\x1b", "\x1e", "\x9f"]
BLANKS = ["\u00a0", "\u1680", "\u2003", "\u200b", "\u202f", "\u205f", "\u3000", "\ufeff"]


def is_refused(sql: str) -> bool:
    """Whether a plain query of this text is not even asked about."""
    return judge_text(sql, SCOPE, PROJECTS).forbidden is not None


@pytest.mark.parametrize("odd", LINE_ENDS, ids=[f"U+{ord(odd):04X}" for odd in LINE_ENDS])
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM ML.PREDICT(MODEL --{}`victim.ds.m`, TABLE d.t)",
        "SELECT AI.GENERATE('x', --{}connection_id => 'us.c')",
        "CREATE FUNCTION d.f() RETURNS INT64 REMOTE WITH --{}CONNECTION us.c",
        "CREATE TABLE d.t CLONE --{}`victim.ds.t`",
        "CREATE TABLE d.t COPY #{}victim.ds.t",
        "SELECT 1 /*{}*/",
        "SELECT{}1",
        "{}SELECT 1",
        "SELECT 1{}",
    ],
)
def test_no_odd_line_end_hides_anything(sql: str, odd: str) -> None:
    """Control characters and lone returns are refused outside of strings and quoted names, in comments as well."""
    assert is_refused(sql.format(odd))


@pytest.mark.parametrize("odd", BLANKS, ids=[f"U+{ord(odd):04X}" for odd in BLANKS])
@pytest.mark.parametrize(
    "sql", ["SELECT{}1", "{}SELECT 1", "SELECT 1{}", "CREATE TABLE d.t CLONE{}`victim.ds.t`", "SELECT d.{}t", "a{}.b"]
)
def test_no_odd_blank_hides_anything(sql: str, odd: str) -> None:
    """Blanks beyond ASCII are refused outside of strings, quoted names and comments, where no reader ends."""
    assert is_refused(sql.format(odd))


def test_whoever_pastes_an_odd_blank_is_told_where_it_is() -> None:
    """Editors and web pages put them there; line and column are BigQuery's."""
    denied = judge_text("SELECT 1,\n  a\u00a0b", SCOPE, PROJECTS).forbidden
    assert denied is not None
    assert "The character U+00A0 at [2:4], outside of quotes," in str(denied)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT '''naïve \u00a0 \r\n ☃''', \"\u2028\" FROM d.`tä\u00a0ble`\r\n-- ü\u00a0\u3000\t☃\nWHERE a = '\\r'",
        "SELECT a\tFROM d.t -- x",
    ],
)
def test_any_letter_may_stand_where_bigquery_takes_it(sql: str) -> None:
    """In strings, in quoted names, and letters in comments."""
    assert not is_refused(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM EXTERNAL_QUERY('us.c', 'SELECT 1')",
        "SELECT * FROM external_query ('us.c', 'q')",
        "SELECT * FROM `EXTERNAL_QUERY`/**/('us.c', 'q')",
        "SELECT * FROM `\\x45XTERNAL_QUERY`('us.c', 'q')",
        "SELECT AI.GENERATE('x', `connection_id` => 'us.c')",
        "SELECT AI.GENERATE('x', CONNECTION_ID/**/=>'us.c')",
        "SELECT `OBJ`.FETCH_METADATA(r) FROM d.t",
        "SELECT uri.(OBJ.MAKE_REF)('us.c') FROM d.t",
        "SELECT KEYS.KEYSET_CHAIN('gcp-kms://projects/victim/locations/us/keyRings/r/cryptoKeys/k', b'x')",
        "SELECT KEYS.NEW_WRAPPED_KEYSET('gcp-kms://x', 'AEAD_AES_GCM_256')",
        "SELECT `KEYS`.`ROTATE_WRAPPED_KEYSET`('gcp-kms://x', b'x', 'y')",
        "SELECT SAFE.KEYS.REWRAP_KEYSET('gcp-kms://x', 'gcp-kms://y', b'x')",
        "SELECT x.(KEYS.KEYSET_CHAIN)(b'x')",
        "SELECT AI.GENERATE('x', endpoint => 'https://x/projects/victim/endpoints/1')",
        "SELECT AI.GENERATE('x', endpoint => 'projects' '/victim/endpoints/1')",
        "SELECT AI.GENERATE('x', endpoint => CONCAT('projects', '/victim'))",
        "SELECT AI.GENERATE('x', endpoint => @p)",
        "SELECT AI.GENERATE('x', `endpoint` => 'a\\x2fb')",
        "SELECT * FROM ML.PREDICT(MODEL/**/victim.ds.m, TABLE d.t)",
        "SELECT * FROM ML.PREDICT(MODEL `victim`.`ds`.m, TABLE d.t)",
        "SELECT 1.5.(victim.ds.f)()",
        "SELECT 'x'.(victim.ds.f)()",
        "GRAPH victim.ds.g MATCH (n) RETURN n",
        "SELECT * FROM GRAPH_TABLE(victim.ds.g MATCH (n) RETURN n)",
        "SELECT * FROM graph_table/**/( `victim`.ds.g MATCH (n) RETURN n)",
        "SELECT SAFE.victim.ds.f(1), SAFE.NET.HOST(x)",
        "SELECT `SAFE`.`victim-prod`.ds.f(1)",
        "SELECT x.(SAFE.victim.ds.f)()",
        "SELECT a-KEYS.KEYSET_CHAIN('gcp-kms://x', b'x') FROM d.t",
        "SELECT t.a-OBJ.FETCH_METADATA(r).version FROM d.t",
        "SELECT t.a-victim.ds.f(1) FROM d.t",
        "SELECT AI.GENERATE('x', model_params => JSON '{\"cachedContent\":\"projects/victim/x\"}')",
        "SELECT AI.GENERATE('x', model_params => JSON r'{\"cachedContent\":\"\\u0070rojects/victim/x\"}')",
        "SELECT AI.GENERATE('x', model_params => JSON r'{\"cachedContent\":\"projects\\/victim/x\"}')",
        "SELECT AI.GENERATE('x', `MODEL_PARAMS` => JSON '{\"uri\":\"gs://victim/x\"}')",
        "SELECT AI.GENERATE('x', model_params => PARSE_JSON(@p))",
        "SELECT AI.GENERATE('x', model_params => JSON '{}' '{}')",
        "SELECT AI.GENERATE(('x', STRUCT('gs://victim/x' AS uri, '' AS version, 'us.c' AS authorizer)))",
        "SELECT * FROM ML.GENERATE_TEXT(MODEL d.m, (SELECT ('\\x67s://victim/x', 'what is it') AS prompt))",
        "CREATE FUNCTION d.f() RETURNS INT64 LANGUAGE python OPTIONS(entry_point='f') AS 'def f(): return 1'",
        "CREATE FUNCTION d.f() RETURNS INT64 LANGUAGE/**/`Python` AS ''",
        "SELECT * FROM my-victim-1./**/ds.INFORMATION_SCHEMA.TABLES",
        "SELECT * FROM my-victim-1.`ds`.INFORMATION_SCHEMA.TABLES",
        "SELECT 'without an end",
        "SELECT µ",
    ],
)
def test_what_reaches_other_systems_keys_and_customers_is_refused(sql: str) -> None:
    """However it is spelled: connections, keys of Cloud KMS, endpoints elsewhere, others' models and routines."""
    assert is_refused(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT KEYS.NEW_KEYSET('AEAD_AES_GCM_256'), keys.keyset_to_json(k) FROM d.t",
        "SELECT AI.GENERATE('x', endpoint => 'gemini-2.0-flash')",
        'SELECT AI.GENERATE(a, model_params => JSON \'{"labels": {"a": "b"}}\', endpoint => \'gemini-2.0-flash\')',
        "SELECT AI.GENERATE(('what is it', STRUCT('gs://acme/in/x' AS uri)), model_params => NULL)",
        "SELECT * FROM GRAPH_TABLE(d.g MATCH (n) RETURN n) JOIN victims USING (n)",
        "SELECT SAFE.d.f(1), SAFE.NET.HOST(u), SAFE.`acme-prod`.d.f(1), a-NET.HOST(u), t.a-d.f(1) FROM d.t",
        "SELECT language, t.language python FROM d.t",
        "SELECT endpoint, connection_id FROM d.t WHERE endpoint = 'a/b'",
        "SELECT * FROM `ML`.`PREDICT`(MODEL `d`.m, TABLE d.t)",
        "SELECT options, o.uri FROM d.t o WHERE uri = 'gs://victim/x'",
        "SELECT WITH DIFFERENTIAL_PRIVACY OPTIONS(epsilon=1.0, delta=1e-5, privacy_unit_column=id) SUM(a) FROM d.t",
        "SELECT external_query, obj.x FROM d.t AS obj",
    ],
)
def test_good_queries_pass(sql: str) -> None:
    """Names alone are no calls, and a local function is nobody's key."""
    assert not is_refused(sql)


@pytest.mark.parametrize(
    "options",
    [
        "library='gs://victim/x.js'",
        "library=['gs://acme/in/x.js', 'gs://victim/x.js']",
        "LIBRARY = '\\x67s://victim/x.js'",
        "library='\\u0067s://victim/x.js'",
        "library='gs\\x3a//victim/x.js'",
        'library="""gs:\\057/victim/x.js"""',
        "library='gs://acme/in' '-victim/x.js'",
        "library=CONCAT('g', 's://victim/x.js')",
        "library=@p",
        "library=x",
        "`library`='gs://victim/x.js'",
        "library/**/=/**/'gs://victim/x.js'",
        "description='x', library='gs://victim/x.js'",
        "labels=[('a','b')], library=@p",
        "model_path='\\x67s://victim/m/*'",
        "model_path='s3://victim/m/*'",
        "model_path='gs://acme/in/../../victim'",
        "uris=['gs://acme/in/x', @p]",
        "hive_partition_uri_prefix='gs://acme/'",
        "uris += ['gs://victim/x']",
        "library += CONCAT('g', 's://victim/x.js')",
        "FROM STRUCT('x' AS library)",
        "kms_key_name='projects/victim/locations/us/keyRings/r/cryptoKeys/k'",
        "kms_key_name='project\\x73/victim/locations/us/keyRings/r/cryptoKeys/k'",
        "kms_key_name=@p",
        "anything='projects/victim/x'",
        "anything='\\x67s://victim/x'",
        "anything='a' 'b'",
        "anything='\\q'",
    ],
)
@pytest.mark.parametrize(
    "sql",
    ["CREATE MODEL d.m OPTIONS({}) AS SELECT 1", "CREATE TEMP FUNCTION f() AS (1) OPTIONS ( {} ) ; SELECT f()"],
)
def test_no_option_leads_out_of_the_scope(sql: str, options: str) -> None:
    """Files and keys are compared as BigQuery reads them, and must be written as plain strings."""
    assert is_refused(sql.format(options))


@pytest.mark.parametrize(
    "options",
    [
        "library='gs://acme/in/x.js', description='a b'",
        "library=['gs://acme/in/x.js', r'gs://acme/in/y.js']",
        "library='\\x67s://acme/in/x.js'",
        "model_type='LINEAR_REG', input_label_cols=['y'], l2_reg=0.1, num_trials=5, hparam=HPARAM_RANGE(0.1, 1.0)",
        "expiration_timestamp=TIMESTAMP '2030-01-01', labels=[('team', 'ads')]",
        "kms_key_name='projects/acme-prod/locations/us/keyRings/r/cryptoKeys/k'",
        "",
    ],
)
def test_own_files_keys_and_plain_options_pass(options: str) -> None:
    """What the scope lists, however it is spelled, and what names no resource."""
    assert not is_refused(f"CREATE MODEL d.m OPTIONS({options}) AS SELECT uri FROM d.t WHERE uri = x")


@pytest.mark.parametrize(
    "sql", ["CREATE MODEL d.m OPTIONS(x='gs://acme/in/m/*')", "CREATE TABLE d.t (a STRING DEFAULT 'gs://acme/in')"]
)
def test_own_files_may_be_named_anywhere(sql: str) -> None:
    """In a definition."""
    assert judge_text(sql, SCOPE, PROJECTS).files is None


def test_files_of_others_are_found_anywhere_in_a_definition() -> None:
    """Also outside of OPTIONS, as BigQuery reads the string."""
    assert judge_text("CREATE TABLE d.t (a STRING DEFAULT '\\x67s://victim/x')", SCOPE, PROJECTS).files is not None


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT nam FROM [victim:ds.t]",
        "// '\nSELECT nam FROM [victim:ds.t] // '",
        'SELECT """", nam FROM [victim:ds.t] WHERE a = """"',
        "SELECT '\\', nam FROM [victim:ds.t] WHERE a = '\\'",
        "SELECT nam FROM TABLE_DATE_RANGE([victim:ds.t], x, y)",
    ],
)
def test_legacy_sql_hides_no_name_in_what_is_a_string_in_googlesql(sql: str) -> None:
    """Its strings and comments are other ones, so that names in them count before BigQuery's message is shown."""
    verdict = judge_text(sql, SCOPE, PROJECTS, may_be_legacy=True)
    assert verdict.forbidden is not None or verdict.names is not None


def test_legacy_sql_of_ones_own_is_no_worse() -> None:
    """Plain legacy SQL passes, with its messages."""
    verdict = judge_text(
        "SELECT a, 'x' FROM [acme-prod:d.t] # so\nWHERE b = \"y\"", SCOPE, PROJECTS, may_be_legacy=True
    )
    assert (verdict.forbidden, verdict.names) == (None, None)


@pytest.mark.parametrize(
    ("message", "is_others"),
    [
        ("Not found: Table victim:secret.plans was not found in location US", True),
        ("Not found: Dataset victim:secret was not found in location US", True),
        ("Access Denied: Table example.com:victim:secret.plans: User does not have permission", True),
        ("Routine not found: victim.secret.f; Did you mean acme-prod.d.f? at [1:8]", True),
        ("Table `victim.secret.plans` has no column x", True),
        ("Not found: Table 123456789012:secret.plans", True),
        ("Function not found: `victim`.secret.f", True),
        ("Not found: Dataset 'victim':'secret'", True),
        ("Not found: Connection projects/victim/locations/us/connections/c", True),
        ("Not found: Files /gs/victim/secret/x.csv", True),
        ("Cannot read gs://victim/secret/x.csv", True),
        ("Cannot read gs://acme/in/x.csv", False),
        ("Not found: Table acme-prod:d.t was not found in location US", False),
        ("Unrecognized name: nam; Did you mean name? at [1:8]", False),
        ("Syntax error: Unexpected end of script at [10:15]; see https://cloud.google.com/bigquery/docs/x.y.z", False),
        ("Invalid timestamp: '2024-01-01 10:15:00.123'", False),
        ("", False),
    ],
)
def test_a_message_that_names_what_is_others_is_known(message: str, *, is_others: bool) -> None:
    """A view or a routine of one's own may reach for it; BigQuery's message would tell that it is there."""
    assert names_others(message, SCOPE) == is_others
