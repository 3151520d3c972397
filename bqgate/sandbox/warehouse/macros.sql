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
CREATE OR REPLACE MACRO bq_fraction(t) AS
  CASE WHEN epoch_us(t) % 1000000 = 0 THEN '' WHEN epoch_us(t) % 1000 = 0 THEN '.' || strftime(t, '%g') ELSE '.' || strftime(t, '%f') END;
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
CREATE OR REPLACE MACRO bq_timestamp_to_string(t) AS
  strftime(t, '%Y-%m-%d %H:%M:%S') || bq_fraction(t) || '+00';
CREATE OR REPLACE MACRO bq_json_timestamp(t) AS
  to_json(strftime(t, '%Y-%m-%dT%H:%M:%S') || bq_fraction(t) || 'Z');
CREATE OR REPLACE MACRO bq_json_datetime(t) AS to_json(strftime(t, '%Y-%m-%dT%H:%M:%S') || bq_fraction(t));
CREATE OR REPLACE MACRO bq_json_date(d) AS to_json(CAST(d AS VARCHAR));
CREATE OR REPLACE MACRO bq_json_bytes(b) AS to_json(to_base64(b));
CREATE OR REPLACE MACRO bq_json_integer(x) AS to_json(x);
CREATE OR REPLACE MACRO bq_json_integer_text(x) AS
  CASE WHEN abs(CAST(x AS HUGEINT)) > 9007199254740992 THEN to_json(CAST(x AS VARCHAR)) ELSE to_json(x) END;
CREATE OR REPLACE MACRO bq_json_decimal(x) AS json(bq_decimal_to_string(x));
CREATE OR REPLACE MACRO bq_json_decimal_text(x) AS
  CASE WHEN abs(x) > 9007199254740992 OR x <> trunc(x) THEN to_json(bq_decimal_to_string(x))
       ELSE json(bq_decimal_to_string(x)) END;
CREATE OR REPLACE MACRO bq_json_float(x) AS
  CASE WHEN isnan(x) THEN to_json('NaN') WHEN isinf(x) THEN to_json(CASE WHEN x > 0 THEN 'Infinity' ELSE '-Infinity' END)
       ELSE to_json(CAST(x AS DOUBLE)) END;
CREATE OR REPLACE MACRO bq_json_float_text(x) AS
  CASE WHEN isnan(x) OR isinf(x) THEN bq_json_float(x) ELSE json(regexp_replace(CAST(CAST(x AS DOUBLE) AS VARCHAR), '\.0$', '')) END;
CREATE OR REPLACE MACRO bq_json_array(j, p) AS CASE WHEN json_type(j, p) = 'ARRAY' THEN CAST(json_extract(j, p) AS JSON[]) END;
CREATE OR REPLACE MACRO bq_json_value_array(j, p) AS
  CASE WHEN json_type(j, p) = 'ARRAY' AND NOT list_has_any(list_transform(CAST(json_extract(j, p) AS JSON[]), lambda e: json_type(e)), ['OBJECT', 'ARRAY'])
       THEN list_transform(CAST(json_extract(j, p) AS JSON[]), lambda e: json_extract_string(e, '$')) END;
CREATE OR REPLACE MACRO bq_json_type(j) AS
  CASE json_type(j) WHEN 'UBIGINT' THEN 'number' WHEN 'BIGINT' THEN 'number' WHEN 'HUGEINT' THEN 'number' WHEN 'DOUBLE' THEN 'number'
       WHEN 'VARCHAR' THEN 'string' ELSE lower(json_type(j)) END;
CREATE OR REPLACE MACRO bq_json_to_int64(j) AS
  CASE WHEN j IS NULL THEN NULL WHEN json_type(j) IN ('UBIGINT', 'BIGINT') THEN CAST(json_extract_string(j, '$') AS BIGINT)
       WHEN json_type(j) = 'DOUBLE' AND CAST(json_extract_string(j, '$') AS DOUBLE) = trunc(CAST(json_extract_string(j, '$') AS DOUBLE))
       THEN CAST(CAST(json_extract_string(j, '$') AS DOUBLE) AS BIGINT)
       ELSE error('The provided JSON input is not an integer') END;
