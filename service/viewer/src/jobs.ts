/** The list of jobs, kept current: a few by events, the rest by asking now and then. */

import type { Api } from "./api";
import { followJob, pause } from "./follow";
import { isFinal, type Job } from "./types";

/** A browser opens six connections to an HTTP/1.1 server: tiles need most of them. */
const MAX_STREAMS = 2;
const BUSY_MS = 5_000;
const CALM_MS = 30_000;

export interface JobListEvents {
  onList: (jobs: Job[]) => void;
  onJob: (job: Job, before: Job | undefined) => void;
  onFailure: (error: unknown) => void;
}

export class JobList {
  private readonly jobs = new Map<string, Job>();
  private readonly streams = new Map<string, AbortController>();
  private wake = new AbortController();

  constructor(
    private readonly api: Api,
    private readonly events: JobListEvents,
  ) {}

  /** Runs as long as the page. */
  async watch(): Promise<void> {
    for (;;) {
      if (!document.hidden) await this.refresh();
      this.wake = new AbortController();
      await pause(this.unfollowed().length ? BUSY_MS : CALM_MS, this.wake.signal);
    }
  }

  refreshSoon(): void {
    this.wake.abort();
  }

  get(id: string): Job | undefined {
    return this.jobs.get(id);
  }

  /** Newest first. */
  get all(): Job[] {
    return [...this.jobs.values()].sort((a, b) => (a.created_at < b.created_at ? 1 : -1));
  }

  take(job: Job): void {
    const before = this.jobs.get(job.id);
    this.jobs.set(job.id, job);
    if (isFinal(job)) this.leave(job.id);
    this.follow();
    this.events.onJob(job, before);
    if (!before) this.events.onList(this.all);
  }

  private async refresh(): Promise<void> {
    try {
      const listed = await this.api.jobs();
      const kept = new Set(listed.map((job) => job.id));
      for (const job of this.all) if (!kept.has(job.id) && isFinal(job)) this.jobs.delete(job.id);
      for (const job of listed) this.jobs.set(job.id, job);
      this.follow();
      this.events.onList(this.all);
    } catch (error) {
      this.events.onFailure(error);
    }
  }

  private unfollowed(): Job[] {
    return this.all.filter((job) => !isFinal(job) && !this.streams.has(job.id));
  }

  /** The oldest ones first: they run, or will run next. */
  private follow(): void {
    for (const id of [...this.streams.keys()]) {
      const job = this.jobs.get(id);
      if (!job || isFinal(job)) this.leave(id);
    }
    for (const job of this.unfollowed().reverse().slice(0, MAX_STREAMS - this.streams.size)) {
      const stop = new AbortController();
      this.streams.set(job.id, stop);
      void followJob(this.api, job.id, (next) => this.take(next), stop.signal);
    }
  }

  private leave(id: string): void {
    this.streams.get(id)?.abort();
    this.streams.delete(id);
  }
}
