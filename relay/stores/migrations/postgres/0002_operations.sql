-- oldest relay schema that may go on with it: 1
-- What is written is written by functions: each call is one transaction and one round trip. A node that stops in the
-- middle (frozen, cut off) therefore never holds a lock while the server waits for it.
--
-- A later migration that changes one gives it another name, because old nodes call it until they are upgraded.
--
-- Locks, always in this order, and each kind sorted: advisory ones, events, deliveries. What two nodes must not look at
-- and change at the same time is locked before it is looked at: each statement sees what was committed before it began,
-- so the look has to be a statement of its own after the lock.
-- What each may scan is set, so that plans are right before the server has statistics, and stay so. Those that are called
-- all the time keep one plan for all arguments: making one takes longer than what most calls do.
-- `x = ANY(ARRAY[y])` is `x = y` that can only be looked up: as an equality, a server that knows of few rows, where there
-- were many once, walks over all that come to be there.
--
-- 1148810241: the deliveries of a sink with the same order key. 1148810242: marks of one source, webhook id and uuid.
-- 1148810243: marks of one body.

CREATE FUNCTION relay.clock() RETURNS BIGINT LANGUAGE sql VOLATILE AS $$
    SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::BIGINT
$$;

-- Write events, but those that are duplicates, with their marks and deliveries.
-- $1..$15: the columns of `event`. $16..$19: of the mark, and the window in which a body is a repeat. $20: config.
-- $21..$24: the deliveries, with the place of their event. $25, $26: hashes to lock.
-- No two may be of the same sender, nor, where one has a window, have the same body: the caller sees to it.
-- Yields what is not just a new event: its place, the event that it is or repeats, and how that was told.
CREATE FUNCTION relay.accept(
    TEXT[], TEXT[], TEXT[], TEXT[], TEXT[], BIGINT[], TEXT[], TEXT[], TEXT[], TEXT[], TEXT[], TEXT[], TEXT[], TEXT[],
    BYTEA[], TEXT[], TEXT[], BYTEA[], BIGINT[], TEXT[],
    INTEGER[], TEXT[], TEXT[], TEXT[],
    INTEGER[], INTEGER[]
) RETURNS TABLE (place INTEGER, event_id TEXT, told TEXT) LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
BEGIN
    PERFORM pg_advisory_xact_lock(kind, hash) FROM (
        SELECT 1148810241 AS kind, hashtext(key) AS hash FROM unnest($24) AS key WHERE key IS NOT NULL
        UNION SELECT 1148810242, hash FROM unnest($25) AS hash
        UNION SELECT 1148810243, hash FROM unnest($26) AS hash
        ORDER BY 1, 2) AS wanted;
    RETURN QUERY
    WITH given AS MATERIALIZED (
        SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)
            WITH ORDINALITY AS g (id, source, type, state, detail, received_at, webhook_id, uuid, meeting, session,
                                  organization, stream, defect, headers, body,
                                  mark_webhook_id, mark_uuid, body_hash, repeats_within, config, place)
    ), seen AS MATERIALIZED (
        -- Nearly always there is none of the uuid, and nothing more to look for.
        SELECT given.place, mark.event_id, mark.event_id IS NOT NULL AS same
          FROM given CROSS JOIN LATERAL (
            SELECT m.uuid FROM relay.mark m
             WHERE hashtextextended(m.uuid, 0) = hashtextextended(given.mark_uuid, 0)
               AND m.source = given.source AND m.webhook_id = given.mark_webhook_id AND m.uuid = given.mark_uuid
             LIMIT 1) AS known
          LEFT JOIN LATERAL (
            SELECT m.event_id FROM relay.mark m
             WHERE hashtextextended(m.uuid, 0) = hashtextextended(known.uuid, 0)
               AND hashtextextended(m.source || ' ' || m.webhook_id || ' ' || encode(m.body_hash, 'hex'), 0)
                 = hashtextextended(given.source || ' ' || given.mark_webhook_id || ' ' || encode(given.body_hash, 'hex'), 0)
               AND m.source = given.source AND m.webhook_id = given.mark_webhook_id AND m.uuid = given.mark_uuid
               AND m.body_hash = given.body_hash
             LIMIT 1) AS mark ON true
    ), hours AS MATERIALIZED (
        -- Those for which there are marks: one step down the index for each.
        WITH RECURSIVE hour (number) AS (
            SELECT (SELECT min(m.seen_at / 3600000000) FROM relay.mark m WHERE m.seen_at / 3600000000 >= first.number)
              FROM (SELECT min((given.received_at - given.repeats_within) / 3600000000) AS number
                      FROM given WHERE given.repeats_within > 0) AS first
            UNION ALL
            SELECT (SELECT min(m.seen_at / 3600000000) FROM relay.mark m WHERE m.seen_at / 3600000000 > hour.number)
              FROM hour WHERE hour.number IS NOT NULL)
        SELECT number FROM hour
    ), repeated AS MATERIALIZED (
        SELECT given.place, mark.event_id, mark.seen_at FROM given CROSS JOIN LATERAL (
            SELECT found.event_id, found.seen_at FROM hours CROSS JOIN LATERAL (
                -- Only by time: repeats, of which there may be very many, bear the time of the first.
                SELECT m.event_id, m.seen_at FROM relay.mark m
                 WHERE m.seen_at / 3600000000 = hours.number
                   AND hashtextextended(encode(m.body_hash, 'hex'), 0) = hashtextextended(encode(given.body_hash, 'hex'), 0)
                   AND m.body_hash = given.body_hash AND m.seen_at >= given.received_at - given.repeats_within
                   AND m.source = given.source AND m.webhook_id = given.mark_webhook_id
                 ORDER BY m.seen_at LIMIT 1) AS found
             ORDER BY hours.number LIMIT 1) AS mark
         WHERE given.repeats_within > 0
    ), duplicates AS MATERIALIZED (
        SELECT seen.place FROM seen WHERE seen.same
    ), fresh AS MATERIALIZED (
        SELECT f.*, nextval('relay.event_seq_seq') AS seq FROM (
            SELECT * FROM given
             WHERE place NOT IN (SELECT place FROM duplicates) AND place NOT IN (SELECT place FROM repeated)
             ORDER BY place) AS f
    ), marked AS (
        -- A repeat's mark bears the time of the first, so that the window ends when it ends, however often it is repeated.
        INSERT INTO relay.mark (source, webhook_id, uuid, body_hash, event_id, seen_at)
        SELECT given.source, given.mark_webhook_id, given.mark_uuid, given.body_hash,
               coalesce(repeated.event_id, given.id), coalesce(repeated.seen_at, given.received_at)
          FROM given LEFT JOIN repeated ON repeated.place = given.place
         WHERE given.place NOT IN (SELECT place FROM duplicates)
    ), written AS (
        INSERT INTO relay.event (seq, id, source, type, state, detail, received_at, webhook_id, uuid, meeting, session,
                                 organization, stream, defect, headers, body)
        SELECT seq, id, source, type, state, detail, received_at, webhook_id, uuid, meeting, session,
               organization, stream, defect, headers, body
          FROM fresh
    ), sent AS (
        -- Of the deliveries of one meeting to one sink only the first is due, and only if none waits already.
        INSERT INTO relay.delivery (event, route, sink, order_key, state, due_at, config)
        SELECT fresh.seq, target.route, target.sink, target.order_key, 'pending',
               CASE WHEN target.order_key IS NULL
                      OR (before.waits IS NULL
                          AND 1 = row_number() OVER (PARTITION BY target.sink, target.order_key ORDER BY target.number))
                    THEN fresh.received_at END,
               fresh.config
          FROM unnest($21, $22, $23, $24) WITH ORDINALITY AS target (place, route, sink, order_key, number)
          JOIN fresh ON fresh.place = target.place
          LEFT JOIN LATERAL (
            SELECT true AS waits FROM relay.delivery d
             WHERE hashtextextended(d.sink || ' ' || d.order_key, 0)
                 = hashtextextended(target.sink || ' ' || target.order_key, 0)
               AND d.sink = target.sink
               AND d.order_key = target.order_key AND d.settled_at IS NULL AND d.replay = 0
             LIMIT 1) AS before ON true
         ORDER BY target.number
    )
    SELECT seen.place::INTEGER, seen.event_id, 'uuid' FROM seen WHERE seen.same
    UNION ALL
    SELECT repeated.place::INTEGER, repeated.event_id, 'body' FROM repeated
     WHERE repeated.place NOT IN (SELECT place FROM duplicates)
    UNION ALL
    SELECT fresh.place::INTEGER, fresh.id, 'conflict' FROM fresh
     WHERE fresh.uuid IS NOT NULL AND fresh.place IN (SELECT place FROM seen);
