CREATE TABLE audit (
	seq BIGINT NOT NULL, 
	at BIGINT NOT NULL, 
	action TEXT NOT NULL, 
	actor TEXT NOT NULL, 
	target TEXT NOT NULL, 
	role TEXT NOT NULL, 
	subject TEXT NOT NULL, 
	customer TEXT, 
	source TEXT NOT NULL, 
	request_id TEXT NOT NULL, 
	detail TEXT NOT NULL, 
	"before" TEXT, 
	"after" TEXT, 
	previous_hash TEXT NOT NULL, 
	hash TEXT NOT NULL, 
	PRIMARY KEY (seq)
);

CREATE TABLE breaker_events (
	seq INTEGER NOT NULL, 
	customer TEXT NOT NULL, 
	period TEXT NOT NULL, 
	window_key TEXT NOT NULL, 
	at BIGINT NOT NULL, 
	kind TEXT NOT NULL, 
	actor TEXT NOT NULL, 
	PRIMARY KEY (seq)
);

CREATE TABLE entries (
	id TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	customer TEXT NOT NULL, 
	principal TEXT NOT NULL, 
	project_id TEXT NOT NULL, 
	booked_at BIGINT NOT NULL, 
	day_key TEXT, 
	month_key TEXT, 
	outcome TEXT NOT NULL, 
	cost_nanos BIGINT NOT NULL, 
	hold_id TEXT, 
	hold_nanos BIGINT NOT NULL, 
	workload TEXT, 
	job_project_id TEXT, 
	job_id TEXT, 
	job_location TEXT, 
	job_region TEXT, 
	decision TEXT NOT NULL, 
	reason TEXT, 
	estimate_bytes BIGINT, 
	estimate_nanos BIGINT NOT NULL, 
	bytes_processed BIGINT NOT NULL, 
	bytes_billed BIGINT NOT NULL, 
	slot_ms BIGINT NOT NULL, 
	statement_type TEXT NOT NULL, 
	cache_hit BOOLEAN NOT NULL, 
	fingerprint TEXT, 
	labels JSON NOT NULL, would_have TEXT, would_wait_ms BIGINT, would_budget TEXT, placed_at BIGINT, origin TEXT, adjusts TEXT, reservation TEXT, edition TEXT, prices_id TEXT, ended_at BIGINT, 
	PRIMARY KEY (id), 
	CONSTRAINT ck_entries_kind CHECK (kind IN ('charge', 'refusal', 'adjustment'))
);

CREATE TABLE holds (
	id TEXT NOT NULL, 
	customer TEXT NOT NULL, 
	principal TEXT NOT NULL, 
	project_id TEXT NOT NULL, 
	amount_nanos BIGINT NOT NULL, 
	day_key TEXT, 
	month_key TEXT, 
	placed_at BIGINT NOT NULL, 
	deadline_at BIGINT NOT NULL, 
	idempotency_key TEXT, 
	job_project_id TEXT, 
	job_id TEXT, 
	job_location TEXT, 
	workload TEXT, 
	maximum_bytes_billed BIGINT, 
	estimate_bytes BIGINT, 
	estimate_nanos BIGINT NOT NULL, 
	decision TEXT NOT NULL, 
	fingerprint TEXT, 
	state TEXT NOT NULL, 
	ended_at BIGINT, would_have TEXT, would_wait_ms BIGINT, would_budget TEXT, labels JSON, prices_id TEXT, priced_as TEXT, account TEXT, 
	PRIMARY KEY (id), 
	CONSTRAINT ck_holds_ended CHECK ((state = 'held') = (ended_at IS NULL)), 
	CONSTRAINT ck_holds_amount CHECK (amount_nanos >= 0)
);

CREATE TABLE journal_positions (
	journal_id TEXT NOT NULL, 
	position BIGINT NOT NULL, 
	PRIMARY KEY (journal_id)
);

CREATE TABLE keys (
	id TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	principal TEXT NOT NULL, 
	role TEXT NOT NULL, 
	customer TEXT, 
	created_at BIGINT NOT NULL, 
	created_by TEXT NOT NULL, 
	ends_at BIGINT, 
	is_revoked BOOLEAN NOT NULL, 
	public_key TEXT, 
	token_hash TEXT, 
	PRIMARY KEY (id)
);

CREATE TABLE leases (
	name TEXT NOT NULL, 
	holder TEXT NOT NULL, 
	beat BIGINT NOT NULL, 
	PRIMARY KEY (name)
);

CREATE TABLE ledger_identity (
	seq INTEGER NOT NULL, 
	id TEXT NOT NULL, 
	PRIMARY KEY (seq), 
	CONSTRAINT ck_ledger_identity_one_row CHECK (seq = 1)
);

CREATE TABLE ledger_revision (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT ledger_revision_pkc PRIMARY KEY (version_num)
);

INSERT INTO "ledger_revision" VALUES('0013');

