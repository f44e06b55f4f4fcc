-- Times are microseconds since 1970, in UTC.

CREATE TABLE event (
    seq          INTEGER PRIMARY KEY,
    id           TEXT    NOT NULL UNIQUE,
    source       TEXT    NOT NULL,
    type         TEXT    NOT NULL,
    state        TEXT    NOT NULL CHECK (state IN ('routed', 'unrouted', 'quarantined')),
    detail       TEXT    NOT NULL,
    received_at  INTEGER NOT NULL,
    webhook_id   TEXT,
    uuid         TEXT,
    meeting      TEXT,
    session      TEXT,
    organization TEXT,
    stream       TEXT,
    defect       TEXT,
    headers      TEXT    NOT NULL,
    body         BLOB    NOT NULL
) STRICT;
CREATE INDEX event_age ON event (received_at);
CREATE INDEX event_meeting ON event (meeting, seq) WHERE meeting IS NOT NULL;

-- What was seen, against duplicates. A uuid is unsigned, so the same one with another body is another event.
CREATE TABLE mark (
    source     TEXT    NOT NULL,
    webhook_id TEXT    NOT NULL,
    uuid       TEXT    NOT NULL,
    body_hash  BLOB    NOT NULL,
    seen_at    INTEGER NOT NULL,
    event_id   TEXT    NOT NULL,
    PRIMARY KEY (source, webhook_id, uuid, body_hash)
) STRICT, WITHOUT ROWID;
CREATE INDEX mark_body ON mark (body_hash, seen_at);
CREATE INDEX mark_age ON mark (seen_at);

CREATE TABLE delivery (
    id         INTEGER PRIMARY KEY,
    event      INTEGER NOT NULL REFERENCES event (seq) ON DELETE CASCADE,
    route      TEXT    NOT NULL,
    sink       TEXT    NOT NULL,
    -- Pending deliveries of one sink with the same key go one after the other: only the first has a due time.
    order_key  TEXT,
    state      TEXT    NOT NULL CHECK (state IN ('pending', 'delivered', 'dead')),
    due_at     INTEGER,
    attempt    INTEGER NOT NULL DEFAULT 0,
    tries      INTEGER NOT NULL DEFAULT 0,
    replay     INTEGER NOT NULL DEFAULT 0,
    settled_at INTEGER,
    receipt    TEXT    NOT NULL DEFAULT '',
    reason     TEXT    NOT NULL DEFAULT '',
    detail     TEXT    NOT NULL DEFAULT '',
    config     TEXT    NOT NULL,
    UNIQUE (event, sink)
) STRICT;
CREATE INDEX delivery_due ON delivery (sink, due_at, id) WHERE state = 'pending';
CREATE INDEX delivery_order ON delivery (sink, order_key, id) WHERE state = 'pending' AND order_key IS NOT NULL;

-- One row for each attempt that failed; what the last one left is on the delivery itself.
CREATE TABLE failure (
    delivery INTEGER NOT NULL REFERENCES delivery (id) ON DELETE CASCADE,
    attempt  INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    reason   TEXT    NOT NULL,
    detail   TEXT    NOT NULL,
    PRIMARY KEY (delivery, attempt)
) STRICT, WITHOUT ROWID;
