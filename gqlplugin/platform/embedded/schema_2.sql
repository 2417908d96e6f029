-- What version 2 of the journal adds: when schedules fire next.

CREATE TABLE schedule (
    workflow_name TEXT PRIMARY KEY,
    spec          TEXT NOT NULL,            -- JSON of what its times follow from: another one is another schedule
    next_at       INTEGER                   -- the first time without a run; NULL when there is none any more
) WITHOUT ROWID;
