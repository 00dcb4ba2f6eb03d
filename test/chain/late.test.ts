import { describe, expect, it } from "vitest";
import { lateWrites } from "../../src/chain/late.ts";
import { NO_META } from "../../src/entry.ts";
import { formatVersion } from "../../src/version.ts";

describe("writes that a layer did not take", () => {
  // Mutation: the bytes are kept as they came, and with them all of the buffer that they are a piece of.
  it("wait with bytes of their own", () => {
    const late = lateWrites(10);
    const value = new Uint8Array(8_192).subarray(100, 200).fill(7);
    const version = formatVersion(1.7e12, 0, "0".repeat(16));
    late.add(1, { entry: { key: "k", state: "value", value, version, expires: null, meta: NO_META }, asOf: 5 });
    const [[layer, writes] = [0, []]] = late.take();
    const kept = writes[0]?.entry.value;
    expect([layer, kept, kept?.buffer.byteLength]).toEqual([1, new Uint8Array(value), 100]);
  });
});
