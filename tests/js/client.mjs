// What the client does when its server goes away, is silent, or calls: on sockets made of nothing, with a clock by hand.
// node client.mjs MODULE prints what became of each case as JSON, null for good.
import assert from "node:assert/strict";
import { mock } from "node:test";

mock.timers.enable({ apis: ["setTimeout", "setInterval"] });
let ahead = 0;
performance.now = ((real) => () => real.call(performance) + ahead)(performance.now);
Math.random = () => 0.5;

const { Session, WsxClient, decode, encode } = await import(process.argv[2]);

async function settle() {
  for (let turn = 0; turn < 10; turn += 1) await new Promise(setImmediate);
}

async function pass(ms) {
  ahead += ms;
  mock.timers.tick(ms);
  await settle();
}

/** Both ends of sockets: what clients send is kept, what the server says is given to them. */
function network({ hello = {}, refusal, refuses = () => false } = {}) {
  const sockets = [];
  class FakeSocket {
    readyState = 0;
    bufferedAmount = 0;
    frames = [];
    sent = [];

    constructor(url, protocol) {
      Object.assign(this, { url, protocol, at: ahead });
      sockets.push(this);
      queueMicrotask(() => {
        if (refuses(sockets.length)) return this.lose(1006);
        this.readyState = 1;
        this.onopen();
      });
    }

    send(text) {
      this.frames.push(text);
      const batch = /^WSX:\/\/\[(.*)\]::JS$/s.exec(text)?.[1];
      if (batch) this.sent.push(...JSON.parse(`[${batch}]`));
      else this.#take(decode(text).fields);
    }

    #take(fields) {
      this.sent.push(fields);
      if (fields.path === "/_wsx/hello") this.say({ id: fields.id, status: 200, data: { v: 1, identity: null, ...hello }, ...refusal });
    }

    say(fields) {
      queueMicrotask(() => this.onmessage?.({ data: encode(fields) }));
    }

    lose(code, reason = "") {
      this.readyState = 3;
      queueMicrotask(() => this.onclose?.({ code, reason }));
    }

    close() {
      this.readyState = 3;
    }

    /** The calls sent since the hello. */
    get calls() {
      return this.sent.filter(({ path }) => path !== "/_wsx/hello");
    }

    answer(data, { path }) {
      this.say({ id: this.calls.findLast((call) => call.path === path).id, status: 200, data });
    }
  }
  return { sockets, WebSocket: FakeSocket };
}

async function connected(net, options) {
  const client = new WsxClient("http://127.0.0.1/x#y", { WebSocket: net.WebSocket, ...options });
  await client.connect();
  return client;
}

