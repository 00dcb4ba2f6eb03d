/** Several async iterables as one, in the order in which their items come. Each waits until its last item was taken. */
export interface Channel<T> {
  /** Adds a source. Its end ends the channel; its error is thrown by `next`. */
  follow(source: AsyncIterable<T>): void;
  /** The next item; undefined at the end. */
  next(): Promise<T | undefined>;
}

type Event<T> = { readonly item: T } | { readonly error: unknown } | "end";

export function channel<T>(): Channel<T> {
  const events: { readonly event: Event<T>; readonly taken: () => void }[] = [];
  let wake: (() => void) | undefined;

  const put = (event: Event<T>) =>
    new Promise<void>((taken) => {
      events.push({ event, taken });
      wake?.();
    });

  const pump = async (source: AsyncIterable<T>) => {
    try {
      for await (const item of source) await put({ item });
      await put("end");
    } catch (error) {
      await put({ error });
    }
  };

  return {
    follow(source) {
      void pump(source);
    },
    async next() {
      while (events.length === 0) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      const next = events.shift();
      if (next === undefined || next.event === "end") return undefined;
      next.taken();
      if ("error" in next.event) throw next.event.error;
      return next.event.item;
    },
  };
}
