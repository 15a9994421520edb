-- Ready views over the table `events`, a row an event of a trace (docs/trace-fields.md). They are
-- written so that DataFusion and DuckDB both take them.

-- Requests that were granted.
CREATE OR REPLACE VIEW allocations AS
SELECT * FROM events
WHERE event IN ('malloc', 'calloc', 'aligned', 'realloc') AND failed = 0;

-- Sizes of chunks as the allocator cuts them: request + 8, in steps of 16, from 32 on; above 1 KiB by
-- powers of two.
CREATE OR REPLACE VIEW by_size_class AS
WITH classed AS (
    SELECT *, CASE
        WHEN size <= 24 THEN 32
        WHEN size <= 1016 THEN CAST(size + 23 - (size + 23) % 16 AS BIGINT)
        ELSE CAST(power(2, ceil(log2(CAST(size + 8 AS DOUBLE)))) AS BIGINT) END AS class_bytes
    FROM events WHERE event IN ('malloc', 'calloc', 'aligned', 'realloc', 'free') AND size IS NOT NULL
)
SELECT class_bytes,
    count(*) FILTER (WHERE event <> 'free' AND failed = 0) AS allocations,
    count(*) FILTER (WHERE event = 'free') AS frees,
    sum(size) FILTER (WHERE event <> 'free' AND failed = 0) AS allocated_bytes,
    median(age_ns) FILTER (WHERE event = 'free') AS median_age_ns
FROM classed GROUP BY class_bytes ORDER BY class_bytes;

-- By allocation site; needs a trace with stacks.
CREATE OR REPLACE VIEW by_site AS
SELECT site,
    count(*) FILTER (WHERE event <> 'free') AS allocations,
    sum(size) FILTER (WHERE event <> 'free') AS allocated_bytes,
    sum(CASE WHEN event = 'free' THEN -CAST(size AS BIGINT)
        ELSE CAST(size AS BIGINT) - coalesce(CAST(old_size AS BIGINT), 0) END) AS live_bytes,
    median(age_ns) FILTER (WHERE event = 'free') AS median_age_ns
FROM events
WHERE event IN ('malloc', 'calloc', 'aligned', 'realloc', 'free') AND size IS NOT NULL
    AND coalesce(failed, 0) = 0
GROUP BY site ORDER BY live_bytes DESC;

-- How long blocks live, by powers of ten; those that never go are not in it.
CREATE OR REPLACE VIEW lifetimes AS
SELECT CASE WHEN age_ns < 1 THEN 0
        ELSE CAST(power(10, floor(log10(CAST(age_ns AS DOUBLE)))) AS BIGINT) END AS from_ns,
    count(*) AS blocks,
    sum(coalesce(old_size, size)) AS bytes
FROM events WHERE age_ns IS NOT NULL GROUP BY from_ns ORDER BY from_ns;

-- Requests at and above glibc's first mmap threshold, and what the dynamic threshold would be after
-- each is freed: it follows the largest freed block up, to 32 MiB.
CREATE OR REPLACE VIEW threshold_crossings AS
SELECT time_ns, pid, thread, size, age_ns,
    least(33554432, max(CASE WHEN size BETWEEN 131072 AND 33554432 THEN CAST(size AS BIGINT) + 4096 END)
        OVER (PARTITION BY process ORDER BY time_ns ROWS UNBOUNDED PRECEDING)) AS threshold_after
FROM events WHERE event = 'free' AND size >= 131072 ORDER BY time_ns;

-- What the program holds, and what is resident, at each sample of the RSS.
CREATE OR REPLACE VIEW live_and_rss AS
SELECT time_ns, pid, live_bytes, rss_bytes, minor_faults FROM events WHERE event = 'sample' ORDER BY time_ns;

-- What the kernel was asked for, and by which calls of the program.
CREATE OR REPLACE VIEW kernel_calls AS
SELECT event, cause, count(*) AS calls, sum(bytes) AS bytes, sum(failed) AS failed
FROM events WHERE cause IS NOT NULL GROUP BY event, cause ORDER BY calls DESC;
