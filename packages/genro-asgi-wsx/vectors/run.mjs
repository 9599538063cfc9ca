// Runs the vectors against wsx.js: node run.mjs [FILE...]; exit code 1 when a case fails.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

import { Decimal, Session, WsxError, date, datetime, decode, encode, fromTytx, time, toTytx }
  from "../src/genro_asgi/wsx/static/wsx.js";

const FILES = ["values.json", "encode.json", "decode.json", "refuse.json", "session.json", "connections.json"];

class Skip extends Error {}

// -- values

const bytesOf = (base64) => new Uint8Array(Buffer.from(base64, "base64"));
const READERS = {
  $N: (text) => new Decimal(text),
  $D: date,
  $DHZ: (text) => datetime(text),
  $DH: (text) => datetime(text, "DH"),
  $H: time,
  $L: BigInt,
  $RAW: bytesOf,
};

/** The value that a vector writes as `{"$N": "9.90"}` and the like. */
function valueOf(written) {
  if (Array.isArray(written)) return written.map(valueOf);
  if (written === null || typeof written !== "object") return written;
  const [name, ...others] = Object.keys(written);
  if (others.length === 0 && Object.hasOwn(READERS, name)) return READERS[name](written[name]);
  return Object.fromEntries(Object.entries(written).map(([key, value]) => [key, valueOf(value)]));
}

/** A value so that equality tells microseconds, and what a Date is. */
function plainly(value) {
  if (value instanceof Date) return { type: value.type, text: value.toJSON() };
  if (value === null || typeof value !== "object") return value;
  if (value instanceof Decimal || value instanceof Uint8Array) return value;
  if (Array.isArray(value)) return value.map(plainly);
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plainly(item)]));
}

const same = (left, right) => assert.deepEqual(plainly(left), plainly(right));

function textOf({ text, repeat }) {
  if (!repeat) return text;
  const [before, unit, times, after] = repeat;
  return before + unit.repeat(times) + after;
}

/** The frames of a case: its text, or its bytes; both must be read alike. */
function framesOf(vector) {
  if (vector.legacy) throw new Skip("legacy messages are for servers");
  if (vector.hex) return [Uint8Array.from(Buffer.from(vector.hex, "hex"))];
  const text = textOf(vector);
  return [text, new TextEncoder().encode(text)];
}

const isMap = (bytes) => typeof bytes !== "string" && (bytes[0] >> 4 === 8 || bytes[0] === 0xde || bytes[0] === 0xdf);
const RUN = {
  "values.json"({ value, text }) {
    assert.equal(toTytx(valueOf(value)), text);
    same(fromTytx(text), valueOf(value));
  },

  "encode.json"({ fields, form, text }) {
    if (!form.includes("text") || form.includes("legacy")) throw new Skip("only text, and no legacy, is written");
    const options = { typed: form.includes("typed"), prefixed: form.includes("prefixed") };
    assert.equal(encode(valueOf(fields), options), text);
    if (options.typed) same(decode(text).fields, valueOf(fields));
  },

  "decode.json"(vector) {
    for (const frame of framesOf(vector)) {
      if (isMap(frame)) throw new Skip("MessagePack");
      const { kind, fields, form } = decode(frame);
      assert.equal(kind, vector.kind);
      same(fields, valueOf(vector.fields));
      assert.deepEqual(["text", ...Object.keys(form).filter((name) => form[name])].sort(), [...vector.form].sort());
    }
  },

  "refuse.json"(vector) {
    for (const frame of framesOf(vector)) {
      if (isMap(frame)) throw new Skip("MessagePack");
      assert.throws(() => decode(frame), ({ status, code, id, pointer, ...error }) => {
        if (typeof frame !== "string" && code === "TOO_LARGE") id = vector.id; // bytes too many are not looked at
        assert.deepEqual({ status, code, id, pointer },
          { status: vector.status, code: vector.code, id: vector.id, pointer: vector.pointer });
        return error instanceof Object;
      });
    }
  },

  "session.json": ({ steps }) => new Peer().run([{ attach: true }, ...steps]),

  async "connections.json"({ role, steps }) {
    if (role !== "client") throw new Skip("this is a client");
    const peer = new Peer();
    await peer.run(steps);
    assert.deepEqual(peer.unsaid, [], "more went out");
  },
};

