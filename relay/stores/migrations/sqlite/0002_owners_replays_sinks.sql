-- Who holds the lease: what a dead process had begun is found at the next start. NULL: nobody.
ALTER TABLE delivery ADD COLUMN owner TEXT;
CREATE INDEX delivery_owner ON delivery (owner) WHERE owner IS NOT NULL;

-- When the last replay was meant to go out: not before, and `retry.max_age` counts from it. NULL: never replayed.
ALTER TABLE delivery ADD COLUMN replay_at INTEGER;

-- Two queues for each sink: replays go when nothing that came in is due, and are ordered among themselves.
DROP INDEX delivery_due;
DROP INDEX delivery_order;
CREATE INDEX delivery_due ON delivery (sink, due_at, id) WHERE state = 'pending' AND replay = 0;
CREATE INDEX delivery_order ON delivery (sink, order_key, id)
 WHERE state = 'pending' AND replay = 0 AND order_key IS NOT NULL;
CREATE INDEX replay_due ON delivery (sink, due_at, id) WHERE state = 'pending' AND replay > 0;
CREATE INDEX replay_order ON delivery (sink, order_key, id)
 WHERE state = 'pending' AND replay > 0 AND order_key IS NOT NULL;

-- What people want of a sink, whoever runs it.
CREATE TABLE sink_wish (
    sink   TEXT    PRIMARY KEY,
    paused INTEGER NOT NULL,
    at     INTEGER NOT NULL
) STRICT;

-- What a lane last said of its sink.
CREATE TABLE sink_report (
    sink   TEXT    PRIMARY KEY,
    state  TEXT    NOT NULL,
    reason TEXT    NOT NULL,
    detail TEXT    NOT NULL,
    since  INTEGER NOT NULL
) STRICT;