CREATE TABLE mirror (
	id INTEGER NOT NULL, 
	target TEXT NOT NULL, 
	epoch TEXT NOT NULL, 
	horizon TEXT, 
	filled_at BIGINT, 
	filled_id TEXT, 
	is_filled BOOLEAN NOT NULL, 
	batch BIGINT NOT NULL, 
	attempt BIGINT NOT NULL, 
	is_open BOOLEAN NOT NULL, 
	row_count BIGINT NOT NULL, 
	policies JSON NOT NULL, 
	PRIMARY KEY (id), 
	CONSTRAINT ck_mirror_one_row CHECK (id = 1)
);

CREATE TABLE mirror_queue (
	entry_id TEXT NOT NULL, 
	booked_at BIGINT NOT NULL, 
	batch BIGINT, 
	refusal TEXT, 
	PRIMARY KEY (entry_id)
);

CREATE TABLE policies (
	kind TEXT NOT NULL, 
	name TEXT NOT NULL, 
	version BIGINT NOT NULL, 
	document JSON NOT NULL, 
	changed_at BIGINT NOT NULL, 
	changed_by TEXT NOT NULL, 
	PRIMARY KEY (kind, name)
);

CREATE TABLE price_lists (
	id TEXT NOT NULL, 
	document JSON NOT NULL, 
	first_used_at BIGINT NOT NULL, 
	PRIMARY KEY (id)
);

CREATE TABLE registry_revision (
	id INTEGER NOT NULL, 
	revision BIGINT NOT NULL, 
	PRIMARY KEY (id), 
	CONSTRAINT ck_registry_revision_one_row CHECK (id = 1)
);

INSERT INTO "registry_revision" VALUES(1,0);

CREATE TABLE retention (
	id INTEGER NOT NULL, 
	kept_since BIGINT NOT NULL, 
	cleared_since BIGINT NOT NULL, 
	PRIMARY KEY (id), 
	CONSTRAINT ck_retention_one_row CHECK (id = 1)
);

CREATE TABLE spend_days (
	booked_on TEXT NOT NULL, 
	customer TEXT NOT NULL, 
	principal TEXT NOT NULL, 
	project_id TEXT NOT NULL, 
	workload TEXT NOT NULL, 
	origin TEXT NOT NULL, 
	day_key TEXT NOT NULL, 
	month_key TEXT NOT NULL, 
	deployment_day TEXT NOT NULL, 
	cost_nanos BIGINT NOT NULL, 
	bytes_billed BIGINT NOT NULL, 
	slot_ms BIGINT NOT NULL, 
	job_count BIGINT NOT NULL, 
	adjusted_nanos BIGINT NOT NULL, 
	PRIMARY KEY (booked_on, customer, principal, project_id, workload, origin, day_key, month_key, deployment_day)
);

CREATE TABLE spend_hours (
	hour BIGINT NOT NULL, 
	customer TEXT NOT NULL, 
	principal TEXT NOT NULL, 
	origin TEXT NOT NULL, 
	cost_nanos BIGINT NOT NULL, 
	bytes_billed BIGINT NOT NULL, 
	slot_ms BIGINT NOT NULL, 
	job_count BIGINT NOT NULL, 
	PRIMARY KEY (hour, customer, principal, origin)
);

CREATE TABLE sweep_marks (
	project_id TEXT NOT NULL, 
	region TEXT NOT NULL, 
	swept_until BIGINT NOT NULL, 
	PRIMARY KEY (project_id, region)
);

CREATE TABLE sweep_pending (
	project_id TEXT NOT NULL, 
	region TEXT NOT NULL, 
	job_id TEXT NOT NULL, 
	job_location TEXT, 
	created_at BIGINT NOT NULL, 
	PRIMARY KEY (project_id, region, job_id)
);

CREATE INDEX ix_holds_open ON holds (placed_at, id) WHERE ended_at IS NULL;

CREATE UNIQUE INDEX uq_entries_hold ON entries (hold_id);

CREATE UNIQUE INDEX uq_entries_charge_us ON entries (job_project_id, job_id) WHERE kind = 'charge' AND job_region IN ('', 'us');

CREATE UNIQUE INDEX uq_entries_charge_eu ON entries (job_project_id, job_id) WHERE kind = 'charge' AND job_region IN ('', 'eu');

CREATE UNIQUE INDEX uq_entries_charge_region ON entries (job_project_id, job_id, job_region) WHERE kind = 'charge' AND job_region NOT IN ('', 'us', 'eu');

CREATE INDEX ix_entries_customer_booked ON entries (customer, booked_at, id);

CREATE INDEX ix_entries_booked ON entries (booked_at, id);

CREATE INDEX ix_entries_usage ON entries (customer, booked_at, id) WHERE kind = 'charge' AND outcome IN ('done', 'stopped') AND NOT cache_hit;

CREATE TRIGGER entries_no_update BEFORE UPDATE ON entries BEGIN SELECT RAISE(ABORT, 'entries are append-only'); END;

