-- Replays of one meeting go in the order of their events: a delivery that is added later has a later id.
DROP INDEX replay_order;
CREATE INDEX replay_order ON delivery (sink, order_key, event)
 WHERE state = 'pending' AND replay > 0 AND order_key IS NOT NULL;
