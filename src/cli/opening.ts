/** What opening a chain takes: most of the program, in one import. */
export { chooseChain } from "../config/choose.ts";
export { openChain } from "../config/open.ts";
export { syncOver } from "../sync.ts";
export { rawCodec } from "./raw.ts";