const cases = {
  async "the handshake"() {
    const net = network({ hello: { identity: "ada", limits: { message: 5 }, features: ["sub"] } });
    const client = await connected(net, { auth: { token: "t" } });
    const [{ url, protocol, sent: [{ method, path, data }] }] = net.sockets;
    assert.deepEqual([url, protocol, method, path], ["ws://127.0.0.1/x", "wsx.1", "POST", "/_wsx/hello"]);
    assert.deepEqual(data, { v: 1, features: ["stream", "credit", "cancel", "sub", "batch"], auth: { token: "t" } });
    assert.deepEqual([client.identity, client.limits, client.features], ["ada", { message: 5 }, ["sub"]]);
    client.close();
  },

  async "an older server, which knows no hello"() {
    const net = network({ refusal: { status: 404, data: { error: "There is no /_wsx/hello.", code: "NOT_FOUND" } } });
    const client = await connected(net);
    assert.deepEqual([client.state, client.identity, client.features], ["open", null, []]);
    client.close();
  },

  async "calls of one moment share frames"() {
    const net = network({ hello: { features: ["batch"] } });
    const client = await connected(net);
    const [{ frames, sent }] = net.sockets;
    const calls = Array.from({ length: 40 }, (_, n) => client.post("/x", n));
    await settle();
    assert.deepEqual(frames.slice(1).map((frame) => frame.split('"method"').length - 1), [32, 8]);
    assert.deepEqual(sent.slice(1).map(({ data }) => data), [...Array(40).keys()]);
    for (const { id, data } of sent.slice(1)) net.sockets[0].say({ id, status: 200, data: -data });
    assert.deepEqual((await Promise.all(calls)).slice(-2), [-38, -39]);

    // A mark counts for all of a batch, so that what has none stays alone; what is long does, too.
    for (const data of ["a", "b", "x".repeat(70_000), "c"]) client.post("/y", data).catch(() => {});
    client.event("/z", "plain");
    client.event("/z", 5n ** 40n);
    client.get("/y").catch(() => {});
    await settle();
    const shapes = frames.slice(3).map((frame) => [frame.slice(6, 7), frame.split('"method"').length - 1]);
    assert.deepEqual(shapes, [["[", 2], ["{", 1], ["{", 1], ["{", 1], ["[", 2]]);
    client.close();
  },

  async "a batch fits into what the server reads"() {
    const net = network({ hello: { features: ["batch"], limits: { message: 900 } } });
    const client = await connected(net);
    for (let n = 0; n < 8; n += 1) client.post("/x", "è".repeat(30)).catch(() => {});
    await settle();
    const frames = net.sockets[0].frames.slice(1);
    assert.equal(frames.length, 4);
    assert.equal(frames.every((frame) => frame[6] === "[" && new TextEncoder().encode(frame).length <= 900), true);
    client.close();
  },

  async "what was said is sent before the client closes"() {
    const net = network();
    const client = await connected(net);
    client.event("/bye");
    await Promise.resolve();
    client.close();
    assert.deepEqual(net.sockets[0].calls.map(({ path }) => path), ["/bye"]);
  },

  async "a batch that holds too much"() {
    const answers = [];
    const session = new Session({ send: (frame) => answers.push(decode(frame).fields) });
    session.features = ["batch"];
    const pings = Array.from({ length: 66 }, (_, n) => encode({ id: `p${n}`, method: "POST", path: "/_wsx/ping" }).slice(6));
    session.receive(`WSX://[${pings}]`);
    assert.deepEqual(answers.map(({ status }) => status), [...Array(64).fill(200), 413, 413]);
    assert.deepEqual([answers[65].id, answers[65].data.code], ["p65", "TOO_LARGE"]);
  },

  async "goaway: open calls end there, new ones and topics go to the next connection"() {
    const net = network();
    const client = await connected(net);
    const events = [];
    const sub = client.subscribe("/t", null, (event) => events.push(event));
    const slow = client.get("/slow");
    await settle();
    const [old] = net.sockets;
    old.say({ id: old.calls[0].id, status: 200, stream: true, seq: 0, data: { sub: "1" } });
    await sub.ready;
    old.say({ method: "POST", path: "/_wsx/goaway", data: { reason: "restart", after_ms: 1000, grace_ms: 5000 } });
    await settle();
    assert.equal(client.state, "connecting");
    assert.deepEqual(old.calls.at(-1).data, { id: old.calls[0].id }); // the topic is left here
    const next = client.post("/next", 1);
    await pass(999);
    assert.equal(net.sockets.length, 1);
    await pass(501);
    assert.equal(net.sockets.length, 2);
    const [, fresh] = net.sockets;
    assert.deepEqual(fresh.calls.map(({ method, path }) => `${method} ${path}`).sort(), ["POST /next", "SUBSCRIBE /t"]);
    fresh.answer("next", { path: "/next" });
    assert.equal(await next, "next");
    assert.equal(old.readyState, 1);
    old.answer("slow", { path: "/slow" });
    assert.equal(await slow, "slow");
    await settle();
    assert.equal(old.readyState, 3);
    fresh.say({ id: fresh.calls.find(({ path }) => path === "/t").id, status: 200, stream: true, seq: 0, data: { sub: "2" } });
    await settle();
    assert.deepEqual(events.map(({ event }) => event), ["sync"]);
    client.close();
    await sub.done.catch(() => {});
  },

  async "a call that the server refused because it goes away is made again"() {
    const net = network();
    const client = await connected(net);
    const call = client.post("/x", 1);
    await settle();
    const [{ id }] = net.sockets[0].calls;
    net.sockets[0].say({ id, status: 503, data: { error: "draining", code: "DRAINING", retry: true } });
    await settle();
    await pass(250);
    assert.equal(net.sockets[0].calls.length, 2);
    net.sockets[0].answer("done", { path: "/x" });
    assert.equal(await call, "done");
    client.close();
  },

  async "a call that may have run is not made again, but a GET is"() {
    const net = network();
    const client = await connected(net);
    const [posted, got] = [client.post("/p", 1), client.get("/g")];
    await settle();
    net.sockets[0].lose(1006);
    await assert.rejects(posted, { status: 503, code: "DISCONNECTED", retry: false, details: { code: 1006, reason: "" } });
    await pass(250);
    await pass(250);
    assert.deepEqual(net.sockets[1].calls.map(({ path }) => path), ["/g"]);
    net.sockets[1].answer("g", { path: "/g" });
    assert.equal(await got, "g");
    client.close();
  },

  async "reconnects come with more and more time between them"() {
    const net = network({ refuses: (count) => count > 1 && count < 6 });
    const errors = [];
    const client = await connected(net, { onError: ({ code }) => errors.push(code), backoff: 100, maxBackoff: 400 });
    net.sockets[0].lose(1006);
    await settle();
    for (let turn = 0; turn < 100; turn += 1) await pass(10);
    // Half of what it may be at most: 100, 200, 400 and no more.
    assert.deepEqual(net.sockets.slice(1).map(({ at }, place) => at - net.sockets[place].at), [50, 100, 200, 200, 200]);
    assert.deepEqual(errors, Array(4).fill("DISCONNECTED"));
    assert.equal(client.state, "open");
    client.close();
  },

  async "silence: a ping, and then another connection"() {
    const net = network({ hello: { heartbeat_s: 10 } });
    const client = await connected(net);
    await pass(10_000);
    assert.deepEqual(net.sockets[0].calls.map(({ path }) => path), ["/_wsx/ping"]);
    net.sockets[0].answer("pong", { path: "/_wsx/ping" });
    await settle();
    ahead += 60_000; // a page in the background
    await pass(10_000);
    assert.equal(client.state, "open");
    net.sockets[0].answer("pong", { path: "/_wsx/ping" });
    await settle();
    await pass(10_000);
    assert.equal(client.state, "open");
    await pass(10_000);
    await pass(500);
    assert.deepEqual([net.sockets[0].readyState, net.sockets.length, client.state], [3, 2, "open"]);
    client.close();
  },

  async "credentials that expired"() {
    const net = network();
    let shown = 0;
    const client = await connected(net, { auth: () => ({ token: `t${(shown += 1)}` }) });
    net.sockets[0].lose(4401, "expired");
    await settle();
    await pass(500);
    assert.deepEqual(net.sockets[1].sent[0].data.auth, { token: "t2" });
    client.close();
    const other = await connected(net, { auth: { token: "t" } });
    net.sockets.at(-1).lose(4401, "expired");
    const { status, code } = await other.closed;
    assert.deepEqual([status, code, other.state], [401, "UNAUTHENTICATED", "closed"]);
    await assert.rejects(other.get("/x"), { status: 401 });
  },

  async "calls of the server"() {
    const net = network();
    const seen = [];
    const client = await connected(net, {
      handlers: {
        "/add": ({ data, query, method }) => ({ sum: data.reduce((a, b) => a + b), query, method }),
        "/count": async function* ({ query: { n } }) { for (let item = 0; item < n; item += 1) yield item; },
      },
    });
    client.handle("/log", ({ id, data }) => { seen.push([id, data]); });
    const [socket] = net.sockets;
    const start = socket.sent.length;
    socket.say({ id: "s1", method: "POST", path: "/add", query: { a: 1 }, data: [1, 2] });
    socket.say({ method: "POST", path: "/log", data: "hello" });
    socket.say({ id: "s2", method: "GET", path: "/count", query: { n: 2 }, credit: 9 });
    socket.say({ id: "s3", method: "GET", path: "/nothing" });
    await settle();
    const answers = socket.sent.slice(start);
    const of = (wanted) => answers.filter(({ id }) => id === wanted);
    assert.deepEqual(of("s1"), [{ id: "s1", status: 200, data: { sum: 3, query: { a: 1 }, method: "POST" } }]);
    assert.deepEqual(of("s2").map(({ seq, data, stream = false }) => [seq, data, stream]), [[0, 0, true], [1, 1, true], [2, undefined, false]]);
    assert.deepEqual(of("s3").map(({ status, data: { code } }) => [status, code]), [[404, "NOT_FOUND"]]);
    assert.deepEqual(seen, [[null, "hello"]]);
    client.close();
  },

  async "a handler that reads a stream learns that it was cut off"() {
    const net = network();
    const ends = [];
    const client = await connected(net);
    client.handle("/sum", async ({ data, signal }) => {
      try {
        for await (const item of data) ends.push(item);
        ends.push("whole");
      } catch (error) {
        ends.push(error.code, signal.aborted);
      }
    });
    const [socket] = net.sockets;
    socket.say({ id: "s1", method: "POST", path: "/sum", stream: true });
    socket.say({ id: "s1", seq: 0, data: 5, stream: true });
    await settle();
    socket.say({ method: "POST", path: "/_wsx/cancel", data: { id: "s1" } });
    await settle();
    assert.deepEqual(ends, [5, "CANCELLED", true]);
    assert.deepEqual(socket.sent.filter(({ id }) => id === "s1").map(({ status }) => status), [499]);
    client.close();
  },

  async "calls without a connection wait for one, as long as they may"() {
    const net = network();
    const client = await connected(net);
    net.sockets[0].lose(1006);
    await settle();
    const hurried = client.get("/a", {}, { timeout: 100 });
    const patient = client.get("/b", {}, { timeout: 1000 });
    const control = new AbortController();
    const dropped = client.get("/c", {}, { signal: control.signal });
    control.abort();
    await assert.rejects(dropped, { name: "AbortError" });
    const late = assert.rejects(hurried, { status: 504, code: "DEADLINE", retry: true });
    await pass(100);
    await late;
    await pass(400);
    const [, { calls: [{ path, timeout }] }] = net.sockets;
    assert.deepEqual([path, timeout <= 900 && timeout > 300], ["/b", true]);
    net.sockets[1].answer(1, { path: "/b" });
    assert.equal(await patient, 1);
    client.close();
  },

  async "nothing is left behind"() {
    const net = network();
    const client = await connected(net);
    const control = new AbortController();
    let listeners = 0;
    const { addEventListener, removeEventListener } = control.signal;
    control.signal.addEventListener = (...all) => { listeners += 1; addEventListener.apply(control.signal, all); };
    control.signal.removeEventListener = (...all) => { listeners -= 1; removeEventListener.apply(control.signal, all); };
    const call = client.get("/x", {}, { signal: control.signal });
    await settle();
    net.sockets[0].answer(1, { path: "/x" });
    await call;
    assert.equal(listeners, 0);
    const [open, streamed] = [client.post("/y", 1), client.stream("/z").next()];
    await settle();
    client.close();
    await assert.rejects(open, { status: 499, code: "CANCELLED" });
    await assert.rejects(streamed, { status: 499, code: "CANCELLED" });
    assert.equal(net.sockets[0].readyState, 3);
  },
};

const results = {};
for (const [name, work] of Object.entries(cases)) {
  const late = new Promise((_, reject) => setImmediateAfter(2000, () => reject(new Error("it hangs"))));
  results[name] = await Promise.race([work(), late]).then(() => null, (error) => String(error.stack));
}

/** Something that runs after so many turns of the loop: the clock stands still here. */
function setImmediateAfter(turns, work) {
  const turn = () => (turns-- ? setImmediate(turn) : work());
  turn();
}
console.log(JSON.stringify(results));
process.exit();
