"""A table like ClickBench's `hits`, with the columns that its 43 statements read: from a seed.

    python hits.py ROWS FOLDER

The shares that matter to the statements are those of the original: most search phrases, models and
advertisers are empty, one user in six rows is new, one counter has a hundredth of all rows. The
constants that the statements ask for occur.
"""

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute  # noqa: F401  (draw uses it)

import draw
from events import write

START_S = 1_372_636_800  # 2013-07-01 00:00 UTC
SPAN_S = 31 * 86_400

MODELS = ["iPad", "iPhone", "Nokia 500", "GT-I9500", "One X", "Lumia 800", "Xperia Z", "Desire HD"]
SITES = ["auto", "news", "mail", "music", "video", "market", "google", "weather", "games", "jobs"]
COUNTER = 62
USER = 435_090_932_899_640_449
URL_HASH = 2_868_770_270_353_813_622
REFERER_HASH = 3_594_120_000_172_545_465


class Shared:
    def __init__(self, rows):
        rng = draw.rng_of("hits", -1)
        self.words = draw.words(rng, 30_000)
        count = max(1000, rows // 10)
        self.urls = pages(rng, self.words, count)
        self.referers = pages(rng, self.words, count)
        self.url_hashes = rng.integers(0, 2**63 - 1, count, dtype=np.int64)
        self.referer_hashes = rng.integers(0, 2**63 - 1, count, dtype=np.int64)
        # The pages that the statements look for are seen often enough to be found.
        self.url_hashes[20], self.referer_hashes[30] = URL_HASH, REFERER_HASH
        self.titles = draw.texts(rng, self.words, max(1000, rows // 12), 2, 8, 0.8)
        named = pa.array(["Google: " if n % 400 == 3 else "" for n in range(len(self.titles))])
        self.titles = pa.compute.binary_join_element_wise(named, self.titles, "")
        self.phrases = draw.texts(rng, self.words, max(1000, rows // 20), 1, 5, 0.8)
        self.users = rng.integers(0, 2**63 - 1, max(1000, rows // 6), dtype=np.int64)
        self.users[2000 % len(self.users)] = USER
        self.addresses = rng.integers(-(2**31), 2**31 - 1, max(1000, rows // 10), dtype=np.int32)
        self.widths = rng.permutation(np.arange(240, 2600, 24)).astype(np.int16)


def pages(rng, words, count):
    """Addresses, about one of a hundred with `google` in it."""
    hosts = draw.Zipf(3_000, 1.0).ranks(rng, count)
    names = [f"http://{'www.' if n % 3 == 0 else ''}{words[n]}.{('ru', 'com', 'net')[n % 3]}/"
             for n in range(3_000)]
    sites = pa.array(SITES).take(pa.array(rng.integers(0, len(SITES) * 9, count) % len(SITES)))
    tail = draw.texts(rng, words, count, 1, 4, 0.7)
    tail = pa.compute.replace_substring(tail, " ", "-")
    number = pa.array(rng.integers(0, 10**7, count)).cast(pa.string())
    few = pa.array(rng.random(count) < 0.1)
    sites = pa.compute.if_else(few, sites, pa.array(["page"]).take(pa.array(np.zeros(count, np.int32))))
    return pa.compute.binary_join_element_wise(
        draw.named(names, hosts), sites, "/", tail, "?id=", number, ""
    )


def rarely(rng, rows, share, values):
    """0 but for a share of the rows."""
    return np.where(rng.random(rows) < share, values, 0).astype(np.int16)


def texts_or_empty(rng, rows, share, texts, ranks):
    taken = texts.take(pa.array(ranks))
    return pa.compute.if_else(pa.array(rng.random(rows) < share), taken, "")


def hits(shared, part, rows):
    rng = draw.rng_of("hits", part)
    zipf = lambda count, skew, shift=1.0: draw.Zipf(count, skew, shift).ranks(rng, rows)
    seconds = START_S + np.sort(rng.integers(0, SPAN_S, rows))
    counter = zipf(6_500, 1.0, 5.0)
    url = zipf(len(shared.urls), 0.75, 5.0)
    referer = zipf(len(shared.referers), 0.75, 5.0)
    user = zipf(len(shared.users), 0.5, 100.0)
    traffic = rng.integers(-1, 10, rows).astype(np.int16)
    return pa.table({
        "WatchID": pa.array(rng.integers(0, 2**63 - 1, rows, dtype=np.int64)),
        "EventTime": pa.array(seconds * 1000, pa.timestamp("ms")),
        "EventDate": pa.array((seconds // 86_400).astype(np.int32), pa.date32()),
        "CounterID": pa.array(np.where(counter == 8, COUNTER, counter + 100).astype(np.int32)),
        "UserID": pa.array(shared.users[user]),
        "URL": shared.urls.take(pa.array(url)),
        "Title": texts_or_empty(rng, rows, 0.85, shared.titles, zipf(len(shared.titles), 0.7, 5.0)),
        "Referer": texts_or_empty(rng, rows, 0.8, shared.referers, referer),
        "SearchPhrase": texts_or_empty(
            rng, rows, 0.13, shared.phrases, zipf(len(shared.phrases), 0.8, 5.0)
        ),
        "MobilePhoneModel": texts_or_empty(rng, rows, 0.05, pa.array(MODELS), zipf(8, 1.2)),
        "ClientIP": pa.array(shared.addresses[zipf(len(shared.addresses), 0.5, 100.0)]),
        "RegionID": pa.array(zipf(9_000, 1.2)),
        "MobilePhone": pa.array(rarely(rng, rows, 0.05, zipf(80, 1.2) + 1)),
        "TraficSourceID": pa.array(traffic),
        "SearchEngineID": pa.array(rarely(rng, rows, 0.15, zipf(60, 1.3) + 1)),
        "AdvEngineID": pa.array(rarely(rng, rows, 0.006, zipf(18, 1.0) + 2)),
        "ResolutionWidth": pa.array(shared.widths[zipf(len(shared.widths), 1.0)]),
        "WindowClientWidth": pa.array((zipf(3_000, 0.8) + 100).astype(np.int16)),
        "WindowClientHeight": pa.array((zipf(2_000, 0.8) + 100).astype(np.int16)),
        "IsRefresh": pa.array(rarely(rng, rows, 0.14, 1)),
        "IsLink": pa.array(rarely(rng, rows, 0.04, 1)),
        "IsDownload": pa.array(rarely(rng, rows, 0.004, 1)),
        "DontCountHits": pa.array(rarely(rng, rows, 0.13, 1)),
        "URLHash": pa.array(shared.url_hashes[url]),
        "RefererHash": pa.array(shared.referer_hashes[referer]),
    })


def main():
    rows, folder = int(sys.argv[1]), Path(sys.argv[2])
    pieces = draw.parts(rows)
    missing = [
        (part, count)
        for part, _, count in pieces
        if not (folder / "hits" / f"hits-{part:03}.parquet").exists()
    ]
    shared = Shared(rows) if missing else None
    for part, count in missing:
        write(hits(shared, part, count), folder / "hits", f"hits-{part:03}")
        print(f"part {part + 1} of {len(pieces)}", flush=True)


if __name__ == "__main__":
    main()
