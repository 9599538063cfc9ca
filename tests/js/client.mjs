// What the client does when its server goes away, is silent, or calls: on sockets made of nothing, with a clock by hand.
// node client.mjs MODULE prints what became of each case as JSON, null for good.
import assert from "node:assert/strict";
import { mock } from "node:test";

mock.timers.enable({ apis: ["setTimeout", "setInterval"] });
let ahead = 0;
performance.now = ((real) => () => real.call(performance) + ahead)(performance.now);
Math.random = () => 0.5;

const { Session, TypeTable, WsxClient, connect, decode, encode, fromTytx, toTytx } = await import(process.argv[2]);

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
      if (fields.path !== "/_wsx/hello") return;
      const answer = typeof hello === "function" ? hello(fields.data) : hello;
      this.say({ id: fields.id, status: 200, data: { v: 1, identity: null, ...answer }, ...refusal });
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

const KEPT = { features: ["resume"], session: "t1", resume_s: 60 };

const cases = {
  async "the handshake"() {
    const net = network({ hello: { identity: "ada", limits: { message: 5 }, features: ["sub"] } });
    const client = await connected(net, { auth: { token: "t" } });
    const [{ url, protocol, sent: [{ method, path, data }] }] = net.sockets;
    assert.deepEqual([url, protocol, method, path], ["ws://127.0.0.1/x", "wsx.1", "POST", "/_wsx/hello"]);
    assert.deepEqual(data, { v: 1, features: ["stream", "credit", "cancel", "sub", "batch", "resume"], auth: { token: "t" } });
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

  async "a batch right behind the answer to hello"() {
    const sent = [];
    const session = new Session({ send: (frame) => sent.push(decode(frame).fields) });
    const hello = session.hello();
    const pings = ["p1", "p2"].map((id) => encode({ id, method: "POST", path: "/_wsx/ping" }, { prefixed: false }));
    session.receive(encode({ id: sent[0].id, status: 200, data: { v: 1, features: ["batch"] } }));
    session.receive(`WSX://[${pings}]`);
    assert.deepEqual(sent.slice(1).map(({ id, status }) => [id, status]), [["p1", 200], ["p2", 200]]);
    assert.deepEqual([(await hello).features, session.features], [["batch"], ["batch"]]);
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

  async "credentials that ended are renewed, and the call is made again"() {
    const net = network();
    let shown = 0;
    const client = await connected(net, { auth: async () => (shown < 3 ? { token: `t${(shown += 1)}` } : undefined) });
    const [socket] = net.sockets;
    const refuse = (...paths) => {
      for (const { id } of socket.calls.filter(({ path }) => paths.includes(path))) {
        socket.say({ id, status: 401, data: { error: "They have expired.", code: "UNAUTHENTICATED", retry: true } });
      }
    };
    const last = (path) => socket.calls.findLast((call) => call.path === path);
    const calls = [client.post("/a", 1), client.get("/b")];
    await settle();
    refuse("/a", "/b");
    await settle();
    assert.deepEqual(socket.calls.slice(2).map(({ path, data }) => [path, data]), [["/_wsx/auth", { token: "t2" }]]);
    socket.answer({ identity: "ada" }, { path: "/_wsx/auth" });
    await settle();
    for (const path of ["/a", "/b"]) socket.answer(path, { path });
    assert.deepEqual([await Promise.all(calls), client.identity, socket.calls.length], [["/a", "/b"], "ada", 5]);

    // Once for each call; what is refused after all is told as it was.
    const forbidden = assert.rejects(client.post("/c"), { status: 401, message: "They have expired." });
    await settle();
    refuse("/c");
    await settle();
    assert.deepEqual(last("/_wsx/auth").data, { token: "t3" });
    socket.answer({ identity: "ada" }, { path: "/_wsx/auth" });
    await settle();
    refuse("/c");
    await forbidden;
    const without = assert.rejects(client.post("/d"), { status: 401, message: "They have expired." });
    await settle();
    refuse("/d");
    await without; // no credentials any more
    assert.equal(socket.calls.filter(({ path }) => path === "/_wsx/auth").length, 2);
    client.close();
    const fixed = await connected(net, { auth: { token: "t" } });
    const refused = assert.rejects(fixed.post("/e"), { status: 401 });
    await settle();
    net.sockets[1].say({ id: net.sockets[1].calls[0].id, status: 401, data: { code: "UNAUTHENTICATED", retry: true } });
    await refused;
    assert.equal(net.sockets[1].calls.length, 1);
    fixed.close();

    // A handler may have done something before it said no.
    const able = await connected(net, { auth: () => ({ token: "t" }) });
    const said = assert.rejects(able.post("/f"), { status: 401 });
    await settle();
    net.sockets[2].say({ id: net.sockets[2].calls[0].id, status: 401, data: { code: "UNAUTHENTICATED", retry: false } });
    await said;
    assert.equal(net.sockets[2].calls.length, 1);
    able.close();
  },

  async "a stream that was refused unrun is asked for again, with new credentials or later"() {
    const net = network();
    let shown = 0;
    const client = await connected(net, { auth: () => ({ token: `t${(shown += 1)}` }) });
    const [socket] = net.sockets;
    const got = [];
    const read = (async () => { for await (const item of client.stream("/s", { a: 1 })) got.push(item); })();
    const refuse = (fields) => socket.say({ id: socket.calls.findLast(({ path }) => path === "/s").id, ...fields });
    await settle();
    refuse({ status: 401, data: { code: "UNAUTHENTICATED", retry: true } });
    await settle();
    assert.deepEqual([socket.calls.at(-1).path, socket.calls.at(-1).data], ["/_wsx/auth", { token: "t2" }]);
    socket.answer({ identity: "ada" }, { path: "/_wsx/auth" });
    await settle();
    refuse({ status: 503, data: { code: "OVERLOADED", retry: true } });
    await settle();
    await pass(1000);
    refuse({ status: 200, seq: 0, stream: true, data: 7 });
    await settle();
    assert.deepEqual([got, socket.calls.map(({ path, query }) => query?.a ?? path)], [[7], [1, "/_wsx/auth", 1, 1]]);
    // What has begun has run.
    const failed = assert.rejects(read, { status: 503 });
    refuse({ status: 503, data: { code: "OVERLOADED", retry: true } });
    await failed;
    const data = (async function* () { yield 1; })();
    const once = assert.rejects(client.stream("/s", {}, { data }).next(), { status: 503 });
    await settle();
    refuse({ status: 503, data: { code: "OVERLOADED", retry: true } });
    await once;
    assert.equal(socket.calls.filter(({ path }) => path === "/s").length, 4);
    client.close();
  },

  async "functions of the program that fail harm nothing else"() {
    const net = network({ hello: { features: ["batch"] }, refuses: (count) => count === 2 });
    const reported = [];
    globalThis.reportError = (error) => reported.push(error.message);
    const fail = (name) => () => { throw new Error(name); };
    const client = await connected(net, {
      onBroadcast: fail("broadcast"), onState: async (state) => fail(state)(), onError: fail("error"), backoff: 10,
    });
    const call = client.get("/x");
    await settle();
    const [{ id }] = net.sockets[0].calls;
    // In one frame, one behind the other.
    const parts = [{ id: "_broadcast", status: 200, data: 1 }, { id, status: 200, data: 2 }];
    net.sockets[0].onmessage({ data: `WSX://${JSON.stringify(parts)}` });
    assert.equal(await call, 2);
    net.sockets[0].lose(1006);
    for (let turn = 0; turn < 5; turn += 1) await pass(1000);
    assert.deepEqual([client.state, net.sockets.length], ["open", 3]);
    client.close();
    await settle();
    assert.deepEqual(reported, ["open", "broadcast", "connecting", "error", "open", "closed"]);
    delete globalThis.reportError;
  },

  async "an address that is none is refused as any other thing is"() {
    for (const url of ["", "foo bar", "/", "ftp://host", null, undefined]) {
      const refused = connect(url, { WebSocket: network().WebSocket });
      await assert.rejects(refused, { name: "TypeError", message: new RegExp(`^${url} is no address of a server; give ws:`) });
    }
  },

  async "a server that is not there is named"() {
    const net = network({ refuses: () => true });
    await assert.rejects(connect("ws://127.0.0.1:1/x", { WebSocket: net.WebSocket }), {
      code: "DISCONNECTED", message: "ws://127.0.0.1:1/x cannot be reached (1006); is the server there, and does it let us in?",
    });
  },

  async "a time longer than can be told"() {
    const net = network();
    const client = await connected(net);
    const call = client.get("/x", null, { timeout: 1e300 });
    await settle();
    assert.equal(net.sockets[0].calls[0].timeout, Number.MAX_SAFE_INTEGER);
    net.sockets[0].answer(1, { path: "/x" });
    assert.equal(await call, 1);
    client.close();
  },

  async "bytes are bytes, however they are looked at"() {
    const bytes = new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8]);
    const views = [bytes, bytes.buffer, new DataView(bytes.buffer, 2, 3), new Uint16Array(bytes.buffer, 2, 1), Buffer.from("hi")];
    assert.deepEqual(views.map(toTytx), ["AQIDBAUGBwg=::RAW", "AQIDBAUGBwg=::RAW", "AwQF::RAW", "AwQ=::RAW", "aGk=::RAW"]);
    assert.equal(encode({ id: "1", status: 200, data: { at: new DataView(bytes.buffer, 0, 1) } }),
      'WSX://{"id":"1","status":200,"data":{"at":"AQ==::RAW"}}::JS');
  },

  async "credentials that ended are renewed for a topic, too, once each time"() {
    const net = network();
    const client = await connected(net, { auth: () => ({ token: "t" }) });
    const events = [];
    const sub = client.subscribe("/t", null, ({ event }) => events.push(event));
    const socket = () => net.sockets.at(-1);
    const reply = async (status, data) => {
      await settle();
      const { id } = socket().calls.findLast(({ path }) => path === "/t");
      socket().say({ id, status, data, ...(status === 200 && { stream: true, seq: 0 }) });
      await settle();
    };
    const refuse = (retry = true) => reply(401, { error: "They have expired.", code: "UNAUTHENTICATED", retry });
    const paths = () => socket().calls.flatMap(({ path }) => path ?? []);
    await refuse();
    assert.deepEqual(paths(), ["/t", "/_wsx/auth"]);
    socket().answer({ identity: "ada" }, { path: "/_wsx/auth" });
    await reply(200, { sub: "1" });
    assert.deepEqual([paths(), (await sub.ready).sub, events], [["/t", "/_wsx/auth", "/t"], "1", []]);

    // On the next connection; and where that is lost meanwhile, the one after it is shown them anyway.
    for (const turn of [1, 2]) {
      socket().lose(1006);
      await settle();
      await pass(500);
      assert.deepEqual([net.sockets.length, paths()], [turn + 1, ["/t"]]);
      if (turn === 1) await refuse();
    }
    assert.deepEqual(net.sockets[1].calls.map(({ path }) => path), ["/t", "/_wsx/auth"]);
    await reply(200, { sub: "2" });
    assert.deepEqual(events, ["sync"]);

    socket().lose(1006);
    await settle();
    await pass(2000);
    await refuse();
    socket().answer({ identity: "ada" }, { path: "/_wsx/auth" });
    await refuse();
    await assert.rejects(sub.done, { status: 401, message: "They have expired." });
    assert.deepEqual(paths(), ["/t", "/_wsx/auth", "/t"]);

    const other = assert.rejects(client.subscribe("/t").ready, { status: 401, retry: false });
    await refuse(false);
    await other;
    const control = new AbortController();
    const left = client.subscribe("/t", null, null, { signal: control.signal });
    await refuse();
    control.abort(); // it is not waited for
    assert.equal((await left.next()).done, true);
    client.close();
  },

  async "headers go along with everything that is asked"() {
    const net = network();
    const client = await connected(net);
    const headers = { traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "x-request-id": "order-17" };
    const asked = [
      client.get("/get", null, { headers }),
      client.post("/post", 1, { headers }),
      client.stream("/stream", null, { headers }).next(),
      client.get("/without"),
    ];
    const ends = Promise.allSettled(asked);
    client.subscribe("/topic", null, () => {}, { headers });
    client.event("/event", 1, { headers });
    await settle();
    const carried = Object.fromEntries(net.sockets[0].calls.map((call) => [call.path, call.headers]));
    const paths = ["/get", "/post", "/stream", "/topic", "/event"];
    assert.deepEqual(carried, { ...Object.fromEntries(paths.map((path) => [path, headers])), "/without": undefined });
    net.sockets[0].lose(1006);
    await settle();
    await pass(2000);
    const [again] = net.sockets[1].calls.filter(({ path }) => path === "/topic");
    assert.deepEqual(again.headers, headers);
    client.close();
    await ends;
  },

  async "the schema is sent once, and again when it has changed"() {
    const net = network();
    const client = await connected(net);
    const [socket] = net.sockets;
    const ask = async (fields) => {
      const document = client.schema();
      await settle();
      const { id, method, path, headers } = socket.calls.at(-1);
      assert.deepEqual([method, path], ["GET", "/_wsx/schema"]);
      socket.say({ id, ...fields });
      return [headers, await document];
    };
    assert.deepEqual(await ask({ status: 200, headers: { etag: '"1"' }, data: { n: 1 } }), [undefined, { n: 1 }]);
    const known = { "if-none-match": '"1"' };
    assert.deepEqual(await ask({ status: 304, headers: { etag: '"1"' } }), [known, { n: 1 }]);
    await assert.rejects(ask({ status: 500, data: { code: "INTERNAL" } }), { status: 500 });
    assert.deepEqual(await ask({ status: 200, headers: { etag: '"2"' }, data: { n: 2 } }), [known, { n: 2 }]);
    assert.deepEqual(await ask({ status: 304 }), [{ "if-none-match": '"2"' }, { n: 2 }]);
    client.close();
  },

  async "a topic: who takes their time is sent no more than the credit, and a signal leaves it"() {
    const net = network();
    const client = await connected(net);
    const control = new AbortController();
    const [seen, waits] = [[], []];
    const onEvent = ({ data }) => new Promise((resolve) => { seen.push(data); waits.push(resolve); });
    const sub = client.subscribe("/t", null, onEvent, { credit: 2, signal: control.signal });
    await settle();
    const [socket] = net.sockets;
    const [{ id, credit }] = socket.calls;
    const say = (seq, data) => socket.say({ id, status: 200, stream: true, seq, data });
    say(0, { sub: "1" });
    await sub.ready;
    const granted = () => socket.calls.filter((call) => call.credit && !call.method).length;
    await settle();
    for (const seq of [1, 2, 3]) say(seq, { event: "message", topic: "/t", data: seq });
    await settle();
    assert.deepEqual([credit, seen, granted()], [2, [1], 2]);
    waits[0]();
    await settle();
    assert.deepEqual([seen, granted()], [[1, 2], 3]);
    control.abort();
    waits[1]();
    await sub.done;
    assert.deepEqual([seen, socket.calls.at(-1).path], [[1, 2], "/_wsx/cancel"]);
    await client.subscribe("/t", null, onEvent, { signal: control.signal }).done;
    assert.equal(socket.calls.at(-1).path, "/_wsx/cancel"); // not even begun
    client.close();
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

  async "who does not want to reconnect is told of the loss, after its last call where the server says goodbye"() {
    const net = network();
    const client = await connected(net, { reconnect: false });
    assert.equal(net.sockets[0].sent[0].data.features.includes("resume"), false);
    net.sockets[0].lose(1006);
    assert.deepEqual([(await client.closed).code, client.state], ["DISCONNECTED", "closed"]);
    await assert.rejects(client.get("/x"), { code: "DISCONNECTED" });
    const other = await connected(net, { reconnect: false });
    const call = other.post("/slow");
    await settle();
    net.sockets[1].say({ method: "POST", path: "/_wsx/goaway", data: { after_ms: 0 } });
    await settle();
    net.sockets[1].answer("done", { path: "/slow" });
    assert.equal(await call, "done");
    assert.deepEqual([(await other.closed).details.code, net.sockets.length], [1000, 2]);
  },

  async "a session goes on over the next connection"() {
    const net = network({ hello: ({ session }) => ({ ...KEPT, resumed: session && true }) });
    const client = await connected(net);
    const events = [];
    const sub = client.subscribe("/t", null, (event) => events.push(event.data));
    const [posted, got, dropped] = ["/p", "/g", "/d"].map((path) => client.post(path, 5n ** 40n));
    const stream = client.stream("/s", { n: 9 }, { credit: 4 });
    const first = stream.next();
    const upload = client.post("/up", (async function* () { yield 1; await new Promise(() => {}); })());
    const ping = client.ping();
    await settle();
    const [old] = net.sockets;
    const id = (path) => old.calls.find((call) => call.path === path).id;
    old.say({ id: id("/t"), status: 200, stream: true, seq: 0, data: { sub: "1" } });
    for (const seq of [0, 1, 2]) old.say({ id: id("/s"), status: 200, stream: true, seq, data: seq });
    await settle();
    assert.equal((await first).value, 0);
    await sub.ready;
    old.lose(1006);
    await assert.rejects(upload, { status: 410, code: "RESUME_LOST", retry: false });
    await assert.rejects(ping, { code: "DISCONNECTED" });
    client.post("/new", 1).catch(() => {});
    assert.equal((await stream.next()).value, 1); // before there is a connection
    await pass(500);
    const [, fresh] = net.sockets;
    const [hello, ...calls] = fresh.sent;
    assert.equal(hello.data.session, "t1");
    assert.deepEqual(hello.data.acks, { [id("/t")]: 0, [id("/p")]: -1, [id("/g")]: -1, [id("/d")]: -1, [id("/s")]: 2 });
    assert.deepEqual(calls.map((call) => call.path), ["/p", "/g", "/d", "/new"]);
    assert.deepEqual(calls.slice(0, 3), old.calls.filter(({ path }) => ["/p", "/g", "/d"].includes(path)));
    const numbers = [...old.calls, hello, fresh.calls.at(-1)].flatMap(({ id, method }) => (id && method ? Number(id.slice(1)) : []));
    assert.deepEqual(numbers, [...new Set(numbers)].sort((a, b) => a - b)); // what is counted on goes up
    fresh.answer("p", { path: "/p" });
    fresh.answer("g", { path: "/g" });
    assert.deepEqual([await posted, await got], ["p", "g"]);
    // Three items had come: the window of four begins after them, and only what comes now is granted again.
    const say = (seq, more) => fresh.say({ id: id("/s"), status: 200, seq, ...more });
    for (const seq of [2, 3, 4, 5, 6]) say(seq, { stream: true, data: seq }); // one of them twice
    say(7);
    fresh.say({ id: id("/t"), status: 200, stream: true, seq: 1, data: { event: "message", topic: "/t", data: "news" } });
    await settle();
    const items = [];
    for await (const item of stream) items.push(item);
    assert.deepEqual([items, events], [[2, 3, 4, 5, 6], ["news"]]);
    fresh.answer("d", { path: "/d" });
    await dropped;
    client.close();
    await sub.done.catch(() => {});
  },

  async "the window of a stream that goes on begins anew"() {
    const net = network({ hello: ({ session }) => ({ ...KEPT, resumed: session && true }) });
    const client = await connected(net);
    const stream = client.stream("/s", {}, { credit: 4 });
    const first = stream.next();
    await settle();
    const { id } = net.sockets[0].calls[0];
    const say = (socket, ...all) => all.forEach((seq) => socket.say({ id, status: 200, stream: true, seq, data: seq }));
    say(net.sockets[0], 0, 1, 2);
    await first;
    net.sockets[0].lose(1006);
    await settle();
    await pass(500);
    const [, fresh] = net.sockets;
    say(fresh, 3, 4, 5, 6);
    await settle();
    const granted = () => fresh.sent.filter(({ credit }) => credit).map(({ credit }) => credit);
    for (const grants of [[], [], [], [2], [2], [2, 2]]) {
      await stream.next();
      assert.deepEqual(granted(), grants);
    }
    client.close();
  },

  async "who cancels a call between two connections does not name it in the next"() {
    const net = network({ hello: ({ session }) => ({ ...KEPT, resumed: session && true }) });
    const client = await connected(net);
    const control = new AbortController();
    const call = client.post("/x", 1, { signal: control.signal });
    const late = assert.rejects(client.post("/y", 1, { timeout: 200 }), { code: "DEADLINE" });
    await settle();
    net.sockets[0].lose(1011, "keepalive ping timeout");
    await settle();
    control.abort();
    await assert.rejects(call, { name: "AbortError" });
    await pass(500);
    assert.deepEqual(Object.values(net.sockets[1].sent[0].data.acks), [-1]);
    await pass(700);
    await late;
    assert.equal(net.sockets[1].sent.at(-1).path, "/_wsx/cancel");
    client.close();
  },

  async "a session that is lost: a GET is made again, topics are joined again, all else ends"() {
    const net = network({ hello: ({ session }) => ({ ...KEPT, session: session ? "t2" : "t1", resumed: session && false }) });
    const client = await connected(net);
    const events = [];
    const sub = client.subscribe("/t", null, (event) => events.push(event.event));
    const [posted, got] = [client.post("/p"), client.get("/g")];
    await settle();
    const [old] = net.sockets;
    old.say({ id: old.calls[0].id, status: 200, stream: true, seq: 0, data: { sub: "1" } });
    await sub.ready;
    old.lose(1006);
    const refused = assert.rejects(posted, { status: 410, code: "RESUME_LOST", retry: false });
    await settle();
    await pass(250);
    await refused;
    await pass(500);
    const [, fresh] = net.sockets;
    assert.deepEqual(fresh.calls.map(({ path }) => path).sort(), ["/g", "/t"]);
    const { id } = fresh.calls.find(({ path }) => path === "/t");
    fresh.say({ id, status: 200, stream: true, seq: 0, data: { sub: "2" } });
    fresh.answer("g", { path: "/g" });
    assert.equal(await got, "g");
    assert.deepEqual(events, ["sync"]);
    fresh.lose(1006);
    await settle();
    await pass(500);
    assert.equal(net.sockets[2].sent[0].data.session, "t2");
    client.close();
    await sub.done.catch(() => {});
  },

  async "no connection in time to resume"() {
    const net = network({ hello: KEPT, refuses: (count) => count > 1 });
    const client = await connected(net);
    const call = assert.rejects(client.post("/p", 1, { timeout: Infinity }), { status: 410, code: "RESUME_LOST" });
    await settle();
    net.sockets[0].lose(1006);
    await settle();
    await pass(59_000);
    assert.equal(await Promise.race([call, settle().then(() => "open")]), "open");
    await pass(1000);
    await call;
    client.close();
    const other = await connected(network({ hello: KEPT }));
    const open = assert.rejects(other.post("/p"), { status: 499, code: "CANCELLED" });
    await settle();
    other.close();
    await open;
  },

  async "who closes a connection keeps nothing"() {
    for (const code of [1000, 1005, 1008, 1012, 4400]) {
      const net = network({ hello: KEPT });
      const client = await connected(net);
      const call = client.post("/p");
      await settle();
      net.sockets[0].lose(code);
      await assert.rejects(call, { status: 503, code: "DISCONNECTED", details: { code, reason: "" } });
      await pass(500);
      assert.equal("session" in net.sockets[1].sent[0].data, false);
      client.close();
    }
    const net = network({ hello: KEPT });
    const client = await connected(net);
    const call = assert.rejects(client.post("/p"), { code: "DISCONNECTED" });
    await settle();
    net.sockets[0].say({ method: "POST", path: "/_wsx/goaway", data: { after_ms: 0 } });
    await settle();
    net.sockets[0].lose(1006);
    await call;
    await pass(1000);
    assert.equal("session" in net.sockets[1].sent[0].data, false);
    client.close();
  },

  async "types of one's own, as they are written"() {
    class Point {
      constructor(x, y) { Object.assign(this, { x, y }); }
    }
    const types = new TypeTable().register(Point, "PT", ({ x, y }) => `${x},${y}`, (text) => {
      if (!text.includes(",")) throw new RangeError("is no point");
      return new Point(...text.split(",").map(Number));
    });
    const value = { at: new Point(1, 2), all: [new Point(3, 4), "x::PT", "x::ZZ", 7n ** 30n] };
    const text = `{"at":"1,2::PT","all":["3,4::PT","x::PT::T","x::ZZ","${7n ** 30n}::L"]}::JS`;
    assert.equal(toTytx(value, { types }), text);
    assert.deepEqual(fromTytx(text, { types }), value);
    assert.deepEqual(fromTytx(text), { at: "1,2::PT", all: ["3,4::PT", "x::PT", "x::ZZ", 7n ** 30n] });
    assert.deepEqual([toTytx(value.at, { types }), fromTytx("1,2::PT", { types })], ["1,2::PT", value.at]);
    assert.deepEqual([fromTytx('"1,2::PT"', { types }), toTytx("a::PT", { types })], [value.at, "a::PT::T"]);
    assert.equal(encode({ id: "1", status: 200, data: value.at }, { typed: false, types }), 'WSX://{"id":"1","status":200,"data":"1,2"}');
    const message = (data) => `{"id":"7","status":200,"data":${data}}::JS`;
    assert.deepEqual(decode(message('["1,2::PT"]'), { types }).fields.data, [new Point(1, 2)]);
    assert.throws(() => decode(message('{"a":["x::PT"]}'), { types }), { code: "BAD_VALUE", pointer: "/data/a/0", id: "7" });
    for (const suffix of ["N", "PT", "QS", "JS", "pt", "", "A1"]) {
      assert.throws(() => types.register(Point, suffix, String, String), { name: "TypeError" });
    }
  },

  async "plain strings are marked for a server that has types"() {
    const net = network({ hello: { types: ["PT", "no(suffix", 7] } });
    const client = await connected(net);
    const [{ frames }] = net.sockets;
    const types = new TypeTable().register(Map, "M", () => "map", () => new Map());
    client.post("/a", ["x::PT", "x::M"]).catch(() => {});
    client.post("/a", ["x::PT", "x::M", new Map()], { types }).catch(() => {});
    await settle();
    const data = frames.slice(1).map((frame) => frame.match(/"data":(\[.*?\])/)[1]);
    assert.deepEqual(data, ['["x::PT::T","x::M"]', '["x::PT::T","x::M::T","map::M"]']);
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
let running;
process.on("unhandledRejection", (error) => { results[running] ??= `unhandled: ${error.stack}`; });
for (const [name, work] of Object.entries(cases)) {
  running = name;
  const late = new Promise((_, reject) => setImmediateAfter(2000, () => reject(new Error("it hangs"))));
  const end = await Promise.race([work(), late]).then(() => null, (error) => String(error.stack));
  results[name] = end ?? results[name] ?? null;
}

/** Something that runs after so many turns of the loop: the clock stands still here. */
function setImmediateAfter(turns, work) {
  const turn = () => (turns-- ? setImmediate(turn) : work());
  turn();
}
console.log(JSON.stringify(results));
process.exit();