// -- sessions: frames in, frames out, and a clock that is turned by hand

const clock = { now: 0, timers: new Map(), last: 0 };

globalThis.setTimeout = (work, ms = 0) => {
  clock.timers.set(++clock.last, { at: clock.now + ms, work });
  return clock.last;
};
globalThis.clearTimeout = (timer) => clock.timers.delete(timer);

/** Let everything that waits for nothing but its turn go on. */
async function settle() {
  for (let turn = 0; turn < 5; turn += 1) await new Promise(setImmediate);
}

async function pass(ms) {
  for (const end = clock.now + ms; ; await settle()) {
    const [timer, next] = [...clock.timers].sort(([, a], [, b]) => a.at - b.at)[0] ?? [0, { at: Infinity }];
    if (next.at > end) {
      clock.now = end;
      return;
    }
    clock.now = next.at;
    clock.timers.delete(timer);
    next.work();
  }
}

async function* count({ query }) {
  for (let item = 0; item < query.n; item += 1) yield item;
}

async function* doubles({ data }) {
  for await (const item of data) yield 2 * item;
}

async function sum({ data }) {
  let total = 0;
  for await (const item of data) total += item;
  return total;
}

/** What the vectors call. */
const ROUTES = {
  "/echo": ({ data }) => data,
  "/count": count,
  "/wait": () => new Promise(() => {}),
  "/fail": () => { throw new Error("secret"); },
  "/refuse": () => { throw new WsxError("You may not.", { status: 403, code: "FORBIDDEN" }); },
  "/sum": sum,
  "/double": doubles,
};

async function* each(items) {
  yield* items;
}

class Peer {
  #names = {};
  #calls = {};
  #links = {};
  #link = null;

  async run(steps) {
    for (const [at, step] of steps.entries()) {
      try {
        await this.#step(step);
        await settle();
      } catch (error) {
        error.message = `step ${at + 1} ${JSON.stringify(step)}: ${error.message}`;
        throw error;
      }
    }
  }

  async #step(step) {
    if ("on" in step) this.#link = this.#links[step.on];
    if ("attach" in step) this.#attach();
    else if ("connect" in step) this.#connect(step.connect);
    else if ("in" in step) this.#session.receive(encode(this.#named(step.in), { typed: false }));
    else if ("features" in step) this.#session.features = step.features;
    else if ("in_batch" in step) this.#batch(step.in_batch);
    else if ("in_text" in step) this.#session.receive(step.in_text);
    else if ("out" in step || "quiet" in step) this.#sent(step.out ?? []);
    else if ("after" in step) await pass(step.after);
    else if ("call" in step) this.#call(step);
    else if ("take" in step) await this.#take(step);
    else if ("items" in step) same(this.#calls[step.items].taken, valueOf(this.#named(step.are)));
    else if ("result" in step) await this.#ended(step);
    else if ("cancel" in step) this.#calls[step.cancel].cancel();
    else if ("lost" in step) this.#lose(1006);
    else if ("close" in step) this.#lose(step.close);
    else throw new Error("this step is unknown");
  }

  /** What went out and no step has spoken of. */
  get unsaid() {
    return Object.values(this.#links).flatMap(({ frames }) => frames);
  }

  get #session() {
    return this.#link.session;
  }

