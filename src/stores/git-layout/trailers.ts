/** The trailers by which Sync's own commits are known, when they were not moved, squashed or rebased. */
export function trailers(parent: string | null, prefix: string): string {
  return `Sync-Parent: ${parent ?? "none"}\nSync-Prefix: ${encodeURIComponent(prefix)}.\n`;
}

/** Whether the trailers are those of a commit of this prefix on exactly this parent. Repeated ones come with commas. */
export function isSigned(parent: string | null, prefix: string, signedParent: string, signedPrefix: string): boolean {
  return signedParent.trim() === (parent ?? "none") && signedPrefix.trim() === `${encodeURIComponent(prefix)}.`;
}
