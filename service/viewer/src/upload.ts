/** Sends a file's bytes: by XMLHttpRequest, because fetch does not tell the progress of a body. */

import { idempotencyKey } from "./wire";

export interface Upload {
  file: File;
  onProgress: (sent: number, total: number) => void;
  signal: AbortSignal;
}

/** The answer as fetch would give it. Rejects with AbortError when stopped, TypeError offline. */
export function send(upload: Upload, headers: Record<string, string>): Promise<Response> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", "/v1/slides");
    request.setRequestHeader("Content-Type", mediaType(upload.file));
    request.setRequestHeader("Idempotency-Key", idempotencyKey());
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => upload.onProgress(event.loaded, event.total);
    request.onload = () => resolve(responseOf(request));
    request.onerror = () => reject(new TypeError("The connection broke during the upload."));
    request.onabort = () => reject(new DOMException("The upload was stopped.", "AbortError"));
    upload.signal.addEventListener("abort", () => request.abort(), { once: true });
    if (upload.signal.aborted) request.abort();
    else request.send(upload.file);
  });
}

export function mediaType(file: { name: string }): string {
  return /\.zip$/i.test(file.name) ? "application/zip" : "application/octet-stream";
}

function responseOf(request: XMLHttpRequest): Response {
  const { status, statusText } = request;
  const body = [204, 205, 304].includes(status) ? null : request.responseText;
  return new Response(body, { status, statusText });
}
