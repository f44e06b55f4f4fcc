-- oldest relay schema that may go on with it: 1
-- Who posts to places that may be posted to only so often, by this server's clock; and what each node says of its sinks.

-- Until when somebody else last might work at the place; NULL: nobody else ever.
ALTER TABLE relay.seat ADD COLUMN since BIGINT;

-- What the lane of each node that is at work says of its sink; `sink_report` keeps the last word of all.
CREATE TABLE relay.sink_word (
    sink   TEXT COLLATE "C" NOT NULL,
    owner  TEXT COLLATE "C" NOT NULL,
    state  TEXT COLLATE "C" NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    detail TEXT COLLATE "C" NOT NULL,
    since  BIGINT NOT NULL,
    PRIMARY KEY (sink, owner)
);

-- Owner $1 takes the seats of places $2 for $3, as far as nobody else has them. Yields those that are its own then, and
-- for how long nobody else has had them; NULL: nobody else ever did.
CREATE FUNCTION relay.take_seats(TEXT, TEXT[], BIGINT) RETURNS TABLE (place TEXT, alone BIGINT) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    moment BIGINT := relay.clock();  -- before any lock: what is waited for shortens the term, and never prolongs it
BEGIN
    RETURN QUERY
    INSERT INTO relay.seat AS s (place, owner, until, since)
    SELECT wanted, $1, moment + $3, NULL FROM unnest($2) AS wanted ORDER BY wanted
    ON CONFLICT (place) DO UPDATE
       SET since = CASE WHEN s.owner = $1 THEN s.since ELSE s.until END, owner = $1, until = moment + $3
     WHERE s.owner = $1 OR s.until <= moment
    RETURNING s.place, moment - s.since;
END
$$;

-- Owner $1 lets go of the seats of places $2, as if it had done so longer ago by $3: it has sent nothing for so long.
CREATE FUNCTION relay.leave_seats(TEXT, TEXT[], BIGINT[]) RETURNS VOID LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM relay.seat s WHERE s.place = ANY($2) AND s.owner = $1 ORDER BY s.place FOR UPDATE;
    UPDATE relay.seat s SET until = relay.clock() - given.unused
      FROM unnest($2, $3) AS given (place, unused)
     WHERE s.place = given.place AND s.owner = $1 AND s.until > relay.clock();
END
$$;

-- `relay.claim` for owner $6, if the seat of place $9 is its own.
CREATE FUNCTION relay.claim_seated(TEXT, INTEGER, INTEGER, BIGINT, BIGINT, TEXT, BIGINT, BIGINT, TEXT)
RETURNS TABLE (
    delivery BIGINT, route TEXT, sink TEXT, attempt INTEGER, tries INTEGER, replay INTEGER, replay_at BIGINT,
    id TEXT, source TEXT, type TEXT, received_at BIGINT, webhook_id TEXT, uuid TEXT, meeting TEXT, session TEXT,
    organization TEXT, stream TEXT, defect TEXT, headers TEXT, body BYTEA, oldest BIGINT, passed BIGINT
) LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM relay.seat s WHERE s.place = $9 AND s.owner = $6 AND s.until > relay.clock()) THEN
        RETURN QUERY SELECT * FROM relay.claim($1, $2, $3, $4, $5, $6, $7, $8);
    END IF;
END
$$;

-- Owner $2 says of sink $1: state $3, reason $4, detail $5, at $6; it stays since when it has been so. What those said who
-- were not heard of for $7 is over.
CREATE FUNCTION relay.report(TEXT, TEXT, TEXT, TEXT, TEXT, BIGINT, BIGINT) RETURNS VOID LANGUAGE plpgsql AS $$
DECLARE
    began BIGINT;
BEGIN
    INSERT INTO relay.sink_report AS known (sink, state, reason, detail, since) VALUES ($1, $3, $4, $5, $6)
    ON CONFLICT (sink) DO UPDATE
       SET since = CASE WHEN known.state = $3 THEN known.since ELSE $6 END, state = $3, reason = $4, detail = $5
    RETURNING known.since INTO began;
    INSERT INTO relay.sink_word AS known (sink, owner, state, reason, detail, since) VALUES ($1, $2, $3, $4, $5, began)
    ON CONFLICT (sink, owner) DO UPDATE
       SET since = CASE WHEN known.state = $3 THEN known.since ELSE $6 END, state = $3, reason = $4, detail = $5;
    DELETE FROM relay.sink_word w
     WHERE w.sink = $1 AND w.owner <> $2
       AND NOT EXISTS (SELECT FROM relay.node n WHERE n.owner = w.owner AND n.seen_at >= relay.clock() - $7);
END
$$;

-- As before, and the seats of owner $1, who is gone for certain, are free.
CREATE OR REPLACE FUNCTION relay.release(TEXT, BIGINT) RETURNS INTEGER LANGUAGE plpgsql AS $$
BEGIN
    UPDATE relay.node SET seen_at = 0 WHERE owner = $1;
    UPDATE relay.seat SET until = least(until, relay.clock()) WHERE owner = $1;
    RETURN relay.give_back(ARRAY[$1], $2);
END
$$;
