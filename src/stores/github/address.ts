import { SyncError } from "../../error.ts";

/** @throws SyncError INVALID for what is no URL that a token may be sent to. */
export function checkAddress(text: string, what: string, example: string): URL {
  const address = URL.canParse(text) ? new URL(text) : undefined;
  const isHere = /^(?:127\.0\.0\.1|localhost|\[::1\])$/.test(address?.hostname ?? "");
  const isSafe = address?.protocol === "https:" || (address?.protocol === "http:" && isHere);
  if (address !== undefined && isSafe && address.username === "" && address.password === "" && address.search === "") {
    return address;
  }
  throw new SyncError("INVALID", `the address of ${what} is no https URL`, {
    store: "github",
    operation: "open",
    cure: `write ${example}, without credentials; http is for this machine alone`,
  });
}
