"""What JSON Schema cannot say of Keygate's requests: which ids exist, what is new, and which times are in the future."""

import itertools
import os
import re
import zlib
from datetime import datetime

import schemathesis
from hypothesis import strategies as st

ACCOUNT = os.environ["KEYGATE_TEST_ACCOUNT"]
KEYS = os.environ["KEYGATE_TEST_KEYS"].split()

FORMS = {
    "account_id": re.compile(r"acct_[0-9a-f]{10}"),
    "key_id": re.compile(r"key_[0-9a-f]{20}"),
}
CURSOR = re.compile(r"[0-9]{1,3}-[0-9]*")
IDEMPOTENCY_KEY = re.compile(r"[!-~]{22,255}")
TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z")

FUTURE = st.datetimes(min_value=datetime(2040, 1, 1), max_value=datetime(9999, 1, 1))
schemathesis.openapi.format("date-time", FUTURE.map(lambda time: time.strftime("%Y-%m-%dT%H:%M:%SZ")))


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    """Of eight well-formed ids, seven exist."""
    for name, form in FORMS.items():
        value = (path_parameters or {}).get(name)
        if isinstance(value, str) and form.fullmatch(value):
            chosen = zlib.crc32(value.encode())
            if chosen % 8 != 1:
                path_parameters[name] = ACCOUNT if name == "account_id" else KEYS[chosen % len(KEYS)]
    return path_parameters


COUNT = itertools.count()


@schemathesis.hook
def map_headers(context, headers):
    """Of four well-formed conditions, three hold; of four requests with a well-formed Idempotency-Key, three are new."""
    condition, key = (headers or {}).get("If-Match"), (headers or {}).get("Idempotency-Key")
    if isinstance(condition, str) and condition.startswith('"') and next(COUNT) % 4:
        headers["If-Match"] = "*"
    if isinstance(key, str) and IDEMPOTENCY_KEY.fullmatch(key) and next(COUNT) % 4:
        headers["Idempotency-Key"] = f"{next(COUNT):022}"
    return headers


@schemathesis.hook
def map_query(context, query):
    """A well-formed cursor is one of the slot that there is."""
    cursor = (query or {}).get("cursor")
    if isinstance(cursor, str) and CURSOR.fullmatch(cursor):
        query["cursor"] = "0-" + cursor.partition("-")[2]
    return query


@schemathesis.hook
def map_body(context, body):
    """A key ends in the future, also where the time is taken from an answer, and begins before it ends."""
    if isinstance(body, dict):
        times = {name: body.get(name) for name in ("not_before", "expires_at")}
        times = {name: time for name, time in times.items() if isinstance(time, str) and TIME.fullmatch(time)}
        for name, time in times.items():
            body[name] = max(time, "2040" + time[4:])
        if len(times) == 2 and body["not_before"] >= body["expires_at"]:
            del body["not_before"]
    return body
