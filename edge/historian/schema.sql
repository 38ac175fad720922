-- The segment store of one gateway, version 1. Written by one process, read by it too.
-- Each row carries a CRC-32 over its other columns; a segment's covers its head but not its body,
-- whose checksums are in the head.

CREATE TABLE state (            -- one row
    id INTEGER PRIMARY KEY CHECK (id = 1),
    store INTEGER NOT NULL,     -- random, drawn when this file was made, and anew for an older copy
    next_seq INTEGER NOT NULL,  -- number of the next segment; only ever grows
    oldest_seq INTEGER NOT NULL,-- numbers below were let go on purpose, or are of an older store number
    positions INTEGER NOT NULL, -- head positions below may have been used
    crc INTEGER NOT NULL
);
CREATE TABLE signal (number INTEGER PRIMARY KEY, uid TEXT NOT NULL UNIQUE, crc INTEGER NOT NULL);
CREATE TABLE acquisition_group (number INTEGER PRIMARY KEY, uid TEXT NOT NULL UNIQUE, crc INTEGER NOT NULL);
CREATE TABLE epoch (            -- who the members of a group were, and what their numbers meant
    acquisition_group INTEGER NOT NULL,
    number INTEGER NOT NULL,
    members BLOB NOT NULL,      -- MessagePack of layout.Meaning
    crc INTEGER NOT NULL,
    PRIMARY KEY (acquisition_group, number)
) WITHOUT ROWID;
CREATE TABLE sealed (           -- head positions of a group up to here are in segments
    acquisition_group INTEGER PRIMARY KEY,
    position INTEGER NOT NULL,
    crc INTEGER NOT NULL
);
CREATE TABLE receipt (          -- numbers of segments the aggregator said it holds
    first INTEGER PRIMARY KEY,
    last INTEGER NOT NULL,
    crc INTEGER NOT NULL
);
CREATE TABLE segment (
    seq INTEGER PRIMARY KEY,
    acquisition_group INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    head_first INTEGER NOT NULL,
    head_last INTEGER NOT NULL,
    t_min_us INTEGER NOT NULL,
    t_max_us INTEGER NOT NULL,
    count INTEGER NOT NULL,
    digest INTEGER NOT NULL,    -- 64 bits, stored as signed
    body_bytes INTEGER NOT NULL,-- -1: the body was let go, the head with its statistics stays
    crc INTEGER NOT NULL,
    head BLOB NOT NULL,
    body BLOB
);
CREATE INDEX segment_time ON segment (acquisition_group, t_max_us, t_min_us, seq);
CREATE INDEX segment_with_body ON segment (seq, body_bytes) WHERE body_bytes >= 0;
PRAGMA user_version = 1;
