/** The one place that talks to the API: its key, its problems, its addresses. */

import { idempotencyKey, isSameOrigin, problemFrom } from "./wire";
import type { Job, PointAnswer, Problem, Result, Slide } from "./types";
import { send, type Upload } from "./upload";

export class ApiError extends Error {
  constructor(readonly problem: Problem) {
    super(problem.title);
  }
}

/** Asks the user; `rejected` says that the key so far was refused. Null: the user gave up. */
export type KeyPrompt = (rejected: boolean) => Promise<string | null>;

const KEY = "api-key";

export class Api {
  private asking: Promise<string | null> | null = null;
  onKey: () => void = () => undefined;

  constructor(private readonly prompt: KeyPrompt) {}

  get headers(): Record<string, string> {
    const key = sessionStorage.getItem(KEY);
    return key ? { Authorization: `Bearer ${key}` } : {};
  }

  get hasKey(): boolean {
    return sessionStorage.getItem(KEY) !== null;
  }

  async jobs(): Promise<Job[]> {
    return (await this.json<{ items: Job[] }>("/v1/jobs?limit=50")).items;
  }

  job(id: string): Promise<Job> {
    return this.json<Job>(`/v1/jobs/${encodeURIComponent(id)}`);
  }

  result(id: string): Promise<Result> {
    return this.json<Result>(`/v1/results/${encodeURIComponent(id)}`);
  }

  /** By class and channel; null where nothing was scored. */
  async point(id: string, x0: number, y0: number, signal: AbortSignal): Promise<PointAnswer["prob"] | null> {
    const address = `/v1/results/${encodeURIComponent(id)}/point?x0=${x0}&y0=${y0}`;
    try {
      const { prob, channels } = await this.json<PointAnswer>(address, { signal });
      return { ...prob, ...channels };
    } catch (error) {
      if (error instanceof ApiError && error.problem.status === 404) return null;
      throw error;
    }
  }

  async cancel(id: string): Promise<void> {
    await this.ask(`/v1/jobs/${encodeURIComponent(id)}/cancel`, { method: "POST" });
  }

  startJob(slideId: string, mpp: number | null): Promise<Job> {
    const body = mpp === null ? { slide_id: slideId } : { slide_id: slideId, params: { mpp } };
    return this.json<Job>("/v1/jobs", {
      method: "POST",
      headers: { "Content-Type": "application/json", "Idempotency-Key": idempotencyKey() },
      body: JSON.stringify(body),
    });
  }

  /** The slide's bytes, as they are, with its progress. */
  async upload(upload: Upload): Promise<Slide> {
    const answer = await this.withKey(() => send(upload, this.headers));
    return (await answer.json()) as Slide;
  }

  async events(id: string, lastId: string, signal: AbortSignal): Promise<Response> {
    const headers: Record<string, string> = { Accept: "text/event-stream" };
    if (lastId) headers["Last-Event-ID"] = lastId;
    return this.ask(`/v1/jobs/${encodeURIComponent(id)}/events`, { headers, signal });
  }

  async blob(address: string): Promise<Blob> {
    return (await this.ask(address)).blob();
  }

  async text(address: string): Promise<string> {
    return (await this.ask(address)).text();
  }

  private async json<T>(address: string, init: RequestInit = {}): Promise<T> {
    return (await (await this.ask(address, init)).json()) as T;
  }

  private ask(address: string, init: RequestInit = {}): Promise<Response> {
    if (!isSameOrigin(address)) throw new TypeError(`${address}: not of this service`);
    return this.withKey(() =>
      fetch(address, { ...init, headers: { ...init.headers, ...this.headers } }),
    );
  }

  /** Asks for a key on 401, once for all requests that wait, and tries again. */
  private async withKey(request: () => Promise<Response>): Promise<Response> {
    for (;;) {
      const used = sessionStorage.getItem(KEY);
      const answer = await request();
      if (answer.ok) return answer;
      const problem = await problemFrom(answer);
      if (answer.status !== 401) throw new ApiError(problem);
      const changed = sessionStorage.getItem(KEY) !== used;
      if (!changed && (await this.obtainKey(used !== null)) === null) throw new ApiError(problem);
    }
  }

  private obtainKey(rejected: boolean): Promise<string | null> {
    this.asking ??= this.prompt(rejected)
      .then((key) => {
        if (key !== null) {
          sessionStorage.setItem(KEY, key);
          this.onKey();
        }
        return key;
      })
      .finally(() => (this.asking = null));
    return this.asking;
  }
}