  /** A connection; the session of one that was lost goes on over it. */
  #attach() {
    const last = this.#link?.session;
    const link = { frames: [], send: (frame) => link.frames.push(frame) };
    if (last?.suspended) last.attach(link);
    link.session = last?.suspended ? last : new Session({ ...link, handlers: new Map(Object.entries(ROUTES)) });
    this.#link = link;
  }

  #connect(name) {
    this.#attach();
    this.#links[name] = this.#link;
    this.#session.hello().catch(() => {}); // it may be lost before there is an answer
  }

  #lose(code) {
    const gone = new WsxError("gone", { status: 503, code: "DISCONNECTED" });
    this.#link.send = () => {};
    if (code === 1006 || code === 1011) this.#session.suspend(gone);
    else this.#session.end(gone);
  }

  #batch(messages) {
    const frames = messages.map((fields) => encode(this.#named(fields), { typed: false, prefixed: false }));
    this.#session.receive(`WSX://[${frames}]`);
  }

  /** Fields with the names of calls in the place of their ids. */
  #named(value) {
    const name = (all, called) => JSON.stringify(this.#names[called] ?? all.slice(1, -1));
    return JSON.parse(JSON.stringify(value).replace(/"\$(\w+)"/g, name));
  }

  #sent(expected) {
    const frames = this.#link.frames.splice(0).map((frame) => decode(frame).fields);
    assert.equal(frames.length, expected.length, `${JSON.stringify(frames)} went out`);
    for (const [at, fields] of this.#named(expected).entries()) match(frames[at], valueOf(fields), "", this.#names);
  }

  #call({ call: name, method, path, query, headers, data, timeout, credit, chunks }) {
    const source = chunks ? each(chunks) : data;
    const call = this.#session.request(method, path, { query, headers, data: source, timeout, credit });
    this.#names[name] = call.id;
    this.#calls[name] = { ...call, taken: [] };
    this.#calls[name].answer = call.response.then((data) => ({ data }), (error) => ({ error }));
  }

  async #take({ take: name, n }) {
    for (let item = 0; item < n; item += 1) {
      const { value, done } = await this.#calls[name].items.next();
      assert(!done, "the stream is over");
      this.#calls[name].taken.push(value.data);
    }
  }

  async #ended({ result: name, data, error }) {
    const { answer } = this.#calls[name];
    const ended = await Promise.race([answer, settle().then(() => ({ running: true }))]);
    assert(!ended.running, "the call is still running");
    if (error) match(ended.error, error, "");
    else assert.equal(ended.error, undefined);
    if (data !== undefined) same(ended.data.data, valueOf(data));
  }
}

/** What a step may say of a value instead of the value itself. */
const MATCHERS = {
  $as: (came, name, pointer, names) => {
    assert.equal(typeof came, "string", pointer);
    names[name] = came;
  },
  $new: (came, name, pointer, names) => {
    assert(!Object.values(names).includes(came), `${pointer}: ${came} has a name already`);
    MATCHERS.$as(came, name, pointer, names);
  },
  $is: (came, value, pointer) => assert.deepEqual(plainly(came), plainly(value), pointer),
  $has: (came, values, pointer) => assert(values.every((value) => came.includes(value)), `${pointer}: ${came}`),
  $absent: (came, _, pointer) => assert.equal(came, undefined, pointer),
};

/** Whether what came holds all that is expected. */
function match(came, expected, pointer, names = {}) {
  if (expected === "*") return;
  if (expected !== null && typeof expected === "object" && Object.getPrototypeOf(expected) === Object.prototype) {
    const [[how, of] = [], ...others] = Object.entries(expected);
    if (!others.length && Object.hasOwn(MATCHERS, how)) {
      MATCHERS[how](came, of, pointer, names);
      return;
    }
    for (const [name, value] of Object.entries(expected)) match(came?.[name], value, `${pointer}/${name}`, names);
  } else {
    assert.deepEqual(plainly(came), plainly(expected), pointer);
  }
}

// -- the run

console.warn = console.error = () => {}; // what the peers under test log of calls that fail
const counts = { passed: 0, skipped: 0, failed: 0 };
for (const file of process.argv.length > 2 ? process.argv.slice(2) : FILES) {
  for (const vector of JSON.parse(readFileSync(new URL(file, import.meta.url), "utf8"))) {
    try {
      await RUN[file](vector);
      counts.passed += 1;
    } catch (error) {
      counts[error instanceof Skip ? "skipped" : "failed"] += 1;
      if (!(error instanceof Skip)) console.log(`FAILED ${file}: ${vector.name}\n  ${error.message}`);
    }
  }
}
console.log(`${counts.passed} passed, ${counts.skipped} skipped, ${counts.failed} failed`);
process.exitCode = counts.failed ? 1 : 0;
