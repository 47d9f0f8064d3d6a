"""The event table of the benchmark, its texts and its tenants: made from a seed, as Parquet.

    python events.py ROWS FOLDER

Rows come in order of time, as they would from a stream; each file is one part of the 30 days.
"""

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute  # noqa: F401  (draw uses it)
import pyarrow.parquet as pq

import draw

START_MS = 1_788_220_800_000  # 2026-09-01 00:00 UTC
SPAN_MS = 30 * 86_400_000

TENANTS, COUNTRIES, CITIES, BROWSERS = 2_000, 200, 3_000, 30
URLS, REFERRERS, CAMPAIGNS, USERS, TAGS = 200_000, 3_000, 800, 2_000_000, 300
DEVICES = ["mobile", "desktop", "tablet", "tv", "console"]
STATUS = [200, 304, 404, 301, 500, 403, 503]
STATUS_CDF = np.cumsum([0.88, 0.05, 0.03, 0.02, 0.012, 0.005, 0.003])
PLANS = ["free", "starter", "business", "enterprise"]
REGIONS = ["emea", "amer", "apac"]
LEVELS = ["info", "debug", "warn", "error"]
PHRASES = [
    "connection reset by peer",
    "payment gateway timeout",
    "user signed in",
    "cache miss for key",
]
PHRASE_SHARES = [0.002, 0.0001, 0.05, 0.01]


