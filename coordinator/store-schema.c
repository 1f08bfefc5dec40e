/* The tables. Times are REALTIME microseconds; documents are kept as they came. */
#include "store.h"

/* clang-format off: one column a line would be hard to read */
const char store_schema[] =
    "BEGIN IMMEDIATE;"
    "CREATE TABLE hosts (id TEXT PRIMARY KEY, public TEXT NOT NULL, labels TEXT NOT NULL,"
    "  address TEXT NOT NULL, joined INTEGER NOT NULL, last_seen INTEGER NOT NULL,"
    "  is_suspect INTEGER NOT NULL DEFAULT 0, proved INTEGER NOT NULL DEFAULT 0) STRICT;"
    "CREATE TABLE tokens (id TEXT PRIMARY KEY, hash TEXT NOT NULL UNIQUE, labels TEXT NOT NULL,"
    "  uses_left INTEGER NOT NULL CHECK (uses_left >= 0), created INTEGER NOT NULL,"
    "  expires INTEGER NOT NULL, by TEXT NOT NULL, is_revoked INTEGER NOT NULL DEFAULT 0) STRICT;"
    /* what waits for a host, until it says that it has it */
    "CREATE TABLE items (id TEXT PRIMARY KEY, host TEXT NOT NULL REFERENCES hosts (id) ON DELETE CASCADE,"
    "  kind TEXT NOT NULL, envelope TEXT NOT NULL, mandate TEXT, created INTEGER NOT NULL) STRICT;"
    "CREATE INDEX items_of_host ON items (host, id);"
    /* the chains of the hosts, which outlive them; and, as host run/ID, what a run records of itself */
    "CREATE TABLE events (host TEXT NOT NULL, sequence INTEGER NOT NULL, hash TEXT NOT NULL,"
    "  line TEXT NOT NULL, run TEXT, kind TEXT NOT NULL, at INTEGER NOT NULL,"
    "  PRIMARY KEY (host, sequence)) STRICT;"
    /* what was in a chain until the host's own signature spoke against it: evidence */
    "CREATE TABLE disputed (host TEXT NOT NULL, sequence INTEGER NOT NULL, hash TEXT NOT NULL,"
    "  line TEXT NOT NULL, since INTEGER NOT NULL) STRICT;"
    "CREATE TABLE mandates (hash TEXT PRIMARY KEY, envelope TEXT NOT NULL, received INTEGER NOT NULL) STRICT;"
    /* status, lines and report when it is over */
    "CREATE TABLE runs (id TEXT PRIMARY KEY, mandate TEXT NOT NULL, is_started INTEGER NOT NULL DEFAULT 0,"
    "  is_over INTEGER NOT NULL DEFAULT 0, status TEXT, lines TEXT, report TEXT) STRICT;"
    "PRAGMA user_version = " STORE_SCHEMA_VERSION "; COMMIT";
