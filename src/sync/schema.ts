import type { StandardSchemaV1 } from "@standard-schema/spec";
import { SyncError } from "../error.ts";

/** How many of a schema's complaints go into a message. */
const ISSUES_MAX = 5;

/**
 * What the schema makes of a value; a promise only when the schema's own check is one.
 * @throws SyncError INVALID (of a value to be set) or CORRUPT (of one that was read), with the paths inside the value.
 */
export function check(schema: StandardSchemaV1, value: unknown, key: string, operation: "read" | "set"): unknown {
  let result: ReturnType<StandardSchemaV1["~standard"]["validate"]>;
  try {
    result = schema["~standard"].validate(value);
  } catch (cause) {
    throw broken(schema, key, cause);
  }
  if (!(result instanceof Promise)) return judge(schema, result, key, operation);
  return result.then(
    (settled) => judge(schema, settled, key, operation),
    (cause: unknown) => {
      throw broken(schema, key, cause);
    },
  );
}

function judge(
  schema: StandardSchemaV1,
  result: StandardSchemaV1.Result<unknown>,
  key: string,
  operation: "read" | "set",
): unknown {
  if (result.issues === undefined) return result.value;
  const { issues } = result;
  const paths = issues.slice(0, ISSUES_MAX).map(pathOf);
  const more = issues.length > ISSUES_MAX ? ` and ${issues.length - ISSUES_MAX} more` : "";
  // A schema's own messages may quote the value, which has no place in an error: only the paths are told.
  const what = `the value does not fit the ${schema["~standard"].vendor} schema at ${paths.join(", ")}${more}`;
  throw new SyncError(operation === "read" ? "CORRUPT" : "INVALID", what, {
    operation,
    key,
    cure:
      operation === "read"
        ? "repair the stored value, or read it without the schema"
        : "correct the value at these places",
  });
}

function pathOf({ path }: StandardSchemaV1.Issue): string {
  if (path === undefined || path.length === 0) return "the top";
  return path
    .map((part) => (typeof part === "object" ? part.key : part))
    .map((part, index) => (typeof part === "number" ? `[${part}]` : `${index === 0 ? "" : "."}${String(part)}`))
    .join("")
    .slice(0, 200);
}

function broken(schema: StandardSchemaV1, key: string, cause: unknown): SyncError {
  const what = `the ${schema["~standard"].vendor} schema itself failed`;
  return new SyncError("INVALID", what, { key, cause, cure: "correct the schema" });
}