CREATE OR REPLACE MACRO bq_json_to_float64(j) AS
  CASE WHEN j IS NULL THEN NULL WHEN json_type(j) IN ('UBIGINT', 'BIGINT', 'DOUBLE') THEN CAST(json_extract_string(j, '$') AS DOUBLE)
       ELSE error('The provided JSON input is not a number') END;
CREATE OR REPLACE MACRO bq_json_to_bool(j) AS
  CASE WHEN j IS NULL THEN NULL WHEN json_type(j) = 'BOOLEAN' THEN json_extract_string(j, '$') = 'true'
       ELSE error('The provided JSON input is not a boolean') END;
CREATE OR REPLACE MACRO bq_json_to_string(j) AS
  CASE WHEN j IS NULL THEN NULL WHEN json_type(j) = 'VARCHAR' THEN json_extract_string(j, '$')
       ELSE error('The provided JSON input is not a string') END;
CREATE OR REPLACE MACRO bq_interval_months(i) AS CAST(date_part('year', i) * 12 + date_part('month', i) AS BIGINT);
CREATE OR REPLACE MACRO bq_interval_days(i) AS CAST(date_part('day', i) AS BIGINT);
CREATE OR REPLACE MACRO bq_interval_micros(i) AS
  CAST(date_part('hour', i) * 3600000000 + date_part('minute', i) * 60000000 + date_part('microsecond', i) AS BIGINT);
CREATE OR REPLACE MACRO bq_interval(m, d, u) AS
  to_months(CAST(m AS INTEGER)) + to_days(CAST(d AS INTEGER)) + to_microseconds(CAST(u AS BIGINT));
