/** Follows one job to its end: by events, and by asking where events do not come through. */

import type { Api } from "./api";
import { readEvents } from "./sse";
import { isFinal, type Job } from "./types";

const POLL_MS = 2000;

/** Calls `onJob` with each new state; ends with the final one, or when stopped. */
export async function followJob(
  api: Api,
  id: string,
  onJob: (job: Job) => void,
  signal: AbortSignal,
): Promise<void> {
  const seen = { lastId: "", ended: false };
  const take = (job: Job): void => {
    seen.ended = isFinal(job);
    onJob(job);
  };
  while (!seen.ended && !signal.aborted) {
    await stream(api, id, seen, take, signal).catch(() => undefined);
    if (seen.ended || signal.aborted) return;
    await pause(POLL_MS, signal);
    if (!signal.aborted) await api.job(id).then(take).catch(() => undefined);
  }
}

async function stream(
  api: Api,
  id: string,
  seen: { lastId: string; ended: boolean },
  take: (job: Job) => void,
  signal: AbortSignal,
): Promise<void> {
  const answer = await api.events(id, seen.lastId, signal);
  if (!answer.body) return;
  for await (const event of readEvents(answer.body)) {
    seen.lastId = event.id;
    if (event.event !== "progress" && event.event !== "state") continue;
    take(JSON.parse(event.data) as Job);
    if (seen.ended) return;
  }
}

export function pause(duration_ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, duration_ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}
