-- What version 6 of the journal adds: when a wait for a time began. `due_at` is 0 where a run is due at once, whatever the
-- clock says. A wait that began later than now was written while the clock was ahead, and begins again now.

ALTER TABLE run ADD COLUMN waits_since INTEGER;

CREATE INDEX run_waiting ON run (waits_since) WHERE waits_since IS NOT NULL;

UPDATE run SET due_at = 0 WHERE due_at IS NOT NULL AND status NOT IN ('PENDING_RETRY', 'WAITING');

UPDATE run SET waits_since = coalesce(
    (SELECT max(started_at) FROM job WHERE run_id = run.id AND status = 'WAITING'),
    (SELECT finished_at FROM job WHERE run_id = run.id AND place = '0'),
    created_at
) WHERE due_at > 0;

ALTER TABLE idempotency_key ADD COLUMN kept_since INTEGER;

CREATE INDEX idempotency_key_kept ON idempotency_key (kept_since);

UPDATE idempotency_key SET kept_since = (SELECT created_at FROM run WHERE id = run_id);
