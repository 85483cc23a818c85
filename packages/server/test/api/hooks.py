"""What schemathesis must know beyond the document."""

import json
import os
import uuid

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def ndjson(ctx, value):
    """A line per message; the document says of the body that it is a text."""
    if isinstance(value, bytes):
        return value
    return (value if isinstance(value, str) else json.dumps(value)).encode("utf-8", "surrogatepass")


# The account and the session of the test itself must stay as they are.
OF_THE_TESTER = os.environ.get("OF_THE_TESTER", "").split()


@schemathesis.hook
def before_call(ctx, case, **kwargs):
    for name, value in list((case.headers or {}).items()):
        if name.lower() == "idempotency-key":
            case.headers[name] = never_used(value)
    for name, value in list((case.path_parameters or {}).items()):
        if value in OF_THE_TESTER:
            case.path_parameters[name] = str(uuid.uuid4())
    operation = case.operation.definition.raw.get("operationId")
    if operation == "poll":
        case.query = shortest(case.query or {})
    elif operation == "pollWithCursors" and isinstance(case.body, dict):
        case.body = shortest(case.body)


def never_used(key):
    """With an idempotency key that was used before, another body is refused, which no schema can say."""
    is_key = isinstance(key, str) and 0 < len(key) <= 255 and all("!" <= letter <= "~" for letter in key)
    return f"{key}{uuid.uuid4()}"[-255:] if is_key else key


def shortest(fields):
    """A poll for which nothing comes takes as long as it asks for."""
    timeout = str(fields.get("timeout", 30))
    waits = timeout.isdecimal() and 1 < int(timeout) <= 60
    return {**fields, "timeout": 1} if waits else fields
