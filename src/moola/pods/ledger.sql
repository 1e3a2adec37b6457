-- The ledger of pods. Money is US dollars, times are seconds since 1970 (UTC), `at` is the client's clock.
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS runs (
    run TEXT PRIMARY KEY, experiment TEXT NOT NULL, bundle TEXT NOT NULL, budget REAL, max_hours REAL, at REAL NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS leases (
    run TEXT PRIMARY KEY, holder TEXT NOT NULL, host TEXT NOT NULL, process TEXT NOT NULL, until REAL NOT NULL
) STRICT;
-- Written before a pod is asked for. outcome is NULL while nobody knows whether a pod came of it.
CREATE TABLE IF NOT EXISTS intents (
    intent INTEGER PRIMARY KEY, provider TEXT NOT NULL, run TEXT NOT NULL, offer TEXT NOT NULL, at REAL NOT NULL,
    outcome TEXT CHECK (outcome IN ('created', 'adopted', 'refused', 'nothing')), detail TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE TABLE IF NOT EXISTS pods (
    provider TEXT NOT NULL, pod_id TEXT NOT NULL, run TEXT NOT NULL, gpu TEXT NOT NULL, cloud TEXT NOT NULL,
    data_center TEXT NOT NULL, created_at REAL NOT NULL, ended_at REAL, ended_why TEXT NOT NULL DEFAULT '',
    billed REAL, billed_at REAL, PRIMARY KEY (provider, pod_id)
) STRICT;
-- One row a change of state or price, so that the estimate is an integral over what was seen.
CREATE TABLE IF NOT EXISTS states (
    provider TEXT NOT NULL, pod_id TEXT NOT NULL, at REAL NOT NULL, status TEXT NOT NULL, price_per_h REAL NOT NULL,
    FOREIGN KEY (provider, pod_id) REFERENCES pods
) STRICT;
-- When a pod was last known to be there: one whose end nobody saw counts up to then.
CREATE TABLE IF NOT EXISTS sights (
    provider TEXT NOT NULL, pod_id TEXT NOT NULL, at REAL NOT NULL, PRIMARY KEY (provider, pod_id)
) STRICT;
CREATE INDEX IF NOT EXISTS states_of_pod ON states (provider, pod_id, at);
CREATE TABLE IF NOT EXISTS transfers (
    run TEXT NOT NULL, pod_id TEXT NOT NULL, direction TEXT NOT NULL CHECK (direction IN ('push', 'pull')),
    at REAL NOT NULL, seconds REAL NOT NULL, files INTEGER NOT NULL, bytes INTEGER NOT NULL, sent INTEGER NOT NULL
) STRICT;
-- Keys that were verified once, or taken on trust; a pod that shows another later is refused.
CREATE TABLE IF NOT EXISTS host_keys (
    provider TEXT NOT NULL, pod_id TEXT NOT NULL, line TEXT NOT NULL, PRIMARY KEY (provider, pod_id, line)
) STRICT;
-- What happened to a run: a guard that fired, what was lost, a host key that was taken on trust.
CREATE TABLE IF NOT EXISTS events (
    run TEXT NOT NULL, pod_id TEXT NOT NULL, at REAL NOT NULL, kind TEXT NOT NULL, detail TEXT NOT NULL
) STRICT;
