-- What version 5 of the journal adds: how often a run was begun again because the process that ran it had died.

CREATE TABLE recovery (
    run_id        TEXT PRIMARY KEY,
    count         INTEGER NOT NULL,
    finished_jobs INTEGER NOT NULL          -- of the run when it was begun again: with more, it has got on since
) WITHOUT ROWID;

-- It has a row while a process executes the file: the next one finds it when that process died.
CREATE TABLE executing (
    since INTEGER NOT NULL
);
