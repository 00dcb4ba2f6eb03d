/** The other side of the HTTP race, a process of its own: `node:http` that answers every request with the same bytes. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

/** What it answers: the headers that the node gave, and a body. */
export interface BareAnswer {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

process.once("message", ({ headers, body }: BareAnswer) => {
  const bytes = Buffer.from(body, "base64");
  const server = createServer((_, outgoing) => {
    outgoing.writeHead(200, headers);
    outgoing.end(bytes);
  });
  server.listen(0, "127.0.0.1", () => process.send?.((server.address() as AddressInfo).port));
});