class Shared:
    """What every part draws from."""

    def __init__(self):
        rng = draw.rng_of("events", -1)
        self.tenants = [f"tenant_{n:04}" for n in range(TENANTS)]
        codes = [chr(65 + n // 26) + chr(65 + n % 26) for n in range(676)]
        self.countries = [codes[(n * 37 + 11) % 676] for n in range(COUNTRIES)]
        self.cities = [f"city_{n:04}" for n in range(CITIES)]
        self.browsers = [f"{'Chrome Safari Firefox Edge Opera'.split()[n % 5]} {120 - n // 5}"
                         for n in range(BROWSERS)]
        self.urls = urls(rng)
        words = draw.words(rng, 20_000)
        self.vocabulary = words
        self.referrers = [f"{words[n]}.{('com', 'org', 'net', 'io')[n % 4]}"
                          for n in range(REFERRERS)]
        self.campaigns = [f"{words[n + 5000]}_{n % 4 + 2023}" for n in range(CAMPAIGNS)]
        self.tags = [f"tag_{n:03}" for n in range(TAGS)]
        self.users = rng.integers(0, 2**63 - 1, USERS, dtype=np.int64)
        self.homes = draw.Zipf(COUNTRIES, 1.1).ranks(rng, USERS)


def urls(rng):
    words = draw.words(rng, 2_000)
    areas = ["shop", "blog", "search", "account", "docs", "news", "video", "help"]
    found = {}
    while len(found) < URLS:
        area = areas[int(rng.integers(len(areas)))]
        path = f"/{area}/{words[int(rng.integers(len(words)))]}/{words[int(rng.integers(2000))]}"
        tail = f"-{int(rng.integers(1, 10**int(rng.integers(2, 8))))}"
        query = f"?ref={words[int(rng.integers(400))]}&p={int(rng.integers(1, 40))}"
        found[f"{path}{tail}{query if rng.random() < 0.4 else ''}".ljust(26, "x")[:60]] = None
    return list(found)


def times(rng, part, of, rows):
    low, high = START_MS + SPAN_MS * part // of, START_MS + SPAN_MS * (part + 1) // of
    return np.sort(rng.integers(low, high, rows, dtype=np.int64))


def tags(rng, shared, rows):
    lengths = draw.Zipf(6, 0.8).ranks(rng, rows)
    offsets = np.zeros(rows + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    # Distinct within a row: a random start, then steps that never meet again.
    total = int(offsets[-1])
    at = np.arange(total) - np.repeat(offsets[:-1], lengths)
    start = np.repeat(draw.Zipf(TAGS, 1.0).ranks(rng, rows), lengths)
    ranks = ((start + at * 47) % TAGS).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), draw.named(shared.tags, ranks))


def money(rng, rows):
    amounts = np.round(rng.exponential(40.0, rows) + 0.99, 2)
    return np.where(rng.random(rows) < 0.03, amounts, 0.0)


def events(shared, part, of, rows):
    rng = draw.rng_of("events", part)
    user = draw.Zipf(USERS, 0.6, 50.0).ranks(rng, rows)
    home = shared.homes[user]
    country = np.where(rng.random(rows) < 0.95, home, draw.Zipf(COUNTRIES, 1.1).ranks(rng, rows))
    city = (country * 15 + draw.Zipf(15, 1.0).ranks(rng, rows)) % CITIES
    status = np.searchsorted(STATUS_CDF, rng.random(rows) * STATUS_CDF[-1], side="right")
    latency = np.minimum(rng.lognormal(4.1, 0.9, rows), 30_000).astype(np.int32)
    sizes = np.minimum(rng.lognormal(8.5, 1.6, rows), 5e8).astype(np.int64)
    device = np.searchsorted([0.55, 0.9, 0.97, 0.99], rng.random(rows), side="right")
    timestamps = pa.array(times(rng, part, of, rows), pa.timestamp("ms"))
    return pa.table({
        "ts": timestamps,
        "tenant": draw.named(shared.tenants, draw.Zipf(TENANTS, 1.0).ranks(rng, rows)),
        "country": draw.named(shared.countries, country),
        "city": draw.named(shared.cities, city),
        "device": draw.named(DEVICES, device),
        "browser": draw.named(shared.browsers, draw.Zipf(BROWSERS, 1.0).ranks(rng, rows)),
        "url": draw.named(shared.urls, draw.Zipf(URLS, 0.9, 2.0).ranks(rng, rows)),
        "referrer": draw.named(
            shared.referrers, draw.Zipf(REFERRERS, 1.1).ranks(rng, rows), rng.random(rows) < 0.35
        ),
        "status": pa.array(np.array(STATUS, np.int32)[status]),
        "campaign": draw.named(
            shared.campaigns, draw.Zipf(CAMPAIGNS, 0.9).ranks(rng, rows), rng.random(rows) < 0.6
        ),
        "user_id": pa.array(shared.users[user]),
        "latency_ms": pa.array(latency),
        "revenue": pa.array(money(rng, rows)),
        "bytes": pa.array(sizes),
        "is_bot": pa.array(rng.random(rows) < 0.04),
        "tags": tags(rng, shared, rows),
    })


def messages(shared, part, of, rows):
    """Short texts, some of them with a phrase in the middle."""
    rng = draw.rng_of("messages", part)
    left = draw.texts(rng, shared.vocabulary, rows, 2, 5, 1.0)
    right = draw.texts(rng, shared.vocabulary, rows, 1, 4, 1.0)
    which = np.searchsorted(np.cumsum(PHRASE_SHARES), rng.random(rows), side="right")
    middle = draw.named([*PHRASES, ""], which.astype(np.int32))
    joined = pa.compute.binary_join_element_wise(left, middle, right, " ")
    return pa.table({
        "ts": pa.array(times(rng, part, of, rows), pa.timestamp("ms")),
        "tenant": draw.named(shared.tenants, draw.Zipf(TENANTS, 1.0).ranks(rng, rows)),
        "level": draw.named(LEVELS, draw.Zipf(4, 1.5).ranks(rng, rows)),
        "message": pa.compute.replace_substring(joined, "  ", " "),
    })


def tenants(shared):
    rng = draw.rng_of("tenants", 0)
    return pa.table({
        "tenant": pa.array(shared.tenants),
        "plan": draw.named(PLANS, draw.Zipf(4, 0.8).ranks(rng, TENANTS)),
        "region": draw.named(REGIONS, rng.integers(0, 3, TENANTS)),
        "seats": pa.array(rng.integers(1, 5000, TENANTS, dtype=np.int32)),
    })


def write(table, folder, name):
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{name}.part"
    pq.write_table(table, part, compression="zstd", row_group_size=500_000)
    part.rename(folder / f"{name}.parquet")


def main():
    rows, folder = int(sys.argv[1]), Path(sys.argv[2])
    shared = Shared()
    write(tenants(shared), folder / "tenants", "tenants")
    pieces = draw.parts(rows)
    for part, _, count in pieces:
        for name, made in (("events", events), ("messages", messages)):
            if not (folder / name / f"{name}-{part:03}.parquet").exists():
                write(made(shared, part, len(pieces), count), folder / name, f"{name}-{part:03}")
        print(f"part {part + 1} of {len(pieces)}", flush=True)


if __name__ == "__main__":
    main()
