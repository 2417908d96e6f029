-- The journal, version 1. Times are microseconds since 1970 in UTC; ids are UUIDs; callers, invokers, inputs, results,
-- errors and logs are JSON text. Nothing here can be executed.

CREATE TABLE run (
    seq           INTEGER PRIMARY KEY,      -- the order of commits: the order of listings
    id            TEXT NOT NULL UNIQUE,
    workflow_name TEXT NOT NULL,
    status        TEXT NOT NULL,
    caller_id     TEXT NOT NULL,
    caller        TEXT NOT NULL,
    invoker       TEXT,
    input         TEXT NOT NULL,
    output        TEXT,
    error         TEXT,
    attempt       INTEGER NOT NULL,
    depth         INTEGER NOT NULL,
    due_at        INTEGER,                  -- from when on a process may pick it up; NULL while it runs and at its end
    created_at    INTEGER NOT NULL,
    started_at    INTEGER,
    finished_at   INTEGER
);

-- Every listing is a walk along one of these, or a merge of one walk per status; each ends in seq.
CREATE INDEX run_by_status ON run (status);
CREATE INDEX run_by_workflow ON run (workflow_name, status);
CREATE INDEX run_by_caller ON run (caller_id, status);
CREATE INDEX run_by_caller_and_workflow ON run (caller_id, workflow_name, status);
CREATE INDEX run_due ON run (workflow_name, due_at) WHERE due_at IS NOT NULL;

CREATE TABLE job (
    run_id       TEXT NOT NULL,
    place        TEXT NOT NULL,
    name         TEXT NOT NULL,
    stacked_name TEXT NOT NULL,
    status       TEXT NOT NULL,
    input        TEXT NOT NULL,
    result       TEXT,
    error        TEXT,
    logs         TEXT NOT NULL,
    progress     TEXT,
    started_at   INTEGER NOT NULL,
    finished_at  INTEGER,
    PRIMARY KEY (run_id, place)
);

CREATE TABLE idempotency_key (
    caller_id   TEXT NOT NULL,
    key         TEXT NOT NULL,
    run_id      TEXT NOT NULL,
    fingerprint TEXT NOT NULL,              -- of the request: the same key with another one is refused
    expires_at  INTEGER NOT NULL,
    PRIMARY KEY (caller_id, key)
) WITHOUT ROWID;

CREATE INDEX idempotency_key_expiry ON idempotency_key (expires_at);
