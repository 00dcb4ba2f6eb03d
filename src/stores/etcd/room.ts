import type { Call } from "./connection.ts";
export class Room {
  constructor(options: object) {
    void options;
  }
  wrote(bytes: number): void {
    void bytes;
  }
  async make(call: Call, reason: unknown): Promise<void> {
    void call;
    throw reason;
  }
  async close(): Promise<void> {}
}
