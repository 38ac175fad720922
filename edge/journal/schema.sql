-- The journal of one gateway, version 1. Each row carries a CRC-32 over its other columns.

CREATE TABLE state (            -- one row
    id INTEGER PRIMARY KEY CHECK (id = 1),
    store INTEGER NOT NULL,     -- number of the data store the event lane belongs to
    next_seq INTEGER NOT NULL,  -- number of the next event; only ever grows
    oldest_seq INTEGER NOT NULL,-- numbers below were let go on purpose
    crc INTEGER NOT NULL
);
CREATE TABLE event (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,    -- deterministic: what is told twice is written once
    time_us INTEGER NOT NULL,
    record BLOB NOT NULL,       -- MessagePack of EventRecord
    crc INTEGER NOT NULL
);
CREATE TABLE checkpoint (       -- the two newest; a damaged one has a forerunner
    number INTEGER PRIMARY KEY,
    position INTEGER NOT NULL,  -- the head up to here is judged
    next_seq INTEGER NOT NULL,  -- events from here on may be told again by a replay
    snapshot BLOB NOT NULL,
    crc INTEGER NOT NULL
);
CREATE TABLE receipt (first INTEGER PRIMARY KEY, last INTEGER NOT NULL, crc INTEGER NOT NULL);
PRAGMA user_version = 1;