CREATE TRIGGER entries_no_delete BEFORE DELETE ON entries BEGIN SELECT RAISE(ABORT, 'entries are append-only'); END;

CREATE INDEX ix_audit_customer ON audit (customer, seq);

CREATE INDEX ix_audit_actor ON audit (actor, seq);

CREATE INDEX ix_audit_action ON audit (action, seq);

CREATE INDEX ix_audit_at ON audit (at);

CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;

CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;

CREATE INDEX ix_breaker_events_window ON breaker_events (customer, window_key);

CREATE TRIGGER breaker_events_no_update BEFORE UPDATE ON breaker_events BEGIN SELECT RAISE(ABORT, 'breaker events are append-only'); END;

CREATE TRIGGER breaker_events_no_delete BEFORE DELETE ON breaker_events BEGIN SELECT RAISE(ABORT, 'breaker events are append-only'); END;

CREATE INDEX ix_entries_placed ON entries (placed_at, kind, cost_nanos);

CREATE INDEX ix_entries_job ON entries (job_id);

CREATE TRIGGER price_lists_no_update BEFORE UPDATE ON price_lists BEGIN SELECT RAISE(ABORT, 'price lists are append-only'); END;

CREATE TRIGGER price_lists_no_delete BEFORE DELETE ON price_lists BEGIN SELECT RAISE(ABORT, 'price lists are append-only'); END;

CREATE INDEX ix_entries_adjusts ON entries (adjusts) WHERE adjusts IS NOT NULL;

CREATE INDEX ix_mirror_queue_waiting ON mirror_queue (booked_at, entry_id);

CREATE INDEX ix_mirror_queue_batch ON mirror_queue (batch) WHERE batch IS NOT NULL;

CREATE TRIGGER entries_to_mirror AFTER INSERT ON entries WHEN EXISTS (SELECT 1 FROM mirror) BEGIN INSERT INTO mirror_queue (entry_id, booked_at) VALUES (NEW.id, NEW.booked_at); END;

CREATE TRIGGER entries_roll_up AFTER INSERT ON entries WHEN NEW.kind IN ('charge', 'adjustment') BEGIN INSERT INTO spend_hours (hour, customer, principal, origin, cost_nanos, bytes_billed, slot_ms, job_count) SELECT NEW.booked_at - NEW.booked_at % 3600000000 AS hour, NEW.customer, NEW.principal, COALESCE(NEW.origin, 'gate') AS origin, NEW.cost_nanos, NEW.bytes_billed, NEW.slot_ms, CASE WHEN NEW.kind = 'charge' THEN 1 ELSE 0 END AS job_count WHERE true ON CONFLICT (hour, customer, principal, origin) DO UPDATE SET cost_nanos = spend_hours.cost_nanos + excluded.cost_nanos, bytes_billed = spend_hours.bytes_billed + excluded.bytes_billed, slot_ms = spend_hours.slot_ms + excluded.slot_ms, job_count = spend_hours.job_count + excluded.job_count; INSERT INTO spend_days (booked_on, customer, principal, project_id, workload, origin, day_key, month_key, deployment_day, cost_nanos, bytes_billed, slot_ms, job_count, adjusted_nanos) SELECT strftime('%Y-%m-%d', NEW.booked_at / 1000000, 'unixepoch') AS booked_on, NEW.customer, NEW.principal, NEW.project_id, COALESCE(NEW.workload, '') AS workload, COALESCE(NEW.origin, 'gate') AS origin, COALESCE(NEW.day_key, '') AS day_key, COALESCE(NEW.month_key, '') AS month_key, CASE WHEN NEW.placed_at IS NOT NULL THEN strftime('%Y-%m-%d', NEW.placed_at / 1000000, 'unixepoch') WHEN NEW.day_key IS NOT NULL THEN strftime('%Y-%m-%d', NEW.booked_at / 1000000, 'unixepoch') ELSE '' END AS deployment_day, NEW.cost_nanos, NEW.bytes_billed, NEW.slot_ms, CASE WHEN NEW.kind = 'charge' THEN 1 ELSE 0 END AS job_count, CASE WHEN NEW.kind = 'adjustment' THEN NEW.cost_nanos ELSE 0 END AS adjusted_nanos WHERE true ON CONFLICT (booked_on, customer, principal, project_id, workload, origin, day_key, month_key, deployment_day) DO UPDATE SET cost_nanos = spend_days.cost_nanos + excluded.cost_nanos, bytes_billed = spend_days.bytes_billed + excluded.bytes_billed, slot_ms = spend_days.slot_ms + excluded.slot_ms, job_count = spend_days.job_count + excluded.job_count, adjusted_nanos = spend_days.adjusted_nanos + excluded.adjusted_nanos; END;

CREATE INDEX ix_spend_days_day ON spend_days (customer, day_key);

CREATE INDEX ix_spend_days_month ON spend_days (customer, month_key);

CREATE INDEX ix_spend_days_deployment ON spend_days (deployment_day);
