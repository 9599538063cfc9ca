// Runs checks in Node: node node.mjs MODULE CHECKS URL [DIRECT_URL CUT_URL]; prints what became of each as JSON, null
// for good.
import { run } from "./checks.mjs";

const [path, file, url, direct, cutUrl] = process.argv.slice(2);
const { checks } = await import(file);
const module = await import(path);
const results = {};
let running;
process.on("unhandledRejection", (error) => { results[running] ??= `unhandled: ${error?.stack}`; });
for (const name of Object.keys(checks)) {
  running = name;
  const end = await run(name, module, { url, direct, cutUrl }, checks).then(() => null, (error) => String(error.stack));
  results[name] = end ?? results[name] ?? null;
}
console.log(JSON.stringify(results));
