"""A proxy between a client and the AWS emulator that makes AWS far away and impatient.

It adds a latency to every request and throttles by service, as AWS does it: with status 400 and `Throttling` (IAM, STS),
503 and `SlowDown` (S3), 429 and `ThrottlingException` (all others). It counts requests.
"""

import asyncio
import collections
import json
import re
import sys
import time

SERVICE = re.compile(rb"Credential=[^/]*/\d+/[^/]*/([a-z0-9-]+)/", re.IGNORECASE)
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
QUERY = ("iam", "sts")


class Tokens:
    """A rate of requests per second, with an initial burst of the same size."""

    def __init__(self, rate):
        self.rate = self.left = rate
        self.at = time.monotonic()

    def take(self):
        now = time.monotonic()
        self.left = min(self.rate, self.left + (now - self.at) * self.rate)
        self.at = now
        if self.left < 1:
            return False
        self.left -= 1
        return True


def throttled(service):
    """The response of a service that throttles."""
    if service == "s3":
        return 503, b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
    if service in QUERY:
        return 400, (
            b"<ErrorResponse><Error><Type>Sender</Type><Code>Throttling</Code>"
            b"<Message>Rate exceeded</Message></Error></ErrorResponse>"
        )
    return 429, b'{"__type": "ThrottlingException", "message": "Rate exceeded"}'


class Proxy:
    """Passes requests on to `port` on this machine."""

    def __init__(self, port):
        self.port = port
        self.idle = []
        self.set(0, {})

    def set(self, latency, rates):
        """Sets the latency in seconds and the requests per second by service. Resets the counts."""
        self.latency = latency
        self.tokens = {service: Tokens(rate) for service, rate in rates.items()}
        self.counts = collections.Counter()
        self.throttles = collections.Counter()
        self.flying = self.most = 0

    async def serve(self):
        """Starts, and returns the port."""
        server = await asyncio.start_server(self.connection, "127.0.0.1", 0, backlog=512)
        return server.sockets[0].getsockname()[1]

    async def connection(self, reader, writer):
        try:
            while True:
                head, body = await message(reader)
                writer.write(await self.answer(head, body))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def answer(self, head, body):
        if head.startswith(b"POST /bench "):
            asked = json.loads(body)
            self.set(asked["latency"], asked["rates"])
            return plain(200, b"{}")
        if head.startswith(b"GET /bench "):
            told = {"counts": self.counts, "throttled": self.throttles, "most": self.most}
            return plain(200, json.dumps(told).encode())
        found = SERVICE.search(head)
        service = found.group(1).decode().lower() if found else "sts"
        self.counts[service] += 1
        self.flying += 1
        self.most = max(self.most, self.flying)
        try:
            if self.latency:
                await asyncio.sleep(self.latency)
            if service in self.tokens and not self.tokens[service].take():
                self.throttles[service] += 1
                return plain(*throttled(service))
            return await self.forward(head, body)
        finally:
            self.flying -= 1

    async def forward(self, head, body):
        reader, writer = self.idle.pop() if self.idle else await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(head + body)
        head, body = await message(reader, head.startswith(b"HEAD "))
        self.idle.append((reader, writer))
        return head + body


async def message(reader, bodiless=False):
    """The head and the body of a request or a response."""
    head = await reader.readuntil(b"\r\n\r\n")
    if CHUNKED.search(head):
        body = b""
        while not body.endswith(b"\r\n0\r\n\r\n") and body != b"0\r\n\r\n":
            body += await reader.readuntil(b"\r\n")
        return head, body
    length = LENGTH.search(head)
    return head, await reader.readexactly(int(length.group(1))) if length and not bodiless else b""


def plain(status, body):
    kind = "application/json" if body.startswith(b"{") else "text/xml"
    head = f"HTTP/1.1 {status} x\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def main():
    port = await Proxy(int(sys.argv[1])).serve()
    print(f"Running on http://127.0.0.1:{port}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
