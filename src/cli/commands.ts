import type { Session } from "./session.ts";

/** A command as `--help` shows it. Its code is imported when it runs, so that starting costs no more than it has to. */
export interface Command {
  readonly name: string;
  /** `<required>` and `[optional]`, each with what it is. */
  readonly args: readonly (readonly [name: string, what: string])[];
  readonly summary: string;
  readonly options: readonly (readonly [flags: string, what: string, kind?: "repeated"])[];
  readonly examples: readonly string[];
  readonly load: () => Promise<{ run: Run }>;
}

/** @returns the exit status. */
export type Run = (
  session: Session,
  args: readonly string[],
  flags: Readonly<Record<string, unknown>>,
) => Promise<number>;

const ACK = [
  "--ack <level>",
  'return when this has it: a layer, "all", with a journal "journal" (default) or "memory"',
] as const;

const SIDE = "a store's URL, a chain in quotes, a file of lines (.ndjson), or -";
const FILTERS: Command["options"] = [
  ["--prefix <text>", "only keys that begin with it"],
  ["--glob <pattern>", "only keys that match: *, **, ?; may be given several times", "repeated"],
  ["--exclude <pattern>", "no keys that match; may be given several times", "repeated"],
  ["--min-size <size>", "only values of so many bytes or more, such as 64kb"],
  ["--max-size <size>", "only values of so many bytes or less"],
  ["--min-age <time>", "only values written so long ago or longer, such as 2h"],
  ["--max-age <time>", "only values written so long ago or later"],
  ["--compare <how>", "auto (default: version, else content), version, or content"],
];
const TRANSFER: Command["options"] = [
  ["--dry-run", "tell what would be done, and write nothing"],
  ...FILTERS,
  ["--parallel <count>", "so many batches at once (4)"],
  ["--from-start", "do not go on where an interrupted run had come to"],
];

/** Between any two stores: none of them opens the chain. */
const SESSIONS: readonly Command[] = [
  {
    name: "copy",
    args: [
      ["<from>", SIDE],
      ["<to>", SIDE],
    ],
    summary: "give a store what it lacks, or has in an older version, of another one",
    options: TRANSFER,
    examples: [
      "copy file:./data s3://bucket/data/?region=eu-central-1",
      "copy git:./truth.git backup.ndjson",
      "copy --dry-run --glob '**.json' --max-age 1d file:./data lmdb:./cache",
      `copy "memory: git:./truth.git" postgres://db.example/app`,
    ],
    load: () => import("./copy.ts"),
  },
  {
    name: "mirror",
    args: [
      ["<from>", SIDE],
      ["<to>", SIDE],
    ],
    summary: "make a store's values those of another one, deletions included",
    options: [["--max-delete <limit>", "refuse to delete more keys, or a greater share (50%)"], ...TRANSFER],
    examples: [
      "mirror --dry-run git:./truth.git s3://bucket/data/",
      "mirror git:./truth.git s3://bucket/data/ --max-delete 10",
      "mirror file:./site file:/srv/site --exclude 'drafts/**'",
    ],
    load: () => import("./mirror.ts"),
  },
  {
    name: "diff",
    args: [
      ["<from>", SIDE],
      ["<to>", SIDE],
    ],
    summary: "compare two stores: = same, + only in the first, - only in the second, * different, ! not comparable",
    options: [
      ...FILTERS,
      ["--brief", "leave out what is the same"],
      ["-0, --null", "end each line by a zero byte, for keys that hold line breaks"],
    ],
    examples: ["diff git:./truth.git s3://bucket/data/", "diff --brief --compare content file:./a file:./b"],
    load: () => import("./diff.ts"),
  },
];

