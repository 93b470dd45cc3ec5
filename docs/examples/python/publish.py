"""Publishes one command, waits for the answer to exactly its message, and prints that event.

    pip install nats-py
    python publish.py export req-1 '{"all_projects":true}'

It exits with 0 when the command completed or repeated an earlier message, and with 3 when it
failed, was refused or was cancelled. The rights of a requester in docs/nats.md are enough.
"""

import asyncio
import base64
import json
import os
import sys

import nats


async def request(nc, api, body=None):
    """Asks JetStream. As JSON, so that times keep all their digits."""
    domain = os.environ.get("CONSUMER_NATS_DOMAIN")
    subject = f"$JS.{domain}.API.{api}" if domain else f"$JS.API.{api}"
    reply = await nc.request(subject, json.dumps(body).encode() if body else b"", timeout=10)
    return json.loads(reply.data)


async def publish(action, command, data):
    nc = await nats.connect(
        os.environ.get("NATS_URL", "nats://127.0.0.1:4222"),
        user=os.environ.get("NATS_USER"),
        password=os.environ.get("NATS_PASSWORD"),
        inbox_prefix=os.environ.get("CONSUMER_NATS_INBOX_PREFIX", "_INBOX"),
    )
    try:
        created = (await request(nc, "STREAM.INFO.CV_COMMANDS"))["created"]
        ack = await nc.jetstream().publish(f"cv.commands.{action}", data.encode(), headers={"Nats-Msg-Id": command})
        if ack.duplicate:
            sys.exit("the same id was published less than 100 ms ago: publish again")
        event = await answer(nc, action, command, ack.seq, created)
        print(json.dumps(event))
        return 0 if event["data"]["status"] in ("completed", "duplicate") else 3
    finally:
        await nc.close()


async def answer(nc, action, command, seq, created):
    """Reads the events under the id, and under the sequence of a message without an id of its own,
    until one answers the message."""
    after = {f"cv.events.{action}.{command}.*": 1, f"cv.events.{action}.seq-{seq}.*": 1}
    while True:
        for subject in after:
            found = await request(nc, "STREAM.MSG.GET.CV_EVENTS", {"seq": after[subject], "next_by_subj": subject})
            if "error" in found:
                if found["error"]["code"] == 404:
                    continue
                sys.exit(f"read {subject}: {found['error']['description']}")
            after[subject] = found["message"]["seq"] + 1
            event = json.loads(base64.b64decode(found["message"]["data"]))
            if event["data"]["seq"] != seq or event["data"]["stream"] != created:
                continue  # it answers another message
            if event["data"]["status"] in ("completed", "duplicate", "failed", "refused", "cancelled"):
                return event
        await asyncio.sleep(1)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: python publish.py export|delete|cancel ID DATA")
    sys.exit(asyncio.run(publish(*sys.argv[1:])))
