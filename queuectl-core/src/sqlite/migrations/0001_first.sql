-- States are numbered as in State::ALL: 0 pending, 1 blocked, 2 processing, 3 completed, 4 failed,
-- 5 dead, 6 cancelled. A job that is processing has a row in queuectl_lease, and in its own row the
-- state that it was claimed in. Times ending in _at are milliseconds since 1970, UTC; those named boot are
-- milliseconds of the boot clock and mean something only under queuectl_meta.boot_id.

-- One row: what file this is.
CREATE TABLE queuectl_meta (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    identity TEXT NOT NULL,
    schema INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    boot_id TEXT NOT NULL,
    -- Raised by whatever changes queues, lanes, policies or settings, so that everyone who keeps a copy of
    -- those in memory knows when to read them again.
    epoch INTEGER NOT NULL,
    -- Where the queue stood that was given a job last, among queues with weights.
    turn INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE queuectl_setting (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE queuectl_queue (
    queue INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    paused INTEGER NOT NULL DEFAULT 0,
    -- How many of its jobs may be processing at a time, how many of those with one concurrency key, and
    -- how many may start in a period. NULL is the default: any number, one, any number.
    concurrency INTEGER,
    per_key INTEGER,
    rate_starts INTEGER,
    rate_period_ms INTEGER,
    -- How much of the workers it gets beside others, NULL if nothing is said; and how far it has come
    -- with what it was given, by which its next turn is found.
    weight INTEGER,
    pass INTEGER NOT NULL DEFAULT 0
) STRICT;

-- What holds for the jobs of a kind that say nothing themselves. NULL leaves it to the settings; a kind
-- of which all is left has no row.
CREATE TABLE queuectl_policy (
    kind TEXT PRIMARY KEY,
    max_retries INTEGER,
    max_crashes INTEGER,
    timeout_ms INTEGER,
    backoff TEXT
) STRICT, WITHOUT ROWID;

-- A lane is the jobs of one queue and one kind. Workers claim by lane, because a worker has handlers
-- for some kinds only, and jobs of other kinds must not stand in its way.
CREATE TABLE queuectl_lane (
    lane INTEGER PRIMARY KEY,
    queue INTEGER NOT NULL,
    kind TEXT NOT NULL,
    UNIQUE (queue, kind)
) STRICT;

-- How many jobs each lane has in each state, kept in the transaction that changes it.
CREATE TABLE queuectl_count (
    lane INTEGER NOT NULL,
    state INTEGER NOT NULL,
    n INTEGER NOT NULL CHECK (n >= 0),
    PRIMARY KEY (lane, state)
) STRICT, WITHOUT ROWID;

CREATE TABLE queuectl_job (
    key INTEGER PRIMARY KEY AUTOINCREMENT,
    state INTEGER NOT NULL,
    lane INTEGER NOT NULL,
    priority INTEGER NOT NULL DEFAULT 0,
    -- The newest attempt that has ended, how many that makes, and who held it.
    token INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    max_attempts INTEGER NOT NULL,
    worker INTEGER,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    run_at INTEGER NOT NULL,
    -- When its relative delay was over, or will be; NULL if there was none, or a moment of the wall
    -- clock. 0 in a blocked job that was due when it was enqueued: it stays so.
    run_boot INTEGER,
    -- From when on it is not run any more, and for a relative expiry the reading of the boot clock
    -- that counts.
    expires_at INTEGER,
    expires_boot INTEGER,
    started_at INTEGER,
    finished_at INTEGER,
    -- The first token whose attempt was lost and may have left something running.
    lost_from INTEGER,
    -- While it is blocked: how many of the jobs it waits for may still end as it waits for, and have not.
    blockers INTEGER NOT NULL DEFAULT 0,
    name TEXT,
    unique_key TEXT,
    -- In which states it holds that key: bit n for state n, bit 7 if until queuectl_period says.
    -- Negative while it does not, whatever its state.
    unique_states INTEGER,
    concurrency_key TEXT,
    timeout_ms INTEGER,
    backoff TEXT,
    tags TEXT,
    cancel_reason TEXT,
    last_error TEXT,
    result TEXT,
    progress TEXT,
    payload TEXT NOT NULL,
    -- What must hold whoever writes: a known state of those that a row can have, and no more attempts
    -- than allowed.
    CHECK (state BETWEEN 0 AND 6 AND state <> 2 AND attempts <= max_attempts)
) STRICT;

-- What an operator looks for among ten million completed jobs: blocked, failed, dead, cancelled.
-- (A list of more than two after IN would be built anew, as a tree, for each row that is written.)
CREATE INDEX queuectl_job_notable ON queuectl_job (state) WHERE state = 1 OR state > 3;

CREATE UNIQUE INDEX queuectl_job_name ON queuectl_job (name) WHERE name IS NOT NULL;
-- The jobs that hold their keys: one each.
CREATE UNIQUE INDEX queuectl_job_unique_key ON queuectl_job (unique_key)
    WHERE unique_states > 0 AND (unique_states >> state) & 1;

-- Until when a job holds its key, if it does so for a period. The boot clock counts under that boot id,
-- afterwards the wall clock.
CREATE TABLE queuectl_period (
    job INTEGER PRIMARY KEY,
    until_at INTEGER NOT NULL,
    until_boot INTEGER NOT NULL,
    boot_id TEXT NOT NULL
) STRICT;

-- A job that is pending or failed is in one of the next three tables, and in no other: it can be
-- claimed now, it becomes due later, or a worker holds it. They have a row for what moves, however
-- many jobs there are that do not, and to claim a job leaves its own row alone.

-- What can be claimed now, in the order in which it is claimed: runs of jobs with consecutive numbers,
-- because jobs that were added together are mostly claimed together. rank is minus the priority, or
-- where waiting raises it, run_at minus the waiting that the priority counts for. A job that can expire
-- or has a concurrency key, which makes it one of the group grp, is a run by itself.
CREATE TABLE queuectl_ready (
    lane INTEGER NOT NULL,
    rank INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    -- Whether a claim has to look whether it has expired: most never do.
    expires INTEGER NOT NULL,
    grp INTEGER,
    PRIMARY KEY (lane, rank, first)
) STRICT, WITHOUT ROWID;

-- What becomes due later: at run_at by the wall clock (0), or at run_boot by the boot clock (1).
CREATE TABLE queuectl_due (
    clock INTEGER NOT NULL,
    at INTEGER NOT NULL,
    key INTEGER NOT NULL,
    PRIMARY KEY (clock, at, key)
) STRICT, WITHOUT ROWID;

-- From when on a job that waits, blocked ones too, is not run any more: by the clocks of queuectl_due.
-- Only jobs that can expire are here, and only while nobody holds them.
CREATE TABLE queuectl_expiry (
    clock INTEGER NOT NULL,
    at INTEGER NOT NULL,
    key INTEGER NOT NULL,
    PRIMARY KEY (clock, at, key)
) STRICT, WITHOUT ROWID;

-- Who holds a job, from its claim until the attempt is settled. Nobody else can: there is one row for
-- a key.
CREATE TABLE queuectl_lease (
    key INTEGER PRIMARY KEY,
    token INTEGER NOT NULL,
    worker INTEGER NOT NULL,
    lane INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    -- Its group, if it has a concurrency key; its queue, if that had a concurrency limit.
    grp INTEGER,
    limited INTEGER,
    -- Set when cancellation was requested.
    cancel_reason TEXT
) STRICT;
CREATE INDEX queuectl_lease_limited ON queuectl_lease (limited, worker) WHERE limited IS NOT NULL;
CREATE INDEX queuectl_lease_cancelled ON queuectl_lease (worker) WHERE cancel_reason IS NOT NULL;

-- The jobs of one queue with one concurrency key, as long as one of them is due or processing.
CREATE TABLE queuectl_group (
    grp INTEGER PRIMARY KEY AUTOINCREMENT,
    queue INTEGER NOT NULL,
    concurrency_key TEXT NOT NULL,
    -- How many are processing.
    running INTEGER NOT NULL DEFAULT 0 CHECK (running >= 0),
    UNIQUE (queue, concurrency_key)
) STRICT;

-- The jobs of a group that are due. In each lane only as many are ready as the group may run beside
-- those that it runs already, and they are the first in order: so a claim never has to step over the
-- others, however many there are.
CREATE TABLE queuectl_grouped (
    grp INTEGER NOT NULL,
    lane INTEGER NOT NULL,
    ready INTEGER NOT NULL,
    rank INTEGER NOT NULL,
    key INTEGER NOT NULL,
    PRIMARY KEY (grp, lane, ready, rank, key)
) STRICT, WITHOUT ROWID;

-- How many jobs of a queue with a rate have started, by steps of the boot clock: those of a step count
-- until its end is a period old.
CREATE TABLE queuectl_start (
    queue INTEGER NOT NULL,
    boot INTEGER NOT NULL,
    n INTEGER NOT NULL,
    PRIMARY KEY (queue, boot)
) STRICT, WITHOUT ROWID;

-- child runs only after parent has ended as it should. A row lives until then, at most.
CREATE TABLE queuectl_dependency (
    parent INTEGER NOT NULL,
    child INTEGER NOT NULL,
    -- How parent should end: 0 completed, 1 dead or cancelled, 2 in any way.
    condition INTEGER NOT NULL,
    -- The same in all rows of a child: it runs after 0 all, 1 any one of its parents. If they end
    -- otherwise it 0 waits, 1 is cancelled, 2 runs.
    needs INTEGER NOT NULL,
    otherwise INTEGER NOT NULL,
    -- parent has ended otherwise, and does not count as long as nobody retries it. Only where any one
    -- is enough: where all are needed, the child does not wait on. Where child is a batch: the newest
    -- cancelling of it that has been applied to parent before its turn.
    lost INTEGER NOT NULL,
    PRIMARY KEY (parent, child)
) STRICT, WITHOUT ROWID;
CREATE INDEX queuectl_dependency_child ON queuectl_dependency (child);

-- Jobs that are counted together. In queuectl_dependency a batch stands as -batch: as the child of each of
-- its jobs, and as the parent of what waits for it. It has finished as long as it is closed and each of its
-- jobs has ended. Numbers are never used twice.
CREATE TABLE queuectl_batch (
    batch INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    closed_at INTEGER,
    finished_at INTEGER,
    total INTEGER NOT NULL DEFAULT 0,
    completed INTEGER NOT NULL DEFAULT 0,
    dead INTEGER NOT NULL DEFAULT 0,
    cancelled INTEGER NOT NULL DEFAULT 0,
    -- How many of its jobs were cancelled because it was, and how many that ran were asked to stop.
    stopped INTEGER NOT NULL DEFAULT 0,
    asked INTEGER NOT NULL DEFAULT 0,
    CHECK (completed >= 0 AND dead >= 0 AND cancelled >= 0
           AND completed + dead + cancelled <= total)
) STRICT;

-- Ends of jobs and batches that have not been told to all that wait for them: those from first to last are
-- still to hear of it. state is the one in which parent has ended, 0 if it is to run again, NULL if it was
-- deleted; called is what it is called then. What is told of one parent is told in the order of the rows.
CREATE TABLE queuectl_untold (
    untold INTEGER PRIMARY KEY AUTOINCREMENT,
    parent INTEGER NOT NULL,
    state INTEGER,
    called TEXT NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL
) STRICT;
CREATE INDEX queuectl_untold_parent ON queuectl_untold (parent);

-- Batches that are being cancelled: the jobs from first to last that are in the batch are cancelled, whether
-- or not that has been done. What of them is in queuectl_dependency with lost >= cancelling has been seen to
-- before its turn.
CREATE TABLE queuectl_cancelling (
    cancelling INTEGER PRIMARY KEY AUTOINCREMENT,
    batch INTEGER NOT NULL,
    reason TEXT NOT NULL,
    by TEXT,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL
) STRICT;

-- Attempts that have more to say than that they succeeded.
CREATE TABLE queuectl_attempt (
    job INTEGER NOT NULL,
    token INTEGER NOT NULL,
    number INTEGER NOT NULL,
    worker INTEGER,
    started_at INTEGER NOT NULL,
    finished_at INTEGER NOT NULL,
    cause TEXT NOT NULL,
    error TEXT,
    exit_code INTEGER,
    signal INTEGER,
    PRIMARY KEY (job, token)
) STRICT, WITHOUT ROWID;

-- What was kept of an attempt's output. stream 1 is standard output, 2 standard error.
CREATE TABLE queuectl_output (
    job INTEGER NOT NULL,
    token INTEGER NOT NULL,
    stream INTEGER NOT NULL,
    total INTEGER NOT NULL,
    incomplete INTEGER NOT NULL,
    head BLOB NOT NULL,
    tail BLOB NOT NULL,
    PRIMARY KEY (job, token, stream)
) STRICT;

-- What lost attempts of jobs that will not run again may have left running, until it has been ended.
-- A row outlives its job. cleaner is the process that is at it.
CREATE TABLE queuectl_leftover (
    job INTEGER NOT NULL,
    token INTEGER NOT NULL,
    lost_from INTEGER NOT NULL,
    kind TEXT NOT NULL,
    worker INTEGER NOT NULL,
    state INTEGER NOT NULL,
    cleaner TEXT NOT NULL,
    PRIMARY KEY (job, token)
) STRICT, WITHOUT ROWID;

-- The ways in which dead jobs have failed, by their fingerprints, and how many jobs each has: none is gone.
CREATE TABLE queuectl_failure (
    failure INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    cause TEXT NOT NULL,
    exit_code INTEGER,
    signal INTEGER,
    form TEXT NOT NULL,
    n INTEGER NOT NULL CHECK (n > 0)
) STRICT;

-- The dead jobs, in the order in which they died (at is their finished_at), and in which way each failed.
CREATE TABLE queuectl_dead (
    at INTEGER NOT NULL,
    job INTEGER NOT NULL,
    failure INTEGER NOT NULL,
    PRIMARY KEY (at, job)
) STRICT, WITHOUT ROWID;
CREATE INDEX queuectl_dead_failure ON queuectl_dead (failure, at, job);

-- What somebody has noted about a job. payload is what the job had until then, if it was given another.
CREATE TABLE queuectl_note (
    job INTEGER NOT NULL,
    note INTEGER NOT NULL,
    at INTEGER NOT NULL,
    by TEXT,
    text TEXT NOT NULL,
    payload TEXT,
    PRIMARY KEY (job, note)
) STRICT;

-- What few jobs have, so that the rows of all the others need no columns for it.
CREATE TABLE queuectl_aside (
    job INTEGER PRIMARY KEY,
    -- Who has cancelled it, or asked for it. Means something only while there is a reason for it.
    cancelled_by TEXT,
    -- How many of its attempts in a row may be lost, if it says so itself.
    max_crashes INTEGER
) STRICT;

-- The event log: what became of which job, in the order in which it was committed. Empty while the setting
-- event-log is off. Numbers follow each other without a gap and are never used twice.
CREATE TABLE queuectl_event (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    job INTEGER NOT NULL,
    -- The job's chosen id: the log outlives the job.
    name TEXT,
    lane INTEGER NOT NULL,
    -- 0 added, 1 claimed, 2 completed, 3 failed, 4 died, 5 snoozed, 6 released, 7 lease_lost,
    -- 8 cancel_requested, 9 cancelled, 10 expired, 11 unblocked, 12 retried, 13 deleted.
    change INTEGER NOT NULL,
    -- NULL if it was not there before, or is not any more.
    state_before INTEGER,
    state_after INTEGER,
    token INTEGER,
    worker INTEGER,
    cause TEXT,
    reason TEXT,
    by TEXT
) STRICT;

-- Registered workers; the row goes when the worker does. Numbers are never used twice.
CREATE TABLE queuectl_worker (
    worker INTEGER PRIMARY KEY AUTOINCREMENT,
    process TEXT NOT NULL,
    pid INTEGER NOT NULL,
    host TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    boot_id TEXT NOT NULL,
    lease_boot INTEGER NOT NULL,
    stop INTEGER,
    log TEXT
) STRICT;

-- Schedules: what is enqueued again and again. Numbers are never used twice.
CREATE TABLE queuectl_schedule (
    schedule INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    -- Raised by every change: who wants to attend to a tick changes nothing if somebody else has.
    revision INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    paused INTEGER NOT NULL,
    -- Either an expression in a time zone or an interval.
    cron TEXT,
    zone TEXT,
    every_ms INTEGER,
    missed TEXT NOT NULL,
    overlap TEXT NOT NULL,
    -- What each tick enqueues: the payload, and the rest as JSON.
    payload TEXT NOT NULL,
    job TEXT NOT NULL,
    -- When it ticks next. Of an interval, next_boot is what counts, until the machine is restarted.
    next_at INTEGER,
    next_boot INTEGER,
    -- The newest tick that was attended to, the newest job that was made, and the tick that waits until
    -- that job has ended.
    last_at INTEGER,
    last_job INTEGER,
    waiting_at INTEGER,
    -- How many entries its history has had.
    entries INTEGER NOT NULL DEFAULT 0,
    CHECK ((cron IS NULL) = (zone IS NULL) AND (cron IS NULL) <> (every_ms IS NULL))
) STRICT;

-- The history of a schedule: its newest entries.
CREATE TABLE queuectl_tick (
    schedule INTEGER NOT NULL,
    entry INTEGER NOT NULL,
    tick_at INTEGER NOT NULL,
    at INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    job TEXT,
    until_at INTEGER,
    PRIMARY KEY (schedule, entry)
) STRICT, WITHOUT ROWID;
