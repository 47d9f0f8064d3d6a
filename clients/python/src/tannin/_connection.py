"""A connection: an address and what it remembers. It holds no socket between calls of threads."""

from __future__ import annotations

import base64
import io
import itertools
import json
import random
import ssl
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

import pyarrow as pa

from tannin._errors import AccessError, AppendError, QueryError, Unavailable
from tannin._result import Appended, Result

_ARROW = "application/vnd.apache.arrow.stream"
#: So many rows are sent at once.
_ROWS_MAX = 50_000
#: First pause before another try; it doubles up to the last.
_PAUSE_SECONDS = 0.05
_PAUSE_SECONDS_MAX = 2.0


def connect(
    url: str = "http://localhost:8099",
    *,
    user: str | None = None,
    password: str | None = None,
    token: str | None = None,
    ca_file: str | None = None,
    timeout: float = 60.0,
    headers: Mapping[str, str] | None = None,
    read_your_writes: bool = True,
) -> Connection:
    """Connects to a broker.

    `user` and `password`, or a `token`: who asks. `ca_file`: certificates (PEM) of the authority
    that an https broker is trusted for; those of the system unless it is set. `timeout`: seconds
    that a call may take with its retries. `headers` go with every request. `read_your_writes`:
    queries see what this connection appended.
    """
    return Connection(
        url,
        user=user,
        password=password,
        token=token,
        ca_file=ca_file,
        timeout=timeout,
        headers=headers,
        read_your_writes=read_your_writes,
    )


class Connection:
    """May be used by several threads at once."""

    def __init__(
        self,
        url: str,
        *,
        user: str | None = None,
        password: str | None = None,
        token: str | None = None,
        ca_file: str | None = None,
        timeout: float = 60.0,
        headers: Mapping[str, str] | None = None,
        read_your_writes: bool = True,
    ) -> None:
        if urlsplit(url).scheme not in ("http", "https"):
            raise ValueError(f"{url!r} is no address of a broker, such as http://localhost:8099")
        self.url = url.rstrip("/")
        self._timeout = timeout
        self._headers = dict(headers or {})
        said = _authorization(user, password, token)
        if said:
            self._headers["Authorization"] = said
        is_https = urlsplit(url).scheme == "https"
        self._tls = ssl.create_default_context(cafile=ca_file) if is_https else None
        self._read_your_writes = read_your_writes
        #: Of each table that was appended to.
        self._tokens: dict[str, str] = {}

    def query(
        self,
        sql: str,
        *,
        options: Mapping[str, Any] | None = None,
        after: str | None = None,
        timeout: float | None = None,
    ) -> Result:
        """Runs a statement of the standard dialect.

        `options` are query options, such as `{"enableNullHandling": True}`. `after`: tokens of
        `append` whose rows must be seen, joined by spaces.
        """
        seconds = self._timeout if timeout is None else timeout
        asked = {name: _option(value) for name, value in (options or {}).items()}
        asked.setdefault("timeoutMs", str(max(1, int(seconds * 1000))))
        tokens = [after] if after else []
        if self._read_your_writes:
            tokens.extend(self._tokens.values())
        if tokens:
            asked["after"] = " ".join(tokens)
        body = json.dumps({"sql": sql, "options": asked}).encode()
        headers = {"Content-Type": "application/json", "Accept": _ARROW}
        status, answered, answer = self._send("/v1/sql", body, headers, seconds)
        if status != 200:
            error = _error_of(answer)
            _refuse(status, error)
            raise QueryError(
                error.get("message", f"the broker answered {status}"),
                error.get("code"),
                error.get("line"),
                error.get("column"),
            )
        with pa.ipc.open_stream(io.BytesIO(answer)) as reader:
            table = reader.read_all()
        stats = json.loads(answered.get("tannin-stats", "{}"))
        warnings = json.loads(answered.get("tannin-warnings", "[]"))
        return Result(table, stats, warnings)

    def append(
        self,
        table: str,
        rows: Any,
        *,
        key: str | None = None,
        timeout: float | None = None,
    ) -> Appended:
        """Appends rows and returns when they are durable in the table's log.

        `rows`: an Arrow table or batch, a DataFrame of pandas or polars, or a list of dicts. `key`:
        an idempotency key; a call with a key that was used before appends nothing again.
        """
        seconds = self._timeout if timeout is None else timeout
        data = _as_arrow(rows)
        is_new = key is None
        key = key or str(uuid.uuid4())
        written, tokens = 0, []
        for number, start in enumerate(range(0, max(data.num_rows, 1), _ROWS_MAX)):
            piece = data.slice(start, _ROWS_MAX)
            body = io.BytesIO()
            with pa.ipc.new_stream(body, piece.schema) as writer:
                writer.write_table(piece)
            headers = {"Content-Type": _ARROW, "Idempotency-Key": f"{key}-{number}"}
            path = f"/v1/tables/{quote(table, safe='')}/events"
            status, _, answer = self._send(
                path, body.getvalue(), headers, seconds, is_new=is_new
            )
            if status != 200:
                error = _error_of(answer)
                _refuse(status, error)
                message = error.get("message", f"the broker answered {status}")
                if written:
                    message = f"the first {written} rows were appended, then: {message}"
                raise AppendError(message, error.get("code"))
            done = json.loads(answer)
            written += done["rows"]
            tokens.append(done["token"])
        token = " ".join(dict.fromkeys(tokens))
        if self._read_your_writes and token:
            self._tokens[table] = token
        return Appended(written, token)

    def _send(
        self,
        path: str,
        body: bytes,
        headers: dict[str, str],
        seconds: float,
        *,
        is_new: bool = False,
    ) -> tuple[int, Mapping[str, str], bytes]:
        """What may pass by itself is tried again: nobody there, or too many requests.

        `is_new`: the idempotency key was never used, so the first attempt need not be looked for.
        """
        ends = time.monotonic() + seconds
        pause = _PAUSE_SECONDS
        for attempt in itertools.count(1):
            left = ends - time.monotonic()
            sent = {**self._headers, **headers}
            if is_new and attempt == 1:
                sent["Tannin-Attempt"] = "1"
            request = urllib.request.Request(
                self.url + path, data=body, headers=sent, method="POST"
            )
            try:
                with urllib.request.urlopen(
                    request, timeout=max(left, 0.001), context=self._tls
                ) as response:
                    named = {name.lower(): value for name, value in response.headers.items()}
                    return response.status, named, response.read()
            except urllib.error.HTTPError as refused:
                if refused.code not in (429, 503):
                    return refused.code, {}, refused.read()
                why = _error_of(refused.read()).get("message", f"it answered {refused.code}")
                asked = refused.headers.get("Retry-After", "")
                wait = float(asked) if asked.isdigit() else pause
            except OSError as error:
                if isinstance(getattr(error, "reason", error), ssl.SSLCertVerificationError):
                    raise Unavailable(f"the broker at {self.url} is not trusted: {error}") from error
                why, wait = str(getattr(error, "reason", error)), pause
            # Many that were refused at once do not come back at once.
            wait *= random.uniform(0.75, 1.25)
            if time.monotonic() + wait >= ends:
                raise Unavailable(f"the broker at {self.url} cannot be asked: {why}")
            time.sleep(wait)
            pause = min(pause * 2, _PAUSE_SECONDS_MAX)
        raise AssertionError("the attempts have no end")

    def __repr__(self) -> str:
        return f"<Connection to {self.url}>"


