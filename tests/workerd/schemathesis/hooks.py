"""What JSON Schema cannot say of Keygate's requests: which ids exist, what is new, and which times are in the future."""

import itertools
import os
import re
import zlib
from datetime import datetime

import schemathesis
from hypothesis import strategies as st
from schemathesis.generation.meta import TestPhase

ACCOUNT = os.environ["KEYGATE_TEST_ACCOUNT"]
CHANGED_ACCOUNT = os.environ["KEYGATE_TEST_CHANGED_ACCOUNT"]
KEYS = os.environ["KEYGATE_TEST_KEYS"].split()
KEY_TEXT = os.environ["KEYGATE_TEST_KEY_TEXT"]
WORKSPACES = os.environ["KEYGATE_TEST_WORKSPACES"].split()
PLANS = os.environ["KEYGATE_TEST_PLANS"].split()

# What these revoke is not to be missed.
OF_CHANGED_ACCOUNT = {
    "changeAccount",
    "requestAccess",
    "revokeAllKeys",
    "planRevocation",
    "listPlans",
    "getPlan",
    "listPlanKeys",
    "executePlan",
    "cancelPlan",
}

FORMS = {
    "account_id": re.compile(r"acct_[0-9a-f]{10}"),
    "key_id": re.compile(r"key_[0-9a-f]{20}"),
    "workspace_id": re.compile(r"ws_[0-9a-f]{16}"),
    "plan_id": re.compile(r"plan_[0-9a-f]{16}"),
}
CURSOR = re.compile(r"(0|[1-9][0-9]{0,2})-(0|[1-9][0-9]{0,14})?")
EXTERNAL_ID = re.compile(r"[!-~]{1,128}")
IDEMPOTENCY_KEY = re.compile(r"[!-~]{22,255}")
TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z")

FUTURE = st.datetimes(min_value=datetime(2040, 1, 1), max_value=datetime(9999, 1, 1))
schemathesis.openapi.format("date-time", FUTURE.map(lambda time: time.strftime("%Y-%m-%dT%H:%M:%SZ")))


def operation_id(context):
    return context.operation.definition.raw["operationId"]