CREATE OR REPLACE MACRO bq_interval_to_string(i) AS
  CASE WHEN bq_interval_months(i) < 0 THEN '-' ELSE '' END || abs(bq_interval_months(i)) // 12 || '-' || abs(bq_interval_months(i)) % 12
  || ' ' || bq_interval_days(i) || ' ' || CASE WHEN bq_interval_micros(i) < 0 THEN '-' ELSE '' END
  || abs(bq_interval_micros(i)) // 3600000000 || ':' || abs(bq_interval_micros(i)) // 60000000 % 60
  || ':' || abs(bq_interval_micros(i)) // 1000000 % 60
  || CASE WHEN bq_interval_micros(i) % 1000000 = 0 THEN ''
          WHEN bq_interval_micros(i) % 1000 = 0 THEN '.' || lpad(CAST(abs(bq_interval_micros(i)) // 1000 % 1000 AS VARCHAR), 3, '0')
          ELSE '.' || lpad(CAST(abs(bq_interval_micros(i)) % 1000000 AS VARCHAR), 6, '0') END;
CREATE OR REPLACE MACRO bq_justify_days(i) AS
  bq_interval((bq_interval_months(i) * 30 + bq_interval_days(i)) // 30, (bq_interval_months(i) * 30 + bq_interval_days(i)) % 30, bq_interval_micros(i));
CREATE OR REPLACE MACRO bq_justify_hours(i) AS
  bq_interval(bq_interval_months(i), (bq_interval_days(i) * 86400000000 + bq_interval_micros(i)) // 86400000000,
              (bq_interval_days(i) * 86400000000 + bq_interval_micros(i)) % 86400000000);
CREATE OR REPLACE MACRO bq_interval_total(i) AS
  CAST(bq_interval_months(i) AS HUGEINT) * 2592000000000 + CAST(bq_interval_days(i) AS HUGEINT) * 86400000000 + bq_interval_micros(i);
CREATE OR REPLACE MACRO bq_justify_interval(i) AS
  bq_interval(bq_interval_total(i) // 2592000000000, bq_interval_total(i) % 2592000000000 // 86400000000, bq_interval_total(i) % 86400000000);
CREATE OR REPLACE MACRO bq_sum_interval(i) AS
  bq_interval(sum(bq_interval_months(i)), sum(bq_interval_days(i)), sum(bq_interval_micros(i)));
CREATE OR REPLACE MACRO bq_timestamp_plus(t, i) AS
  CASE WHEN bq_interval_months(i) <> 0
       THEN error('TIMESTAMP +/- INTERVAL is not supported for intervals with non-zero MONTH or YEAR part.') ELSE t + i END;
CREATE OR REPLACE MACRO bq_range(a, b) AS
  CASE WHEN a >= b THEN error('Range start element must be less than range end element')
       ELSE {'_range_start': a, '_range_end': b} END;
CREATE OR REPLACE MACRO bq_range_contains(r, x) AS
  CASE WHEN r IS NULL OR x IS NULL THEN NULL
       ELSE coalesce(r._range_start <= x, TRUE) AND coalesce(x < r._range_end, TRUE) END;
CREATE OR REPLACE MACRO bq_range_contains_range(r, x) AS
  CASE WHEN r IS NULL OR x IS NULL THEN NULL
       ELSE (r._range_start IS NULL OR coalesce(r._range_start <= x._range_start, FALSE))
        AND (r._range_end IS NULL OR coalesce(x._range_end <= r._range_end, FALSE)) END;
CREATE OR REPLACE MACRO bq_range_overlaps(a, b) AS
  CASE WHEN a IS NULL OR b IS NULL THEN NULL
       ELSE coalesce(a._range_start < b._range_end, TRUE) AND coalesce(b._range_start < a._range_end, TRUE) END;
CREATE OR REPLACE MACRO bq_range_intersect(a, b) AS
  CASE WHEN a IS NULL OR b IS NULL THEN NULL
       WHEN NOT bq_range_overlaps(a, b) THEN error('Provided RANGE inputs do not overlap')
       ELSE {'_range_start': greatest(a._range_start, b._range_start), '_range_end': least(a._range_end, b._range_end)} END;
CREATE OR REPLACE MACRO bq_range_array(r, step) AS
  CASE WHEN r IS NULL OR step IS NULL THEN NULL
       WHEN r._range_start IS NULL OR r._range_end IS NULL THEN error('GENERATE_RANGE_ARRAY does not take unbounded ranges')
       ELSE list_transform(list_filter(generate_series(r._range_start, r._range_end, step), lambda x: x < r._range_end),
                           lambda x: {'_range_start': x, '_range_end': least(x + step, r._range_end)}) END;
CREATE OR REPLACE MACRO bq_point(x, y) AS
  CASE WHEN x IS NULL OR y IS NULL THEN NULL
       WHEN abs(y) > 90 THEN error('Latitude must be between -90 and 90 degrees')
       ELSE {'_geography_text': 'POINT(' || regexp_replace(CAST(CAST(x AS DOUBLE) AS VARCHAR), '\.0$', '') || ' '
             || regexp_replace(CAST(CAST(y AS DOUBLE) AS VARCHAR), '\.0$', '') || ')'} END;
CREATE OR REPLACE MACRO bq_point_part(g, n) AS CAST(split_part(trim(g._geography_text, 'POINT()'), ' ', n) AS DOUBLE);
CREATE OR REPLACE MACRO bq_point_distance(a, b) AS
  2 * 6371010.0 * asin(least(1.0, sqrt(
    pow(sin(radians(bq_point_part(b, 2) - bq_point_part(a, 2)) / 2), 2)
    + cos(radians(bq_point_part(a, 2))) * cos(radians(bq_point_part(b, 2)))
    * pow(sin(radians(bq_point_part(b, 1) - bq_point_part(a, 1)) / 2), 2))));