END
$$;

-- Lease what is due of sink $1, $2 at most, $3 of them the newest, at $4 until $5, to owner $6; nothing to one who was
-- not heard of for $7: others take it for dead. What was due before $8 is skipped (relay/stores/postgres/skipping.py); if
-- anything is, the newest are those of the last two seconds. Each row says when the oldest was due, and how many entries
-- of the index were passed beside those of what was taken; where nothing was taken, a row says only that.
CREATE FUNCTION relay.claim(TEXT, INTEGER, INTEGER, BIGINT, BIGINT, TEXT, BIGINT, BIGINT)
RETURNS TABLE (
    delivery BIGINT, route TEXT, sink TEXT, attempt INTEGER, tries INTEGER, replay INTEGER, replay_at BIGINT,
    id TEXT, source TEXT, type TEXT, received_at BIGINT, webhook_id TEXT, uuid TEXT, meeting TEXT, session TEXT,
    organization TEXT, stream TEXT, defect TEXT, headers TEXT, body BYTEA, oldest BIGINT, passed BIGINT
) LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
    before BIGINT := pg_stat_get_xact_tuples_returned('relay.delivery_due'::regclass);
    fresh  BIGINT[];
    newest BIGINT[];
    again  BIGINT[] := '{}';
BEGIN
    IF EXISTS (SELECT FROM relay.node n WHERE n.owner = $6 AND n.seen_at < relay.clock() - $7) THEN
        RETURN;
    END IF;
    -- The conditions of the partial indexes stand here word for word.
    SELECT coalesce(array_agg(due.id), '{}'), min(due.due_at) INTO fresh, oldest FROM (
        SELECT d.id, d.due_at FROM relay.delivery d
         WHERE d.sink = $1 AND d.state = 'pending' AND d.replay = 0 AND d.due_at <= $4 AND d.due_at >= $8
         ORDER BY d.due_at, d.id LIMIT $2 - $3 FOR UPDATE SKIP LOCKED) AS due;
    IF $3 > 0 AND cardinality(fresh) = $2 - $3 THEN
        newest := ARRAY(
            SELECT d.id FROM relay.delivery d
             WHERE d.sink = $1 AND d.state = 'pending' AND d.replay = 0 AND d.due_at <= $4
               AND d.due_at >= CASE WHEN $8 > 0 THEN greatest($8, $4 - 2000000) ELSE 0 END
             ORDER BY d.due_at DESC, d.id DESC LIMIT $3 FOR UPDATE SKIP LOCKED);
        fresh := ARRAY(SELECT unnest(fresh) UNION SELECT unnest(newest));
    END IF;
    IF cardinality(fresh) < $2 THEN
        again := ARRAY(
            SELECT d.id FROM relay.delivery d
             WHERE d.sink = $1 AND d.state = 'pending' AND d.replay > 0 AND d.due_at <= $4
             ORDER BY d.due_at, d.id LIMIT $2 - cardinality(fresh) FOR UPDATE SKIP LOCKED);
    END IF;
    passed := pg_stat_get_xact_tuples_returned('relay.delivery_due'::regclass) - before - cardinality(fresh);
    IF cardinality(fresh) + cardinality(again) = 0 THEN
        RETURN NEXT;
        RETURN;
    END IF;
    RETURN QUERY
    WITH leased AS (
        UPDATE relay.delivery d SET attempt = d.attempt + 1, tries = d.tries + 1, due_at = $5, owner = $6
         WHERE d.id = ANY(fresh || again)
        RETURNING d.id, d.event, d.route, d.sink, d.attempt, d.tries, d.replay, d.replay_at)
    SELECT d.id, d.route, d.sink, d.attempt, d.tries, d.replay, d.replay_at,
           e.id, e.source, e.type, e.received_at, e.webhook_id, e.uuid, e.meeting, e.session, e.organization, e.stream,
           e.defect, e.headers, e.body, oldest, passed
      FROM leased d JOIN relay.event e ON e.seq = ANY(ARRAY[d.event])
     ORDER BY d.replay > 0, d.id;  -- ids are in the order of acceptance
