-- What version 4 of the journal adds: the trace that a run belongs to, as JSON of its W3C headers; NULL without one.

ALTER TABLE run ADD COLUMN trace TEXT;
