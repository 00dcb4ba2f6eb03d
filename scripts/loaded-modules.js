// Prints, as JSON, what one import of a module makes Node load: `node scripts/loaded-modules.js SPECIFIER`.
// `packages` are the dependencies, `builtins` the modules of Node that an import statement names, at any depth.
import { register } from "node:module";
import { MessageChannel, receiveMessageOnPort } from "node:worker_threads";

const [specifier] = process.argv.slice(2);
if (specifier === undefined) throw new Error("usage: node scripts/loaded-modules.js SPECIFIER");

const hooks = `
  let port;
  export function initialize(data) { port = data.port; }
  export async function resolve(specifier, context, next) {
    const found = await next(specifier, context);
    port.postMessage(found.url);
    return found;
  }`;
const { port1, port2 } = new MessageChannel();
register(`data:text/javascript,${encodeURIComponent(hooks)}`, { data: { port: port2 }, transferList: [port2] });

await import(specifier);
/** @type {string[]} */
const urls = [];
for (let got = receiveMessageOnPort(port1); got !== undefined; got = receiveMessageOnPort(port1))
  urls.push(got.message);
port1.close();

const packages = urls.flatMap((url) => /.*\/node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(url)?.[1] ?? []);
const named = urls.flatMap((url) => (url.startsWith("node:") ? [url] : []));
console.log(
  JSON.stringify({
    specifier,
    modules: urls.length,
    packages: [...new Set(packages)].sort(),
    builtins: [...new Set(named)].sort(),
  }),
);
