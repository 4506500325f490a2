/** Server-sent events (WHATWG HTML, 9.2.6) over fetch: EventSource can send no Authorization. */

export interface ServerEvent {
  event: string;
  data: string;
  id: string; // the last id of the stream so far; empty: none
}

/** Fed with text as it comes, gives the events that it completes. */
export class EventParser {
  private rest = "";
  private afterCarriageReturn = false;
  private event = "";
  private data: string[] = [];
  private id = "";
  private started = false;

  feed(chunk: string): ServerEvent[] {
    const events: ServerEvent[] = [];
    for (const line of this.lines(chunk)) {
      const event = line === "" ? this.dispatch() : this.field(line);
      if (event) events.push(event);
    }
    return events;
  }

  private lines(chunk: string): string[] {
    let text = this.started ? chunk : chunk.replace(/^\uFEFF/, "");
    this.started ||= chunk !== "";
    if (this.afterCarriageReturn && text.startsWith("\n")) text = text.slice(1);
    if (chunk !== "") this.afterCarriageReturn = chunk.endsWith("\r");
    const lines = (this.rest + text).split(/\r\n|\n|\r/);
    this.rest = lines.pop() ?? "";
    return lines;
  }

  private field(line: string): null {
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "event") this.event = value;
    else if (name === "data") this.data.push(value);
    else if (name === "id" && !value.includes("\0")) this.id = value;
    return null;
  }

  private dispatch(): ServerEvent | null {
    const { event, data, id } = this;
    this.event = "";
    this.data = [];
    return data.length ? { event: event || "message", data: data.join("\n"), id } : null;
  }
}

export async function* readEvents(body: ReadableStream<Uint8Array>): AsyncGenerator<ServerEvent> {
  const parser = new EventParser();
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield* parser.feed(decoder.decode(value, { stream: true }));
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}
