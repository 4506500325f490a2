import assert from "node:assert/strict";
import { test } from "node:test";

import { idempotencyKey, isSameOrigin, problemFrom } from "../src/wire";
import { isProblemOf, sentences } from "../src/types";

test("a problem is read from its document", async () => {
  const body = JSON.stringify({ type: "/problems/no-mpp", title: "No", detail: "say", status: 422 });
  const problem = await problemFrom(new Response(body, { status: 422 }));
  assert.deepEqual(problem, { type: "/problems/no-mpp", title: "No", detail: "say", status: 422 });
  assert.ok(isProblemOf(problem, "no-mpp"));
});

test("a proxy's page becomes a problem by its status", async () => {
  const answer = new Response("<h1>Bad gateway</h1>", { status: 502, statusText: "Bad Gateway" });
  assert.deepEqual(await problemFrom(answer), { type: "about:blank", title: "Bad Gateway", status: 502 });
});

test("only addresses of this service are its own", () => {
  const origin = "http://a:8000";
  assert.ok(isSameOrigin("/v1/jobs", origin));
  assert.ok(isSameOrigin("http://a:8000/v1", origin));
  for (const address of ["http://b/v1", "//b/v1", "javascript:alert(1)", "https://a:8000/", "http://["]) {
    assert.ok(!isSameOrigin(address, origin), address);
  }
});

test("each key is its own", () => {
  assert.match(idempotencyKey(), /^[0-9a-f]{32}$/);
  assert.notEqual(idempotencyKey(), idempotencyKey());
});

test("a title ends with a full stop before its detail", () => {
  assert.equal(sentences({ type: "t", title: "It failed" }).title, "It failed.");
  assert.equal(sentences({ type: "t", title: "Why?" }).title, "Why?");
});
