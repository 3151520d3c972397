-- GoogleSQL functions whose DuckDB namesakes behave otherwise. bq_x_or_null is what SAFE_CAST and SAFE_OFFSET want.
CREATE OR REPLACE MACRO bq_float_to_int(x) AS CAST(round(x) AS BIGINT);
CREATE OR REPLACE MACRO bq_float_to_int_or_null(x) AS TRY_CAST(round(x) AS BIGINT);
CREATE OR REPLACE MACRO bq_string_to_int(s) AS
  CASE WHEN s IS NULL THEN NULL WHEN regexp_full_match(s, '\s*[+-]?[0-9]+\s*') THEN CAST(trim(s) AS BIGINT)
       ELSE error('Bad int64 value: ' || s) END;
CREATE OR REPLACE MACRO bq_string_to_int_or_null(s) AS
  CASE WHEN regexp_full_match(s, '\s*[+-]?[0-9]+\s*') THEN TRY_CAST(trim(s) AS BIGINT) END;
CREATE OR REPLACE MACRO bq_string_to_bool(s) AS
  CASE WHEN s IS NULL THEN NULL WHEN lower(s) = 'true' THEN TRUE WHEN lower(s) = 'false' THEN FALSE
       ELSE error('Bad bool value: ' || s) END;
CREATE OR REPLACE MACRO bq_string_to_bool_or_null(s) AS
  CASE lower(s) WHEN 'true' THEN TRUE WHEN 'false' THEN FALSE END;
CREATE OR REPLACE MACRO bq_float_to_string(x) AS
  CASE WHEN abs(x) >= 1e15 OR (x <> 0 AND abs(x) < 1e-4) THEN error('not supported: the text of a very large or small FLOAT64')
       ELSE regexp_replace(CAST(x AS VARCHAR), '\.0$', '') END;
CREATE OR REPLACE MACRO bq_decimal_to_string(x) AS regexp_replace(CAST(x AS VARCHAR), '\.?0+$', '');
CREATE OR REPLACE MACRO bq_time_to_string(x) AS
  CASE WHEN contains(CAST(x AS VARCHAR), '.') THEN error('not supported: the text of a time with a fraction of a second')
       ELSE CAST(x AS VARCHAR) END;
CREATE OR REPLACE MACRO bq_at(items, i) AS
  CASE WHEN items IS NULL OR i IS NULL THEN NULL
       WHEN i < 0 THEN error('Array index ' || i || ' is out of bounds (underflow)')
       WHEN i >= len(items) THEN error('Array index ' || i || ' is out of bounds (overflow)')
       ELSE list_extract(items, i + 1) END;
CREATE OR REPLACE MACRO bq_at_or_null(items, i) AS
  CASE WHEN i < 0 OR i >= len(items) THEN NULL ELSE list_extract(items, i + 1) END;
CREATE OR REPLACE MACRO bq_substr(s, p) AS substring(s, CASE WHEN p = 0 OR p < -length(s) THEN 1 ELSE p END);
CREATE OR REPLACE MACRO bq_substr_of(s, p, n) AS
  CASE WHEN n < 0 THEN error('Third argument in SUBSTR() cannot be negative')
       ELSE substring(s, CASE WHEN p = 0 OR p < -length(s) THEN 1 ELSE p END, n) END;
CREATE OR REPLACE MACRO bq_left(s, n) AS
  CASE WHEN n < 0 THEN error('Second argument in LEFT() cannot be negative') ELSE left(s, n) END;
CREATE OR REPLACE MACRO bq_right(s, n) AS
  CASE WHEN n < 0 THEN error('Second argument in RIGHT() cannot be negative') ELSE right(s, n) END;
CREATE OR REPLACE MACRO bq_trim(s) AS trim(s, ' ' || chr(9) || chr(10) || chr(11) || chr(12) || chr(13) || chr(160));
CREATE OR REPLACE MACRO bq_ltrim(s) AS ltrim(s, ' ' || chr(9) || chr(10) || chr(11) || chr(12) || chr(13) || chr(160));
CREATE OR REPLACE MACRO bq_rtrim(s) AS rtrim(s, ' ' || chr(9) || chr(10) || chr(11) || chr(12) || chr(13) || chr(160));
CREATE OR REPLACE MACRO bq_regexp_extract(s, p, g) AS list_extract(regexp_extract_all(s, p, g), 1);
CREATE OR REPLACE MACRO bq_floor_div(x, n) AS CASE WHEN x % n < 0 THEN x // n - 1 ELSE x // n END;
CREATE OR REPLACE MACRO bq_divide(a, b) AS
  CASE WHEN b = 0 THEN error('division by zero: ' || a || ' / ' || b) ELSE a / b END;
CREATE OR REPLACE MACRO bq_safe_divide(a, b) AS CASE WHEN b = 0 THEN NULL ELSE a / b END;
CREATE OR REPLACE MACRO bq_json_value(j, p) AS
  CASE WHEN json_type(j, p) IN ('OBJECT', 'ARRAY') THEN NULL ELSE json_extract_string(j, p) END;
CREATE OR REPLACE MACRO bq_week_trunc(d, shift) AS
  CAST(date_trunc('week', CAST(d AS TIMESTAMP) - to_days(shift)) + to_days(shift) AS DATE);
