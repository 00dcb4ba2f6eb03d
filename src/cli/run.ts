import { Command as Program, CommanderError, Option } from "commander";
import { SyncError } from "../error.ts";
import { COMMANDS } from "./commands.ts";
import type { Command } from "./commands.ts";
import { EXIT, EXIT_OK } from "./exit.ts";
import { OutputClosed } from "./io.ts";
import type { Io } from "./io.ts";
import { jsonLine } from "./lines.ts";
import { withSession } from "./session.ts";
import type { GlobalOptions } from "./session.ts";

/**
 * One run of the command line.
 * @param args without the names of Node and of the program.
 * @returns the exit status. Nothing is thrown: what goes wrong is one line on standard error.
 */
export async function run(args: readonly string[], io: Io, version: string): Promise<number> {
  const said: Said[] = [];
  let status = EXIT_OK;
  const program = programFor(io, version, said, async (command, values, flags, global) => {
    const { run: runCommand } = await command.load();
    status = await withSession(io, global, (session) => runCommand(session, values, flags));
  });
  try {
    try {
      await program.parseAsync([...args], { from: "user" });
    } finally {
      for (const { output, text } of said) await output.write(text);
    }
    return status;
  } catch (error) {
    return await tell(io, error, args.includes("--json"));
  }
}

interface Said {
  readonly output: Io["stdout"];
  readonly text: string;
}

type Act = (
  command: Command,
  values: readonly string[],
  flags: Readonly<Record<string, unknown>>,
  global: GlobalOptions,
) => Promise<void>;

function programFor(io: Io, version: string, said: Said[], act: Act): Program {
  const program = new Program("microsync")
    .description("A key-value store made of the stores you have: memory, disk, git, in layers.")
    .version(version, "--version", "print the version")
    .helpOption("-h, --help", "show help")
    .helpCommand("help [command]", "show help")
    .option("--chain <urls>", "the layers, nearest first (else MICROSYNC_CHAIN, microsync.config.*, the default)")
    .option("--config <file>", "a configuration file other than the folder's microsync.config.{ts,js,json}")
    .option("--journal <folder>", "where writes are durable at once and sent from (else MICROSYNC_JOURNAL, the file's)")
    .option("--timeout <time>", "how long opening the chain, and each call of it, may take, such as 5s")
    .option("--json", "print JSON, one object a line")
    .addHelpText(
      "after",
      `
Values go to standard output, words to standard error. docs/errors.md lists the exit statuses.

Examples:
  $ microsync set users/ada Ada
  $ microsync --chain "memory: lmdb:./cache git:./truth.git" get users/ada
  $ microsync help set`,
    );
  quiet(program, io, said);
  for (const command of COMMANDS) {
    const sub = program.command(command.name).summary(command.summary).description(command.summary);
    for (const [name, what] of command.args) sub.argument(name, what);
    for (const [flags, what, kind] of command.options) {
      const option = new Option(flags, what);
      if (kind === "repeated") option.argParser((value: string, before?: string[]) => [...(before ?? []), value]);
      sub.addOption(option);
    }
    sub.addHelpText("after", `\nExamples:\n${command.examples.map((line) => `  $ microsync ${line}`).join("\n")}`);
    quiet(sub, io, said);
    sub.action(async () => {
      const { chain, config, journal, json, timeout } = program.opts<GlobalOptions>();
      await act(command, sub.args, sub.opts(), { chain, config, journal, json, timeout });
    });
  }
  return program;
}

/** Nothing is written or ended behind our back: help and version are collected, the rest is thrown. */
function quiet(program: Program, { stdout }: Io, said: Said[]): void {
  program
    .exitOverride()
    .showSuggestionAfterError(true)
    .configureOutput({
      writeOut: (text) => said.push({ output: stdout, text }),
      writeErr: () => undefined,
      getOutHelpWidth: () => stdout.columns ?? 100,
      getErrHelpWidth: () => stdout.columns ?? 100,
      getOutHasColors: () => false,
      getErrHasColors: () => false,
    });
}

/** The one line of a failure, and its exit status. */
async function tell(io: Io, thrown: unknown, json: boolean): Promise<number> {
  if (thrown instanceof OutputClosed) return EXIT_OK;
  if (thrown instanceof CommanderError && thrown.exitCode === 0) return EXIT_OK;
  const { code, message } = failureOf(thrown);
  const line = message.replaceAll(/\s*\n\s*/g, " ").trim();
  try {
    await io.stderr.write(json ? jsonLine({ error: { code, message: line } }) : `microsync: ${line}\n`);
  } catch (error) {
    if (!(error instanceof OutputClosed)) throw error; // with standard error gone, the status has to do
  }
  return EXIT[code];
}

function failureOf(thrown: unknown): Pick<SyncError, "code" | "message"> {
  if (thrown instanceof SyncError) return thrown;
  if (thrown instanceof CommanderError) {
    if (thrown.code === "commander.help")
      return { code: "INVALID", message: "no command is given (see microsync --help)" };
    return { code: "INVALID", message: `${thrown.message.replace(/^error: /, "")} (see microsync --help)` };
  }
  const what = thrown instanceof Error ? `${thrown.name}: ${thrown.message}` : String(thrown);
  return { code: "INTERNAL", message: `a defect: ${what} (please report it)` };
}
