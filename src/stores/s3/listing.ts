import { inParallel } from "../../in-parallel.ts";
import type { Listed, ListOptions, Range } from "../../store.ts";
import { PAGE_MAX, page } from "./bucket.ts";
import type { ListedObject, Page } from "./bucket.ts";
import type { Call } from "./call.ts";
import { nameOf, prefixNameOf } from "./names.ts";
import type { Found } from "./object.ts";
import { fetchEntry, keyAt, look } from "./space.ts";
import type { Space } from "./space.ts";

/** An object of a list that is an entry's. */
export interface Item extends ListedObject {
  readonly key: string;
}

/** How much of a list is asked about at once: so many objects, and of values about so many bytes. */
const WINDOW = 64;
const WINDOW_BYTES = 32 * 1024 * 1024;

export function tagOf(etag: string, seconds: number): string {
  return `${etag}.${seconds.toString(36)}`;
}

/** The entries' objects in the order of their keys, page by page. `during` tells the store that it is under way. */
export async function* items(
  space: Space,
  call: Call,
  { prefix }: Range,
  { after, limit = Infinity }: Pick<ListOptions, "after" | "limit">,
  during: <T>(work: Promise<T>) => Promise<T>,
): AsyncGenerator<readonly Item[]> {
  let left = limit;
  let token: string | undefined;
  const names = space.prefix + prefixNameOf(prefix);
  const from = after === undefined ? undefined : space.prefix + nameOf(after);
  while (left > 0) {
    call.check();
    const count = Math.min(PAGE_MAX, left + 1);
    const next: Page = await during(page(space.client, call, names, { after: from, token }, count));
    const found = next.objects.flatMap((object) => {
      const key = keyAt(space, object.name);
      // A name may begin like the prefix's and be of another key.
      return key?.startsWith(prefix) === true ? [{ ...object, key }] : [];
    });
    const mine = found.slice(0, left);
    left -= mine.length;
    if (mine.length > 0) yield mine;
    if (next.next === undefined) return;
    token = next.next;
  }
}

export async function* list(
  space: Space,
  call: Call,
  range: Range,
  options: ListOptions,
  during: <T>(work: Promise<T>) => Promise<T>,
): AsyncGenerator<Listed> {
  const { detail = "keys" } = options;
  const headIn = (item: Item) => headOf(space, call, item);
  for await (const mine of items(space, call, range, options, during)) {
    for (const window of windowsOf(mine, detail === "values" ? WINDOW_BYTES : Infinity)) {
      call.check();
      if (detail === "keys") {
        for (const item of window) {
          call.check();
          yield { kind: "entry", key: item.key, tag: tagOf(item.etag, item.seconds), head: null, value: null };
        }
        continue;
      }
      const { wholeBytesMax } = options;
      const ask = detail === "values" ? (of: Item) => valueOf(space, call, of, wholeBytesMax) : headIn;
      const told = await during(inParallel(window, WINDOW, (item) => space.slots.run(() => ask(item))));
      for (const listed of told) {
        call.check();
        if (listed !== undefined) yield listed;
      }
    }
  }
}

function* windowsOf(items: readonly Item[], bytesMax: number): Generator<readonly Item[]> {
  let from = 0;
  let bytes = 0;
  for (const [i, item] of items.entries()) {
    if (i > from && (i - from >= WINDOW || bytes + item.bytes > bytesMax)) {
      yield items.slice(from, i);
      from = i;
      bytes = 0;
    }
    bytes += item.bytes;
  }
  if (from < items.length) yield items.slice(from);
}

/** What is known of a listed object, else what a HEAD says; undefined when it is gone by now. */
export async function foundAt(space: Space, call: Call, item: Item): Promise<Found | undefined> {
  const known = space.facts.matching(item.name, item.etag, item.seconds);
  const found = known ?? (await look(space, call, item.key, item.name));
  return found?.grave === true ? undefined : found;
}

async function headOf(space: Space, call: Call, item: Item): Promise<Listed | undefined> {
  const found = await foundAt(space, call, item);
  if (found === undefined) return undefined;
  return {
    kind: "entry",
    key: item.key,
    tag: tagOf(found.etag, found.seconds ?? item.seconds),
    head: found.head,
    value: null,
  };
}

async function valueOf(space: Space, call: Call, item: Item, wholeBytesMax?: number): Promise<Listed | undefined> {
  const got = await fetchEntry(space, call, item.key, item.name, wholeBytesMax);
  if (got === undefined) return undefined;
  const { found, entry } = got;
  const { value } = entry;
  const { head } = found;
  return { kind: "entry", key: item.key, tag: tagOf(found.etag, found.seconds ?? item.seconds), head, value };
}
