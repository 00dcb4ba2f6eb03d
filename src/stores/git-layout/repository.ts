/** What stands under a name of a folder. */
export interface TreeEntry {
  /** "other": a symbolic link or a submodule. */
  readonly type: "blob" | "tree" | "other";
  readonly id: string;
}

export interface Blob {
  readonly id: string;
  readonly bytes: Uint8Array;
}

export interface TreeFile {
  /** From the folder that was asked for. */
  readonly path: string;
  readonly id: string;
}

/** What one commit of the branch did, against its first parent. */
export interface Step {
  readonly commit: string;
  /** Null for a root. */
  readonly parent: string | null;
  /** Made by Sync, for this prefix, on exactly this parent: what it says of versions can be taken as it stands. */
  readonly bySync: boolean;
  readonly changes: readonly PathChange[];
}

export interface PathChange {
  /** From the store's root. */
  readonly path: string;
  /** Object ids; null where there was, or is, no file. */
  readonly oldId: string | null;
  readonly newId: string | null;
  /** What is, or was, there is no file: a symbolic link or a submodule. */
  readonly oldOther: boolean;
  readonly newOther: boolean;
}

export interface PassageOptions {
  /** Excluded, with all that is reachable from it. Null: from the root on. */
  readonly from: string | null;
  readonly to: string;
  /** Only what stands below this folder is told; "" is the whole tree. */
  readonly prefix: string;
  /** Told the paths that are not UTF-8, and so belong to no key. */
  readonly onBadPath: (path: string) => void;
}

/**
 * What can be read of a git repository, wherever it is. All paths but those of a Step begin at the repository's root.
 * A failure is thrown; that something is not there is an answer.
 */
export interface Repository {
  /** What object ids are made of. */
  readonly algorithm: "sha1" | "sha256";
  /** What stands at each path at a commit, in order; undefined where nothing does. "" is the tree itself. */
  lookUp(commit: string, paths: readonly string[]): Promise<(TreeEntry | undefined)[]>;
  /** The files at these paths, in order; undefined where there is none. Together they are in memory. */
  filesAt(commit: string, paths: readonly string[]): Promise<(Blob | undefined)[]>;
  /** Files by their ids, in order; undefined where there is no such object. Together they are in memory. */
  contents(ids: readonly string[]): Promise<(Blob | undefined)[]>;
  /** In bytes, in order; 0 where it is not known. For cutting reads into pieces. */
  sizes(ids: readonly string[]): Promise<number[]>;
  /** Every regular file below a folder, in the byte order of the paths. Names that are not UTF-8 are left out. */
  files(commit: string, folder: string): AsyncIterable<TreeFile>;
  /**
   * The branch's commits along first parents, the newest first. When `from` is not among them, none, or all down to
   * the root: the last one's parent tells.
   */
  passage(options: PassageOptions): AsyncIterable<Step>;
  /** The paths below `prefix` that differ between two commits. Null: before the first one. */
  changes(from: string | null, to: string, prefix: string): AsyncIterable<PathChange>;
  /** Whether a commit is `of` or was made before it. */
  isAncestor(commit: string, of: string): Promise<boolean>;
}

export interface NewFile {
  readonly path: string;
  /** Its bytes, or the id of an object that is in the repository. */
  readonly content: Uint8Array | string;
  /** The object id of the bytes, where it is known. */
  readonly id?: string | undefined;
}

export interface NewCommit {
  readonly parent: string | null;
  readonly message: string;
  /** `Name <address>`. */
  readonly author: string;
  readonly timeMs: number;
  /** Removed before the files are put, so that a file may become a folder. Paths that are not there are ignored. */
  readonly deletes: readonly string[];
  readonly files: readonly NewFile[];
}