def _authorization(user: str | None, password: str | None, token: str | None) -> str | None:
    if token is not None:
        if user is not None or password is not None:
            raise ValueError("either user and password, or a token")
        return f"Bearer {token}"
    if user is None and password is None:
        return None
    if user is None or password is None:
        raise ValueError("user and password go together")
    pair = base64.b64encode(f"{user}:{password}".encode()).decode()
    return f"Basic {pair}"


def _refuse(status: int, error: dict[str, Any]) -> None:
    if status in (401, 403):
        raise AccessError(error.get("message", f"the broker answered {status}"), status)


def _option(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _error_of(body: bytes) -> dict[str, Any]:
    try:
        error = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        return {"message": body.decode(errors="replace")[:1000]} if body else {}
    return error if isinstance(error, dict) else {"message": str(error)}


def _as_arrow(rows: Any) -> pa.Table:
    if isinstance(rows, pa.Table):
        return rows
    if isinstance(rows, pa.RecordBatch):
        return pa.Table.from_batches([rows])
    if hasattr(rows, "to_arrow"):
        # polars, and this package's own results.
        return rows.to_arrow()
    if type(rows).__module__.startswith("pandas."):
        return pa.Table.from_pandas(rows, preserve_index=False)
    if isinstance(rows, Mapping):
        raise TypeError("rows are a table, a DataFrame or a list of dicts, not one dict")
    if isinstance(rows, Sequence) and not isinstance(rows, (str, bytes)):
        return pa.Table.from_pylist(list(rows))
    raise TypeError(f"rows are a table, a DataFrame or a list of dicts, not {type(rows).__name__}")