END
$$;

-- When the next delivery of sink $1 comes due. In order and not as a minimum, which may be made of all that wait.
CREATE FUNCTION relay.next_due(TEXT) RETURNS BIGINT LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN least(
        (SELECT d.due_at FROM relay.delivery d
          WHERE d.sink = $1 AND d.state = 'pending' AND d.replay = 0 AND d.due_at IS NOT NULL
          ORDER BY d.due_at, d.id LIMIT 1),
        (SELECT d.due_at FROM relay.delivery d
          WHERE d.sink = $1 AND d.state = 'pending' AND d.replay > 0 AND d.due_at IS NOT NULL
          ORDER BY d.due_at, d.id LIMIT 1));
END
$$;

-- Record verdicts: numbers, attempts, states, when a pending one comes due again, tries, receipts, reasons, details, and
-- whether the failure is kept; at $10. Numbers ascend, each once. Yields those that were recorded (of the others somebody
-- else has the lease), and since when the oldest is due that has come due by it.
CREATE FUNCTION relay.settle(
    BIGINT[], INTEGER[], TEXT[], BIGINT[], INTEGER[], TEXT[], TEXT[], TEXT[], BOOLEAN[], BIGINT,
    OUT recorded BIGINT[], OUT woken BIGINT
) LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    ordered BIGINT[];
BEGIN
    PERFORM pg_advisory_xact_lock(1148810241, hash) FROM (
        SELECT DISTINCT hashtext(d.order_key) AS hash
          FROM unnest($1, $3) AS given (id, state) JOIN relay.delivery d ON d.id = ANY(ARRAY[given.id])
         WHERE given.state <> 'pending' AND d.order_key IS NOT NULL
         ORDER BY 1) AS wanted;
    WITH given AS MATERIALIZED (
        SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9)
            AS g (id, attempt, state, due_at, tries, receipt, reason, detail, kept)
    ), done AS (
        UPDATE relay.delivery d
           SET state = given.state, due_at = given.due_at, owner = NULL,
               tries = CASE WHEN given.state = 'pending' THEN given.tries ELSE d.tries END,
               settled_at = CASE WHEN given.state = 'pending' THEN d.settled_at ELSE $10 END,
               receipt = given.receipt, reason = given.reason, detail = given.detail
          FROM given
         WHERE d.id = ANY(ARRAY[given.id]) AND d.attempt = given.attempt AND d.state = 'pending'
        RETURNING d.id, d.attempt, d.state, d.order_key, d.reason, d.detail, given.kept
    ), failed AS (
        INSERT INTO relay.failure (delivery, attempt, at, reason, detail)
        SELECT done.id, done.attempt, $10, done.reason, done.detail FROM done WHERE done.kept
        ON CONFLICT (delivery, attempt) DO UPDATE SET at = excluded.at, reason = excluded.reason, detail = excluded.detail
    )
    SELECT array_agg(done.id), array_agg(done.id) FILTER (WHERE done.state <> 'pending' AND done.order_key IS NOT NULL)
      INTO recorded, ordered FROM done;
    -- Of each meeting in which one was settled, let the next one come due; as old as its event, not as its turn: else a
    -- backlog of long meetings would look as new as what comes in meanwhile.
    IF ordered IS NOT NULL THEN
        WITH next AS (
        UPDATE relay.delivery d
           SET due_at = coalesce(d.replay_at,
                                 least($10, (SELECT e.received_at FROM relay.event e WHERE e.seq = d.event)))
         WHERE d.due_at IS NULL AND d.id = ANY(ARRAY(
            SELECT CASE WHEN done.replay = 0
                        THEN (SELECT n.id FROM relay.delivery n
                               WHERE n.sink = done.sink AND n.settled_at IS NULL AND n.replay = 0
                                 AND hashtextextended(n.sink || ' ' || n.order_key, 0)
                                   = hashtextextended(done.sink || ' ' || done.order_key, 0)
                                 AND n.order_key = done.order_key
                               ORDER BY n.id LIMIT 1)
                        ELSE (SELECT n.id FROM relay.delivery n
                               WHERE n.sink = done.sink AND n.settled_at IS NULL AND n.replay > 0
                                 AND hashtextextended(n.sink || ' ' || n.order_key, 0)
                                   = hashtextextended(done.sink || ' ' || done.order_key, 0)
                                 AND n.order_key = done.order_key
                               ORDER BY n.event LIMIT 1)
                   END
              FROM relay.delivery done WHERE done.id = ANY(ordered)))
        RETURNING d.due_at)
        SELECT min(next.due_at) INTO woken FROM next;
    END IF;
