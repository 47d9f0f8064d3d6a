"""What both generators draw from: skewed ranks, made-up words, numbered names.

Everything depends on the seed and the number of the part alone, so that a part can be made again.
"""

import numpy as np
import pyarrow as pa

SEED = 20260901
PART_ROWS = 2_500_000

CONSONANTS = "bcdfghklmnprstvz"
VOWELS = "aeiou"


class Zipf:
    """Ranks 0..n, rank r with weight 1 / (r + shift) ** skew."""

    def __init__(self, n, skew, shift=1.0):
        weights = 1.0 / (np.arange(n) + shift) ** skew
        self.cdf = np.cumsum(weights / weights.sum())
        self.cdf[-1] = 1.0

    def ranks(self, rng, rows):
        return np.searchsorted(self.cdf, rng.random(rows), side="right").astype(np.int32)


def rng_of(table, part):
    """The generator of one part of one table; part -1 makes what all parts share."""
    return np.random.Generator(np.random.PCG64([SEED, sum(table.encode()), part + 1]))


def parts(rows):
    """(number, first row, rows) of each part."""
    count = max(1, -(-rows // PART_ROWS))
    bounds = [rows * part // count for part in range(count + 1)]
    return [(part, bounds[part], bounds[part + 1] - bounds[part]) for part in range(count)]


def words(rng, count):
    """Distinct words of two to four syllables, the common ones short."""
    found = {}
    while len(found) < count:
        syllables = 2 + len(found) * 2 // count + int(rng.integers(0, 2))
        letters = [
            CONSONANTS[rng.integers(len(CONSONANTS))] + VOWELS[rng.integers(len(VOWELS))]
            for _ in range(syllables)
        ]
        found["".join(letters)] = None
    return list(found)


def texts(rng, vocabulary, rows, shortest, longest, skew):
    """Texts of `shortest..=longest` words with single spaces between."""
    lengths = rng.integers(shortest, longest + 1, rows)
    offsets = np.zeros(rows + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    ranks = Zipf(len(vocabulary), skew, 3.0).ranks(rng, int(offsets[-1]))
    lists = pa.ListArray.from_arrays(pa.array(offsets), pa.array(vocabulary).take(pa.array(ranks)))
    return pa.compute.binary_join(lists, " ")


def named(names, ranks, nulls=None):
    """The string column `names[rank]`, null where `nulls`."""
    taken = pa.array(ranks, mask=nulls) if nulls is not None else pa.array(ranks)
    return pa.array(names).take(taken)
