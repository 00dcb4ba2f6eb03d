import { asSyncError } from "../error.ts";
import type { Runtime, Timer } from "../runtime.ts";

/** Cursors are saved at most so often; an older cursor costs sending again what the layers have. */
const SAVE_MS = 1_000;

export interface SaverOptions {
  readonly runtime: Runtime;
  readonly write: () => Promise<void>;
  /** After each time that came by itself. */
  readonly saved: () => Promise<unknown>;
  readonly report: (message: string) => void;
}

/** Has the cursors written down soon after they moved: not too often, and once at a time. */
export class Saver {
  private readonly options: SaverOptions;
  private saving: Promise<void> | undefined;
  private timer: Timer | undefined;

  constructor(options: SaverOptions) {
    this.options = options;
  }

  save(): Promise<void> {
    this.saving ??= this.options.write().finally(() => {
      this.saving = undefined;
    });
    return this.saving;
  }

  /** The cursors moved. */
  soon(): void {
    if (this.timer !== undefined) return;
    const { runtime, saved, report } = this.options;
    const save = () => {
      this.timer = undefined;
      this.save()
        .then(saved)
        .catch((error: unknown) => report(asSyncError(error).message));
    };
    this.timer = runtime.timer(SAVE_MS, save, true);
  }

  /** Nothing more is saved by itself. Resolves when what was under way has ended, and never rejects. */
  async stop(): Promise<void> {
    this.timer?.cancel();
    await this.saving?.catch(() => undefined);
  }
}