def existing(context, kind, number):
    """An id that exists. What changes an account has one of its own, without keys, so that no key is refused because
    of what became of its account; and what revokes has half of the keys, so that the others can be changed. So it is
    with what archives workspaces."""
    if kind == "account_id":
        return CHANGED_ACCOUNT if operation_id(context) in OF_CHANGED_ACCOUNT else ACCOUNT
    if kind == "plan_id":
        return PLANS[number % len(PLANS)]
    if kind == "workspace_id":
        half = len(WORKSPACES) // 2
        some = WORKSPACES[:half] if operation_id(context) == "archiveWorkspace" else WORKSPACES[half:]
        return some[number % len(some)]
    keys = KEYS[: len(KEYS) // 2] if operation_id(context) == "revokeKey" else KEYS
    return keys[number % len(keys)]


def well_formed(ids):
    """Those of the path's parameters, by name."""
    ids = (ids or {}).items()
    return {kind: id for kind, id in ids if kind in FORMS and isinstance(id, str) and FORMS[kind].fullmatch(id)}


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    """Of eight well-formed ids, seven exist."""
    for kind, id in well_formed(path_parameters).items():
        number = zlib.crc32(id.encode())
        if number % 8 != 1:
            path_parameters[kind] = existing(context, kind, number)
    return path_parameters


# Of conditions, most hold.
CONDITION = re.compile(r'(W/)?"[!#-+\--~]*"( *, *(W/)?"[!#-+\--~]*")*')
schemathesis.openapi.format("condition", st.one_of(*3 * [st.just("*")], st.from_regex(CONDITION, fullmatch=True)))


schemathesis.openapi.format("workspace", st.from_regex(FORMS["workspace_id"], fullmatch=True))


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """For the coverage phase, values of a header are letters and digits: it has none for If-Match and X-Workspace-ID,
    not even the example, and sends an empty one with everything else that it tries. But it takes a format's."""
    raw_schema["components"]["parameters"]["If-Match"]["schema"]["format"] = "condition"
    for parameter in raw_schema["paths"]["/verify"]["parameters"]:
        if parameter["name"] == "X-Workspace-ID":
            parameter["schema"]["format"] = "workspace"


COUNT = itertools.count()
SENT = set()


def new(value):
    """Of four values that were sent before, three become new ones."""
    if value in SENT and next(COUNT) % 4:
        value = f"{next(COUNT):022}"
    SENT.add(value)
    return value


BRAND = re.compile(r"[a-z][a-z0-9]{1,7}")
LINE = re.compile(r"(?=.*\S)[^\x00-\x1f\x7f-\x9f]{1,64}")
NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")


def is_catalogue(value):
    """A list of resources, as far as its schema says what that is."""

    def is_resource(entry):
        if not isinstance(entry, dict) or set(entry) != {"resource", "description", "verbs"}:
            return False
        verbs = entry["verbs"] if isinstance(entry["verbs"], list) else []
        names = [entry["resource"], *verbs]
        return len(names) > 1 and all(isinstance(name, str) and NAME.fullmatch(name) for name in names)

    return isinstance(value, list) and len(value) > 0 and all(is_resource(entry) for entry in value)


def limit_to_what_there_is(body, account):
    """A key is limited to workspaces in use, and to fields of what its scopes reach. Only one account has workspaces."""
    workspaces, fields = body.get("workspaces"), body.get("fields")
    id = FORMS["workspace_id"]
    if isinstance(workspaces, list) and workspaces and all(isinstance(it, str) and id.fullmatch(it) for it in workspaces):
        body["workspaces"] = [WORKSPACES[-1]] if account == ACCOUNT else None
    if isinstance(fields, dict) and fields and all(isinstance(names, list) and names for names in fields.values()):
        body["fields"] = {"contacts": ["name"]}
        if isinstance(body.get("scopes", []), list):
            body["scopes"] = ["contacts:read"]


def demands_nothing(body):
    """Of an account, for keys may be issued for any that a list has: JSON Schema cannot say what its settings demand of
    them."""
    if body.get("name_policy") in ("required", "unique"):
        body["name_policy"] = "optional"
    if body.get("access_level_required") is True:
        body["access_level_required"] = False
    if type(body.get("max_key_days")) is int and 1 <= body["max_key_days"] <= 3_650:
        body["max_key_days"] = None


@schemathesis.hook
def before_call(context, case, kwargs):
    """What the hooks for parts of a request are not asked about: they see neither the examples nor the coverage phase,
    nor what is taken from answers."""
    if case.meta.phase.name in (TestPhase.EXAMPLES, TestPhase.COVERAGE):
        for kind in well_formed(case.path_parameters):
            # Of plans not always the same one: each is executed or cancelled once.
            case.path_parameters[kind] = existing(context, kind, next(COUNT) if kind == "plan_id" else -1)
    # Nor is the one archived that keys are limited to.
    if operation_id(context) == "archiveWorkspace" and (case.path_parameters or {}).get("workspace_id") == WORKSPACES[-1]:
        case.path_parameters["workspace_id"] = WORKSPACES[0]
    key = (case.headers or {}).get("Idempotency-Key")
    if isinstance(key, str) and IDEMPOTENCY_KEY.fullmatch(key):
        case.headers["Idempotency-Key"] = new(key)
    body = case.body if isinstance(case.body, dict) else {}
    external_id = body.get("external_id")
    if isinstance(external_id, str) and EXTERNAL_ID.fullmatch(external_id):
        body["external_id"] = new(external_id)
    if isinstance(body.get("brand"), str) and BRAND.fullmatch(body["brand"]):
        body["brand"] = "z" + body["brand"][1:]  # no other vendor's begins with that
    demands_nothing(body)
    blocks = body.get("allowed_ips")
    if isinstance(blocks, list) and blocks and all(isinstance(block, str) for block in blocks):
        body["allowed_ips"] = ["192.0.2.0/24", "2001:db8::/32"]  # what a block looks like is more than a pattern says
    if is_catalogue(body.get("scopes")):
        body["scopes"] = None  # the scopes that the account has or gets are not in it
    if isinstance(body.get("access_level"), str) and LINE.fullmatch(body["access_level"]):
        body["access_level"] = "Read only"  # the one that there is
    limit_to_what_there_is(body, (case.path_parameters or {}).get("account_id"))
    # Whoever demands one, and may use several, says which.
    if (case.query or {}).get("workspace") == "required" and "X-Workspace-ID" not in (case.headers or {}):
        case.headers["X-Workspace-ID"] = WORKSPACES[-1]
    if operation_id(context) == "lookUpKey" and isinstance(body.get("key"), str) and next(COUNT) % 2:
        body["key"] = KEY_TEXT


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