export const COMMANDS: readonly Command[] = [
  {
    name: "get",
    args: [["<key>", "the key"]],
    summary: "print a value, byte for byte",
    options: [
      ["--fresh <how>", "cached (default), authority, or the greatest age, such as 5s"],
      ["-o, --output <file>", "write the bytes to this file, whole or not at all"],
      ["--range <start-end>", "only these bytes, the end not included: 0-1024, or 1024- up to the end"],
    ],
    examples: ["get users/ada", "get --json users/ada", "get --fresh authority counter", "get photo.png -o photo.png"],
    load: () => import("./get.ts"),
  },
  {
    name: "set",
    args: [
      ["<key>", "the key"],
      ["[value]", "the value; - or none: standard input"],
    ],
    summary: "store a value, and print its version",
    options: [
      ["--as <kind>", "text (default of VALUE), json, or bytes (default of standard input)"],
      ["--file <file>", "store the bytes of this file, however large; - is standard input"],
      ["--type <type>", "store the bytes under this content type, such as image/png"],
      ["--ttl <time>", "the value ends after this time, such as 10m"],
      ["--expires <moment>", "the value ends at this moment: 2030-01-31T12:00:00Z, or Unix milliseconds"],
      ["--meta <name=value>", "metadata to keep with the value; may be given several times", "repeated"],
      ["--if-absent", "only if the key has no value"],
      ["--if-version <version>", "only if the key is at this version"],
      ACK,
    ],
    examples: [
      "set greeting 'Good morning'",
      `set users/ada --as json '{"name":"Ada"}'`,
      "set photo.png --type image/png - < photo.png",
      "set lock me --if-absent --ttl 30s",
      "set -- -5 'a key that begins with a dash'",
    ],
    load: () => import("./set.ts"),
  },
  {
    name: "delete",
    args: [["<key>", "the key"]],
    summary: "delete a key, and print the version of its tombstone",
    options: [["--if-version <version>", "only if the key is at this version"], ACK],
    examples: ["delete users/ada"],
    load: () => import("./delete.ts"),
  },
  {
    name: "list",
    args: [["[prefix]", "only keys that begin with it"]],
    summary: "list keys, one a line, in the order of their bytes",
    options: [
      ["--after <key>", "only keys after this one"],
      ["--limit <count>", "at most so many"],
      ["-0, --null", "end each key by a zero byte, for keys that hold line breaks"],
    ],
    examples: [
      "list",
      "list users/ --limit 100",
      "list users/ --after users/m",
      "list -0 | xargs -0 -n1 microsync get",
    ],
    load: () => import("./list.ts"),
  },
  {
    name: "watch",
    args: [["[prefix]", "only keys that begin with it"]],
    summary: "print changes as they happen, until interrupted",
    options: [
      ["--initial", "begin with every key there is"],
      ["--limit <count>", "end after so many"],
    ],
    examples: ["watch", "watch --json users/ --initial"],
    load: () => import("./watch.ts"),
  },
  {
    name: "where",
    args: [["<key>", "the key"]],
    summary: "show what each layer holds of a key",
    options: [],
    examples: ["where users/ada", "where --json users/ada"],
    load: () => import("./where.ts"),
  },
  {
    name: "import",
    args: [
      ["<from>", "a folder, a file of JSON lines, or - for standard input"],
      ["[prefix]", "put before every key"],
    ],
    summary: "store the files of a folder, or the entries of a file",
    options: [ACK],
    examples: ["import ./data", "import ./data site/", "import backup.ndjson", "import - < backup.ndjson"],
    load: () => import("./import.ts"),
  },
  {
    name: "export",
    args: [
      ["<prefix-or-to>", "[prefix] to: only keys that begin with the prefix, which they lose; and where to:"],
      ["[to]", "a folder, a file that ends in .ndjson or .jsonl, or - for standard output"],
    ],
    summary: "write values as files of a folder, or entries as lines of a file",
    options: [["--force", "write over what is there"]],
    examples: ["export ./data", "export site/ ./data", "export backup.ndjson", "export users/ - | gzip > users.gz"],
    load: () => import("./export.ts"),
  },
  ...SESSIONS,
  {
    name: "serve",
    args: [],
    summary: "answer over HTTP, until told to end",
    options: [
      ["--listen <address>", "PORT or HOST:PORT (else MICROSYNC_LISTEN, 127.0.0.1:7420)"],
      ["--name <name>", "by which other nodes know this one (else MICROSYNC_NAME, a random one)"],
      ["--tokens <file>", "who may ask: NAME sha256:HASH read,write [PREFIX ...] (else MICROSYNC_TOKENS)"],
      ["--tls-cert <file>", "answer over TLS, with this certificate in PEM"],
      ["--tls-key <file>", "and its key"],
      ["--stop-timeout <time>", "how long requests under way may take once it is told to end (30s)"],
      ["--connections <count>", "how many connections there may be (1000)"],
      ["--body-max <size>", "the largest body of a request (64mb)"],
      ["--allow-clear", "let the clear of unstorage delete many keys at once"],
    ],
    examples: [
      "serve",
      "serve --listen 8080",
      "serve --listen 0.0.0.0:7420 --tokens ./tokens --tls-cert cert.pem --tls-key key.pem",
      '--chain "memory: lmdb:./.sync/cache https://sync.example/" serve',
    ],
    load: () => import("./serve.ts"),
  },
  {
    name: "status",
    args: [],
    summary: "show the layers of the chain, and whether each answers",
    options: [],
    examples: ["status", "status --json"],
    load: () => import("./status.ts"),
  },
  {
    name: "doctor",
    args: [["[urls...]", "the stores, nearest first; none: those of the chain"]],
    summary: "connect to stores, measure them, try what they say they can, and give advice",
    options: [["--read-only", "write nothing: only what can be seen without"]],
    examples: [
      "doctor s3://bucket/data/?region=eu-central-1",
      "doctor --read-only github:owner/repo#main",
      "doctor memory: lmdb:./cache postgres://db.example/app",
      "doctor --json --timeout 5s etcd://127.0.0.1:2379/app",
    ],
    load: () => import("./doctor.ts"),
  },
  {
    name: "flush",
    args: [],
    summary: "return when everything written is in every layer",
    options: [],
    examples: ["flush", "flush --timeout 1m"],
    load: () => import("./flush.ts"),
  },
  {
    name: "journal",
    args: [
      ["[action]", "ls (default), check, retry, drop or rescue"],
      ["[letters...]", "of retry and drop: the letters, as ls names them"],
    ],
    summary: "show what layers refused or lack, send it again, give it up, or rescue a damaged journal",
    options: [
      ["--all", "of retry and drop: every letter"],
      ["--layer <name>", "of drop: what waits for a layer that is not in the chain any more"],
    ],
    examples: [
      "journal ls --journal ./.sync/journal",
      "journal retry letter-000000000042-git",
      "journal drop --all",
      "journal check",
      "journal rescue",
    ],
    load: () => import("./journal.ts"),
  },
  {
    name: "collect",
    args: [],
    summary: "remove for good what was deleted or expired longer ago than the retention",
    options: [["--dry-run", "count only"]],
    examples: ["collect --dry-run", "collect"],
    load: () => import("./collect.ts"),
  },
];
