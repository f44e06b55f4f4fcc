-- Marks in the order in which they came: sorted by what senders choose, each took two wide pages of its own, which the
-- next checkpoint had to write. What each column says has not changed, and what is looked for is told by all of them.
ALTER TABLE mark RENAME TO old_mark;
CREATE TABLE mark (
    id         INTEGER PRIMARY KEY,
    source     TEXT    NOT NULL,
    webhook_id TEXT    NOT NULL,
    uuid       TEXT    NOT NULL,
    body_hash  BLOB    NOT NULL,
    seen_at    INTEGER NOT NULL,
    event_id   TEXT    NOT NULL,
    uuid_key   INTEGER NOT NULL,
    body_key   INTEGER NOT NULL
) STRICT;
-- The functions are the relay's own (relay/stores/sqlite/marks.py).
INSERT INTO mark (source, webhook_id, uuid, body_hash, seen_at, event_id, uuid_key, body_key)
SELECT source, webhook_id, uuid, body_hash, seen_at, event_id,
       mark_uuid_key(uuid), mark_body_key(source, webhook_id, body_hash)
  FROM old_mark ORDER BY seen_at;
DROP TABLE old_mark;
CREATE INDEX mark_age ON mark (seen_at);

-- By these a mark is found: its uuid's key with the body's beside it, and its body's with when it was seen. They come in no
-- order, so new ones gather in a small table. Each is in one of the two.
CREATE TABLE mark_fresh (
    key    INTEGER NOT NULL,
    detail INTEGER NOT NULL,
    mark   INTEGER NOT NULL,
    PRIMARY KEY (key, detail, mark)
) STRICT, WITHOUT ROWID;
CREATE TABLE mark_filed (
    key    INTEGER NOT NULL,
    detail INTEGER NOT NULL,
    mark   INTEGER NOT NULL,
    PRIMARY KEY (key, detail, mark)
) STRICT, WITHOUT ROWID;
-- Sorted in memory: one kind after the other takes half as much of it.
INSERT INTO mark_filed (key, detail, mark) SELECT uuid_key, body_key, id FROM mark ORDER BY 1, 2, 3;
INSERT INTO mark_filed (key, detail, mark) SELECT body_key, seen_at, id FROM mark ORDER BY 1, 2, 3;

CREATE TRIGGER mark_made AFTER INSERT ON mark BEGIN
    INSERT INTO mark_fresh (key, detail, mark)
    VALUES (new.uuid_key, new.body_key, new.id), (new.body_key, new.seen_at, new.id);
END;
CREATE TRIGGER mark_forgotten AFTER DELETE ON mark BEGIN
    DELETE FROM mark_fresh WHERE key = old.uuid_key AND detail = old.body_key AND mark = old.id;
    DELETE FROM mark_filed WHERE key = old.uuid_key AND detail = old.body_key AND mark = old.id;
    DELETE FROM mark_fresh WHERE key = old.body_key AND detail = old.seen_at AND mark = old.id;
    DELETE FROM mark_filed WHERE key = old.body_key AND detail = old.seen_at AND mark = old.id;
END;
