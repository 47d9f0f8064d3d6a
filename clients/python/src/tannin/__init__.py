"""Ask Tannin in SQL, get Arrow, pandas or polars; append rows.

    import tannin

    db = tannin.connect("http://localhost:8099")
    frame = db.query("SELECT * FROM flights LIMIT 5").to_pandas()
    db.append("clicks", frame)
"""

from tannin._connection import Connection, connect
from tannin._errors import AccessError, AppendError, QueryError, TanninError, Unavailable
from tannin._result import Appended, Result

__all__ = [
    "AccessError",
    "AppendError",
    "Appended",
    "Connection",
    "QueryError",
    "Result",
    "TanninError",
    "Unavailable",
    "connect",
]
