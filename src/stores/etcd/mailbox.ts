/**
 * What a stream tells, until a watch takes it. When more than `sizeMax` wait the stream is paused, so that a slow reader
 * holds up the sender and not this process's memory.
 */
export class Mailbox<T> {
  private readonly waiting: T[] = [];
  private readonly sizeMax: number;
  private readonly flow: { pause(): void; resume(): void };
  private paused = false;
  private wake: (() => void) | undefined = undefined;

  constructor(sizeMax: number, flow: { pause(): void; resume(): void }) {
    this.sizeMax = sizeMax;
    this.flow = flow;
  }

  put(item: T): void {
    this.waiting.push(item);
    if (!this.paused && this.waiting.length >= this.sizeMax) {
      this.paused = true;
      this.flow.pause();
    }
    this.wake?.();
  }

  async take(): Promise<T> {
    while (this.waiting.length === 0) {
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
    const item = this.waiting.shift() as T;
    if (this.paused && this.waiting.length <= this.sizeMax / 2) {
      this.paused = false;
      this.flow.resume();
    }
    return item;
  }
}
