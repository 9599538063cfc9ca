// Runs the checks in Node: node node.mjs MODULE URL; prints what became of each as JSON, null for good.
import { checks, run } from "./checks.mjs";

const [path, url] = process.argv.slice(2);
const module = await import(path);
const results = {};
for (const name of Object.keys(checks)) {
  results[name] = await run(name, module, { url }).then(() => null, (error) => String(error.stack));
}
console.log(JSON.stringify(results));
