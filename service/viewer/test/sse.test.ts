import assert from "node:assert/strict";
import { test } from "node:test";

import { EventParser, readEvents } from "../src/sse";

function parse(...chunks: string[]): string[] {
  const parser = new EventParser();
  return chunks.flatMap((chunk) => parser.feed(chunk)).map(({ event, data, id }) => `${event}|${data}|${id}`);
}

test("an event ends with an empty line", () => {
  assert.deepEqual(parse("event: state\ndata: {}\n"), []);
  assert.deepEqual(parse("event: state\ndata: {}\nid: 7\n\n"), ["state|{}|7"]);
});

test("it may be cut anywhere, with any end of line", () => {
  for (const end of ["\n", "\r\n", "\r"]) {
    const text = ["event: a", "data: 1", "", "data: 2", "", ""].join(end);
    for (let cut = 0; cut <= text.length; cut++) {
      assert.deepEqual(parse(text.slice(0, cut), text.slice(cut)), ["a|1|", "message|2|"], JSON.stringify([end, cut]));
    }
  }
});

test("lines of data are joined, comments and unknown fields left out", () => {
  assert.deepEqual(parse(": hello\nfoo: bar\ndata: x\ndata:  y\n\n"), ["message|x\n y|"]);
});

test("the last id stays; one with a null does not count", () => {
  assert.deepEqual(parse("id: 1\ndata: a\n\nid: 2\0\ndata: b\n\n"), ["message|a|1", "message|b|1"]);
});

test("an event without data is none, a byte order mark is no data", () => {
  assert.deepEqual(parse("\uFEFFevent: x\n\ndata\n\n"), ["message||"]);
});

test("a stream's bytes may cut a letter in two", async () => {
  const bytes = new TextEncoder().encode("data: µ\n\n");
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      for (const byte of bytes) controller.enqueue(Uint8Array.of(byte));
      controller.close();
    },
  });
  const seen: string[] = [];
  for await (const event of readEvents(body)) seen.push(event.data);
  assert.deepEqual(seen, ["µ"]);
});