END
$$;

-- Make what these owners hold due at $2. But what was interrupted again and again may be what kills them, and must not
-- always be in the company of the same others: after three begun attempts each comes back at a moment of its own, within
-- 5 s. What is being settled just now is left alone. No more than 10000 at once: a heartbeat that took longer than a
-- statement may would never succeed, and nobody would be heard of any more. `beat` and `join` are called again.
CREATE FUNCTION relay.give_back(TEXT[], BIGINT) RETURNS INTEGER LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
    count INTEGER;
BEGIN
    UPDATE relay.delivery d
       SET due_at = least(d.due_at, $2 + CASE WHEN d.tries > 2 THEN (random() * 5000000)::BIGINT ELSE 0 END),
           owner = NULL
     WHERE d.id = ANY(ARRAY(
        SELECT h.id FROM relay.delivery h WHERE h.owner = ANY($1) LIMIT 10000 FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS count = ROW_COUNT;
    RETURN count;
END
$$;

-- Owner $1 holds $2 and nothing else: what a claim has leased whose answer was lost is due again at $3.
CREATE FUNCTION relay.let_go(TEXT, BIGINT[], BIGINT) RETURNS INTEGER LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
    count INTEGER;
BEGIN
    UPDATE relay.delivery d SET due_at = least(d.due_at, $3), owner = NULL
     WHERE d.id = ANY(ARRAY(
        SELECT h.id FROM relay.delivery h WHERE h.owner = $1 AND h.id <> ALL($2) ORDER BY h.id FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS count = ROW_COUNT;
    RETURN count;
END
$$;

-- Owner $1 lives. Its beats have a gap where the one before is longer ago than $2. Whoever was not heard of for $3 is
-- dead; but only one who has himself been heard of for as long without a gap may say so: when the server was away, all
-- look dead. What the dead had begun is due again at $4 from now. Yields how much that was, and how many others live.
CREATE FUNCTION relay.beat(TEXT, BIGINT, BIGINT, BIGINT, OUT given_back INTEGER, OUT others INTEGER)
LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
    moment BIGINT := relay.clock();
    began  BIGINT;
BEGIN
    INSERT INTO relay.node AS n (owner, since, seen_at) VALUES ($1, moment, moment)
    ON CONFLICT (owner) DO UPDATE
       SET since = CASE WHEN moment - n.seen_at > $2 THEN moment ELSE n.since END, seen_at = moment
    RETURNING n.since INTO began;
    given_back := relay.give_back(ARRAY(
        SELECT n.owner FROM relay.node n
         WHERE n.owner <> $1 AND (n.seen_at = 0 OR (n.seen_at < moment - $3 AND began <= moment - $3))), moment + $4);
    DELETE FROM relay.node n
     WHERE (n.seen_at = 0 OR n.seen_at < moment - 86400000000)
       AND NOT EXISTS (SELECT FROM relay.delivery d WHERE d.owner = n.owner);
    others := (SELECT count(*) FROM relay.node n WHERE n.owner <> $1 AND n.seen_at >= moment - $3);
END
$$;

-- Owner $1 begins. What is held by those of whom nothing is known is due again at $4: they have left, or never were at
-- work. The others' turn comes with `beat`. Yields how much that was, and this server's clock.
CREATE FUNCTION relay.join(TEXT, BIGINT, BIGINT, BIGINT, OUT given_back INTEGER, OUT moment BIGINT)
LANGUAGE plpgsql SET enable_seqscan = off AS $$
BEGIN
    moment := relay.clock();
    given_back := relay.give_back(ARRAY(
        WITH RECURSIVE holder (owner) AS (
            (SELECT min(d.owner) FROM relay.delivery d WHERE d.owner IS NOT NULL)
            UNION ALL
            SELECT (SELECT min(d.owner) FROM relay.delivery d WHERE d.owner > holder.owner)
              FROM holder WHERE holder.owner IS NOT NULL)
        SELECT h.owner FROM holder h
         WHERE h.owner IS NOT NULL AND h.owner <> $1
           AND NOT EXISTS (SELECT FROM relay.node n WHERE n.owner = h.owner AND n.seen_at > 0)), $4);
    given_back := given_back + (SELECT b.given_back FROM relay.beat($1, $2, $3, $4 - moment) b);
END
$$;

-- Owner $1 is gone for certain: what it held is due again at $2.
CREATE FUNCTION relay.release(TEXT, BIGINT) RETURNS INTEGER LANGUAGE plpgsql AS $$
BEGIN
    UPDATE relay.node SET seen_at = 0 WHERE owner = $1;
    RETURN relay.give_back(ARRAY[$1], $2);
END
$$;

-- Make deliveries $1 due at $2 (replays: not before their time), unless they are by now or somebody is at work on them.
CREATE FUNCTION relay.bring_forward(BIGINT[], BIGINT) RETURNS INTEGER LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
    count INTEGER;
BEGIN
    UPDATE relay.delivery d SET due_at = greatest($2, coalesce(d.replay_at, 0))
     WHERE d.id = ANY(ARRAY(
        SELECT l.id FROM relay.delivery l
         WHERE l.id = ANY($1) AND l.state = 'pending' AND l.due_at > $2 AND l.owner IS NULL
         ORDER BY l.id FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS count = ROW_COUNT;
    RETURN count;
END
$$;

-- Delivery $1 once more, if it stands in one of the states $2: a settled one at $4, a pending one at $3 unless somebody
-- is at work on it. 1 where it is on its way now and was not before. Its queue and its row are locked by the caller.
CREATE FUNCTION relay.again(BIGINT, TEXT[], BIGINT, BIGINT) RETURNS INTEGER LANGUAGE plpgsql
SET enable_seqscan = off AS $$
DECLARE
    stands TEXT := (SELECT d.state FROM relay.delivery d WHERE d.id = $1);
    count  INTEGER;
BEGIN
    IF stands IS NULL OR stands <> ALL($2) THEN
        RETURN 0;
    END IF;
    IF stands = 'pending' THEN
        -- A replay that waits for its turn has a time too, before which it does not go.
        UPDATE relay.delivery d
           SET due_at = CASE WHEN d.due_at IS NOT NULL THEN $3 END,
               replay_at = CASE WHEN d.replay_at IS NOT NULL THEN least(d.replay_at, $3) END, tries = 0
         WHERE d.id = $1 AND d.owner IS NULL AND (d.due_at > $3 OR (d.due_at IS NULL AND d.replay_at > $3));
    ELSE
        -- One replay of a meeting at a time: only the first has a due time. `attempt` grows, so that no result of the
        -- delivery's first life can settle its second.
        UPDATE relay.delivery d
           SET state = 'pending', replay = d.replay + 1, replay_at = $4, attempt = d.attempt + 1, tries = 0,
               owner = NULL, settled_at = NULL, receipt = '', reason = '', detail = '',
               due_at = CASE WHEN relay.replays_wait(d.sink, d.order_key) THEN NULL ELSE $4 END
         WHERE d.id = $1;
    END IF;
    GET DIAGNOSTICS count = ROW_COUNT;
    RETURN count;
END
$$;

-- Whether a replay of this queue is on its way.
CREATE FUNCTION relay.replays_wait(TEXT, TEXT) RETURNS BOOLEAN LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
BEGIN
    RETURN EXISTS (
        SELECT FROM relay.delivery d
         WHERE hashtextextended(d.sink || ' ' || d.order_key, 0) = hashtextextended($1 || ' ' || $2, 0)
           AND d.sink = $1 AND d.order_key = $2
           AND d.settled_at IS NULL AND d.replay > 0);
END
$$;

-- Deliveries $1, in this order, once more, if they stand in the states $2; at $3 it is now, the first goes at $4, each
-- later one $5 after the one before. How many.
CREATE FUNCTION relay.replay(BIGINT[], TEXT[], BIGINT, BIGINT, BIGINT) RETURNS INTEGER LANGUAGE plpgsql
SET enable_seqscan = off AS $$
DECLARE
    one   BIGINT;
    count INTEGER := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(1148810241, hash) FROM (
        SELECT DISTINCT hashtext(d.order_key) AS hash FROM relay.delivery d
         WHERE d.id = ANY($1) AND d.order_key IS NOT NULL ORDER BY 1) AS wanted;
    PERFORM 1 FROM relay.delivery d WHERE d.id = ANY($1) ORDER BY d.id FOR UPDATE;
    FOREACH one IN ARRAY $1 LOOP
        count := count + relay.again(one, $2, $3, $4 + count * $5);
    END LOOP;
    RETURN count;
END
$$;

-- Events $1, each with a delivery of route $2 to sink $3 with order key $4 that it should have: add what it lacks, and
-- replay what it has and what stands in the states $5. Now, first and spacing as in `replay`; $9: config.
CREATE FUNCTION relay.redeliver(
    TEXT[], TEXT[], TEXT[], TEXT[], TEXT[], BIGINT, BIGINT, BIGINT, TEXT,
    OUT added INTEGER, OUT replayed INTEGER, OUT sinks TEXT[]
) LANGUAGE plpgsql SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    place    INTEGER;
    sequence BIGINT;
    existing BIGINT;
    due      BIGINT;
    count    INTEGER;
BEGIN
    added := 0;
    replayed := 0;
    sinks := '{}';
    PERFORM pg_advisory_xact_lock(1148810241, hash) FROM (
        SELECT hashtext(key) AS hash FROM unnest($4) AS key WHERE key IS NOT NULL
        UNION
        SELECT hashtext(d.order_key) FROM relay.delivery d
         WHERE d.event = ANY(ARRAY(SELECT e.seq FROM relay.event e WHERE e.id = ANY($1))) AND d.order_key IS NOT NULL
        ORDER BY 1) AS wanted;
    -- Looked up and put in order by two steps: a server that knows of few would walk over all, as they are in order.
    PERFORM 1 FROM relay.event e
      WHERE e.seq = ANY(ARRAY(SELECT of.seq FROM relay.event of WHERE of.id = ANY($1))) ORDER BY e.seq FOR UPDATE;
    PERFORM 1 FROM relay.delivery d
      WHERE d.id = ANY(ARRAY(SELECT of.id FROM relay.delivery of
                              WHERE of.event = ANY(ARRAY(SELECT e.seq FROM relay.event e WHERE e.id = ANY($1)))))
      ORDER BY d.id FOR UPDATE;
    FOR place IN 1 .. cardinality($1) LOOP
        sequence := (SELECT e.seq FROM relay.event e WHERE e.id = $1[place]);
        CONTINUE WHEN sequence IS NULL;
        due := $7 + (added + replayed) * $8;
        existing := (SELECT d.id FROM relay.delivery d WHERE d.event = sequence AND d.sink = $3[place]);
        IF existing IS NULL THEN
            INSERT INTO relay.delivery (event, route, sink, order_key, state, due_at, replay, replay_at, config)
            VALUES (sequence, $2[place], $3[place], $4[place], 'pending',
                    CASE WHEN relay.replays_wait($3[place], $4[place]) THEN NULL ELSE due END, 1, due, $9);
            UPDATE relay.event SET state = 'routed', detail = '' WHERE seq = sequence AND state <> 'routed';
            added := added + 1;
        ELSE
            count := relay.again(existing, $5, $6, due);
            CONTINUE WHEN count = 0;
            replayed := replayed + count;
        END IF;
        IF $3[place] <> ALL(sinks) THEN
            sinks := sinks || $3[place];
        END IF;
    END LOOP;
END
$$;
