-- What version 3 of the journal adds: runs that wait, and runs that are to stop.

CREATE INDEX job_waiting ON job (name) WHERE status = 'WAITING';

-- A run that was RUNNING, or might have been, when somebody canceled it; the process that executes it sees to it.
CREATE TABLE cancel_request (
    run_id TEXT PRIMARY KEY
) WITHOUT ROWID;
