import type { ErrorCode } from "../error.ts";

export const EXIT_OK = 0;
/** `get` and `where` of a key that has no value. */
export const EXIT_NO_VALUE = 3;
/** `doctor`: a check failed. */
export const EXIT_FAILED = 1;

/** One exit status per class of error. docs/errors.md says what each means; 1 and 2 are what shells expect. */
export const EXIT: Readonly<Record<ErrorCode, number>> = {
  INTERNAL: 1,
  INVALID: 2,
  TOO_LARGE: 4,
  UNSUPPORTED: 5,
  NOT_FOUND: 6,
  READONLY: 7,
  UNAUTHORISED: 8,
  UNAVAILABLE: 9,
  TIMEOUT: 10,
  CLOSED: 11,
  CONFLICT: 12,
  INDETERMINATE: 13,
  OVERLOADED: 14,
  TOO_OLD: 15,
  SKEW: 16,
  CORRUPT: 17,
  ABORTED: 130,
};
