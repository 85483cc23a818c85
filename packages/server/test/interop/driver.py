"""Does with the client library what the tests beside this file say: a JSON command a line on standard input, a JSON answer a line on
standard output, each command in a thread of its own, so that one that waits holds up no other.

    {"id": 1, "make": "RelayTransport", "as": "galaxy", "with": {"relay_url": "…"}}
    {"id": 2, "call": "galaxy.post_message", "with": {"topic": "t", "payload": {}}}

Arguments may name what was made, {"$made": "name"}, stand for a function that reports its calls, {"$report": "name"}, and be a float
that JSON would write as an integer, {"$float": 30}.
"""

import json
import logging
import sys
import threading

import pulsar_relay_client

# It warns of each retry, which here is what is wanted.
logging.basicConfig(level=logging.ERROR)
made = {}
printing = threading.Lock()


def say(answer):
    with printing:
        print(json.dumps(answer), flush=True)


def argument(value):
    if isinstance(value, dict) and "$made" in value:
        return made[value["$made"]]
    if isinstance(value, dict) and "$report" in value:
        return lambda *args: say({"report": value["$report"], "args": args})
    if isinstance(value, dict) and "$float" in value:
        return float(value["$float"])
    return value


def carry_out(command):
    given = {name: argument(value) for name, value in command.get("with", {}).items()}
    if "make" in command:
        made[command["as"]] = getattr(pulsar_relay_client, command["make"])(**given)
        return None
    name, method = command["call"].split(".")
    return getattr(made[name], method)(**given)


def answer_to(command):
    try:
        return {"id": command["id"], "result": carry_out(command)}
    except Exception as error:
        return {"id": command["id"], "error": type(error).__name__, "message": str(error)}


for line in sys.stdin:
    threading.Thread(target=lambda command: say(answer_to(command)), args=(json.loads(line),), daemon=True).start()
