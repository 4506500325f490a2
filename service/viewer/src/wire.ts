/** Small rules of HTTP that need no page. */

import type { Problem } from "./types";

/** The problem that an answer holds; for a proxy's HTML or an empty body, one made of its status. */
export async function problemFrom(answer: Response): Promise<Problem> {
  const fallback = { type: "about:blank", title: answer.statusText || `Status ${answer.status}` };
  const body: unknown = await answer.json().catch(() => null);
  if (typeof body !== "object" || body === null) return { ...fallback, status: answer.status };
  const { type, title, detail } = body as Record<string, unknown>;
  return {
    type: typeof type === "string" ? type : fallback.type,
    title: typeof title === "string" ? title : fallback.title,
    ...(typeof detail === "string" ? { detail } : {}),
    status: answer.status,
  };
}

/** A key goes to this service only, and a link opens nothing but HTTP of this service. */
export function isSameOrigin(address: string, origin: string = location.origin): boolean {
  try {
    return new URL(address, origin).origin === origin;
  } catch {
    return false;
  }
}

/** randomUUID is missing where the page is not served by HTTPS or from localhost. */
export function idempotencyKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
