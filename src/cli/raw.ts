import type { Codec } from "../codec.ts";
import { BYTES_TYPE } from "../codec/content-type.ts";
import type { Raw } from "../node/lines.ts";

/** What a {@link Raw} takes beside its bytes. */
const RAW_BYTES = 64;

/** Values as their bytes, whatever they are: nothing is decoded, so everything can be read and copied. */
export const rawCodec: Codec = {
  encode(value) {
    const { bytes, type } = value as Raw;
    return { bytes, contentType: type ?? BYTES_TYPE };
  },
  decode(bytes, type) {
    const value: Raw = { bytes, type };
    // Nothing in the command line changes a value's bytes, so no copy is made of what may be large.
    return { value, sharing: "shared", bytes: RAW_BYTES };
  },
};
