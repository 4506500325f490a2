/** What the REST API answers, as far as the page uses it. */

export interface Problem {
  type: string;
  title: string;
  status?: number;
  detail?: string;
}

export interface Job {
  id: string;
  state: string;
  stage: string | null;
  done: number | null;
  total: number | null;
  queue_position: number | null;
  eta_s: number | null;
  cached?: boolean;
  slide_id: string;
  model?: unknown;
  created_at: string;
  finished_at: string | null;
  error: Problem | null;
  result_id: string | null;
}

export interface Slide {
  id: string;
}

export interface Histogram {
  bins: number;
  tissue_mm2: number[]; // of the positive class, equal steps of probability from 0 to 1
}

export interface Artefact {
  name: string;
  media_type: string;
  size_bytes: number;
  sha256: string;
  href: string;
}

export interface Result {
  id: string;
  job_id: string;
  slide_id: string;
  model: { name: string; version: string; sha256?: string };
  outcome?: string;
  classes: string[];
  channels: string[]; // what the heatmap shows besides, by names that are no class's
  positive_class: string;
  slide: { size0: [number, number]; mpp: [number, number] | null };
  statistics: {
    threshold?: number | null;
    scored_tissue_mm2?: number | null;
    histogram?: Histogram | null;
  };
  warnings: unknown[];
  artefacts: Artefact[];
}

/** What the heatmap says at a point: probabilities by class, and its channels. */
export interface PointAnswer {
  prob: Record<string, number>;
  channels: Record<string, number>;
}

export const FINAL_STATES: readonly string[] = ["succeeded", "failed", "cancelled"];

export function isFinal(job: Job): boolean {
  return FINAL_STATES.includes(job.state);
}

export function isProblemOf(problem: Problem | null, name: string): boolean {
  return problem !== null && problem.type.split(/[/:#]/).at(-1) === name;
}

/** A title without its full stop gets one: a detail follows. */
export function sentences(problem: Problem): { title: string; detail: string } {
  const { title, detail = "" } = problem;
  return { title: /[.!?]$/.test(title) ? title : `${title}.`, detail };
}
