-- Format 1 of the metadata in PostgreSQL. A later format is a file of its own that changes this one:
-- what a controller has installed is never edited. docs/adr/0030 tells why it is so.
CREATE SCHEMA tannin;

-- One row. Whoever writes locks it first: writers take turns, and a revision can be read only after
-- the one before it.
CREATE TABLE tannin.store (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    format integer NOT NULL,
    revision bigint NOT NULL,
    forgotten bigint NOT NULL -- changes up to this revision are not in tannin.changes any more
);
INSERT INTO tannin.store (format, revision, forgotten) VALUES (1, 0, 0);

CREATE TABLE tannin.leases (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ttl interval NOT NULL,
    ends timestamptz NOT NULL
);

CREATE TABLE tannin.entries (
    key text COLLATE "C" PRIMARY KEY,
    value bytea NOT NULL,
    revision bigint NOT NULL,
    lease bigint
);
CREATE INDEX entries_of_lease ON tannin.entries (lease) WHERE lease IS NOT NULL;

-- What watchers have not read yet. No value: the key was deleted.
CREATE TABLE tannin.changes (
    revision bigint NOT NULL,
    key text COLLATE "C" NOT NULL,
    value bytea,
    PRIMARY KEY (revision, key)
);

-- Ends leases whose time is over, by this database's clock, in a revision of their own if keys go
-- with them. The caller holds the lock; gives the revision that is the last one now.
CREATE FUNCTION tannin.end_leases(last bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    ended bigint[];
BEGIN
    WITH gone AS (
        DELETE FROM tannin.leases WHERE ends <= clock_timestamp() RETURNING id
    )
    SELECT array_agg(id) INTO ended FROM gone;
    IF ended IS NULL THEN
        RETURN last;
    END IF;
    WITH gone AS (
        DELETE FROM tannin.entries WHERE lease = ANY (ended) RETURNING key
    )
    INSERT INTO tannin.changes (revision, key) SELECT last + 1, key FROM gone;
    IF NOT FOUND THEN
        RETURN last;
    END IF;
    UPDATE tannin.store SET revision = last + 1;
    PERFORM pg_notify('tannin', '');
    RETURN last + 1;
END $$;

-- A whole transaction in one statement: nobody ever waits for a client that holds the lock.
-- First everything in `gone`, and in the ranges from `first` to before `until`, is deleted, then
-- everything is put. Gives the revision, or what was not as compared.
CREATE FUNCTION tannin.txn(
    compared text[], revisions bigint[], held bigint[],
    gone text[], first text[], until text[],
    puts text[], put_values bytea[], put_leases bigint[]
) RETURNS TABLE (committed bigint, conflict text) LANGUAGE plpgsql AS $$
DECLARE
    last bigint;
BEGIN
    SELECT s.revision INTO last FROM tannin.store s FOR UPDATE;
    last := tannin.end_leases(last);

    IF EXISTS (
        SELECT FROM unnest(held || put_leases) AS wanted (id)
        WHERE id IS NOT NULL AND NOT EXISTS (SELECT FROM tannin.leases l WHERE l.id = wanted.id)
    ) THEN
        RETURN QUERY SELECT NULL::bigint, 'lease'::text;
        RETURN;
    END IF;
    SELECT c.key INTO conflict
        FROM unnest(compared, revisions) WITH ORDINALITY AS c (key, revision, place)
        LEFT JOIN tannin.entries e ON e.key = c.key COLLATE "C"
        WHERE coalesce(e.revision, 0) <> c.revision
        ORDER BY c.place LIMIT 1;
    IF conflict IS NOT NULL THEN
        RETURN QUERY SELECT NULL::bigint, conflict;
        RETURN;
    END IF;

    last := last + 1;
    WITH going AS (
        DELETE FROM tannin.entries e WHERE e.key = ANY (gone) AND e.key <> ALL (puts)
        RETURNING e.key
    )
    INSERT INTO tannin.changes (revision, key) SELECT last, going.key FROM going;
    FOR place IN 1 .. cardinality(first) LOOP
        WITH going AS (
            DELETE FROM tannin.entries e
            WHERE e.key >= first[place] AND e.key < until[place] AND e.key <> ALL (puts)
            RETURNING e.key
        )
        INSERT INTO tannin.changes (revision, key) SELECT last, going.key FROM going;
    END LOOP;
    INSERT INTO tannin.entries (key, value, revision, lease)
        SELECT p.key, p.value, last, p.lease
        FROM unnest(puts, put_values, put_leases) AS p (key, value, lease)
        ON CONFLICT (key) DO UPDATE
        SET value = excluded.value, revision = excluded.revision, lease = excluded.lease;
    INSERT INTO tannin.changes (revision, key, value)
        SELECT last, p.key, p.value FROM unnest(puts, put_values) AS p (key, value);
    UPDATE tannin.store SET revision = last;
    PERFORM pg_notify('tannin', '');
    RETURN QUERY SELECT last, NULL::text;
END $$;

-- Ends this lease, if one is named, and all whose time is over.
CREATE FUNCTION tannin.revoke(lease bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    last bigint;
BEGIN
    SELECT s.revision INTO last FROM tannin.store s FOR UPDATE;
    UPDATE tannin.leases SET ends = '-infinity' WHERE id = lease;
    PERFORM tannin.end_leases(last);
END $$;

-- Drops all but the newest `kept` revisions of tannin.changes.
CREATE FUNCTION tannin.forget(kept bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    until bigint;
BEGIN
    SELECT s.revision - kept INTO until FROM tannin.store s WHERE s.revision - kept > s.forgotten
        FOR UPDATE;
    IF until IS NOT NULL THEN
        DELETE FROM tannin.changes WHERE revision <= until;
        UPDATE tannin.store SET forgotten = until;
    END IF;
END $$;
