// What wsx.js must do against tests/servers/wsx_site.py, in Node and in browsers alike.

export function equal(came, expected) {
  const [left, right] = [came, expected].map((value) => JSON.stringify(value));
  if (left !== right) throw new Error(`${left} is not ${right}`);
}

export async function fails(promise, fields) {
  const error = await promise.then((value) => { throw new Error(`no failure but ${JSON.stringify(value)}`); }, (e) => e);
  for (const [name, value] of Object.entries(fields)) {
    if (JSON.stringify(error[name]) !== JSON.stringify(value)) {
      throw new Error(`${name} is ${JSON.stringify(error[name])} and not ${JSON.stringify(value)}: ${error.stack}`);
    }
  }
  return error;
}

export async function until(condition) {
  for (let turn = 0; turn < 500; turn += 1) {
    if (await condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`it never came true: ${condition}`);
}

export async function all(source, most = Infinity) {
  const items = [];
  for await (const item of source) {
    items.push(item);
    if (items.length >= most) break;
  }
  return items;
}

async function* each(items) {
  yield* items;
}

/** Sockets that can be cut, as a network does it. */
function cuttable(WebSocket) {
  const open = new Set();
  return {
    cut: () => open.forEach((socket) => socket.close()),
    count: () => open.size,
    WebSocket: class extends WebSocket {
      constructor(...options) {
        super(...options);
        open.add(this);
        this.addEventListener("close", () => open.delete(this));
      }
    },
  };
}

/** Each check is given a client, and what it needs for more of them. */
export const checks = {
  async "a call belongs to the trace it is told"({ wsx }) {
    const headers = { traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", baggage: "user=ada" };
    equal(await wsx.get("/trace", null, { headers }), ["4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", { user: "ada" }]);
    equal(await wsx.get("/trace"), [null, null, {}]);
  },

  async "methods, query and data"({ wsx }) {
    equal(await wsx.get("/query", { a: "1", b: 2 }), { method: "GET", query: { a: "1", b: 2 } });
    equal(await wsx.del("/query", { a: "1" }), { method: "DELETE", query: { a: "1" } });
    for (const method of ["post", "put", "patch"]) equal(await wsx[method]("/echo", { n: [1, null, "è"] }), { n: [1, null, "è"] });
    equal(await wsx.call("POST", "/echo", { data: "x" }), "x");
    equal(await wsx.post("/echo"), null);
  },

  async "the whole answer"({ wsx }) {
    const { status, headers, cookies, data } = await wsx.request("GET", "/reply");
    equal([status, headers["x-kind"], data], [201, "made", { made: true }]);
    equal([cookies.seen.value, cookies.seen.max_age], ["1", 60]);
  },

  async "typed values as they come"({ wsx, module }) {
    const got = await wsx.get("/typed");
    equal([got.price instanceof module.Decimal, String(got.price), got.price > 9, got.price < 10], [true, "9.90", true, true]);
    equal([got.day.type, got.day.toISOString()], ["D", "2025-01-15T00:00:00.000Z"]);
    equal([got.at.type, got.at.toISOString(), JSON.stringify(got.at)], ["DHZ", "2025-01-15T10:30:45.123Z", '"2025-01-15T10:30:45.123456Z"']);
    equal([got.midnight.type, got.hour.type, got.hour.toISOString(), got.zero.type], ["DHZ", "H", "1970-01-01T10:30:00.000Z", "H"]);
    equal([got.big === 2n ** 80n, got.id === 9007199254740993n, got.text], [true, true, "12::D"]);
    equal([...got.bytes], [104, 105]);
    equal(got.day.toLocaleDateString("en-GB"), "15/01/2025");
  },

  async "typed values go back as what they were"({ wsx }) {
    const got = await wsx.get("/typed");
    equal(await wsx.post("/names", got), {
      price: ["Decimal", "9.90"], day: ["date", "2025-01-15"], at: ["datetime", "2025-01-15 10:30:45.123456+00:00"],
      midnight: ["datetime", "2025-01-15 00:00:00+00:00"], hour: ["time", "10:30:00"], zero: ["time", "00:00:00"],
      big: ["int", String(2n ** 80n)], id: ["int", "9007199254740993"], bytes: ["bytes", "b'hi'"], text: ["str", "12::D"],
    });
  },

  async "values of JavaScript"({ wsx, module: { Decimal, date, datetime, time } }) {
    const sent = {
      moment: new Date(Date.UTC(2025, 0, 15, 10, 30, 45, 123)), day: new Date("2025-01-15"),
      hour: new Date("1970-01-01T10:30:00Z"), exact: datetime("2025-01-15T00:00"), made: date("2025-01-15"), at: time("00:00"),
      price: new Decimal("1.10"), big: 2n ** 70n, small: 5n, bytes: new Uint8Array([0, 255]), map: new Map([["a", 1]]),
      set: new Set([1]), nothing: undefined, text: "x::T", not: NaN,
    };
    equal(await wsx.post("/names", sent), {
      moment: ["datetime", "2025-01-15 10:30:45.123000+00:00"], day: ["date", "2025-01-15"], hour: ["time", "10:30:00"],
      exact: ["datetime", "2025-01-15 00:00:00+00:00"], made: ["date", "2025-01-15"], at: ["time", "00:00:00"],
      price: ["Decimal", "1.10"], big: ["int", String(2n ** 70n)], small: ["int", "5"], bytes: ["bytes", "b'\\x00\\xff'"],
      map: ["dict", "{'a': 1}"], set: ["list", "[1]"], text: ["str", "x::T"], not: ["NoneType", "None"],
    });
    const loop = {};
    loop.loop = loop;
    await fails(wsx.post("/echo", loop), { name: "RangeError" });
  },

  async "arguments are typed"({ wsx, module: { Decimal, date } }) {
    const got = await wsx.post("/order", { quantity: 3, price: new Decimal("9.90"), day: date("2025-01-15") });
    equal([String(got.total), got.due.type, got.due.toJSON()], ["29.70", "D", "2025-02-14"]);
    const error = await fails(wsx.post("/order", { quantity: "many", price: "1", day: date("2025-01-15") }), { status: 400, code: "VALIDATION" });
    equal(error.details[0].parameter, "quantity");
  },

  async "types of one's own"({ wsx, connect, module: { TypeTable } }) {
    class Point {
      constructor(x, y) { Object.assign(this, { x, y }); }
    }
    const read = (text) => {
      if (!text.includes(",")) throw new RangeError("is no point");
      return new Point(...text.split(",").map(Number));
    };
    const types = new TypeTable().register(Point, "PT", ({ x, y }) => `${x},${y}`, read);
    const at = new Point(1, 2);
    const moved = await wsx.post("/move", { at, by: 2 }, { types });
    equal([moved.from instanceof Point, moved], [true, { from: { x: 1, y: 2 }, to: { x: 3, y: 2 }, text: "1,2::PT" }]);
    // Who knows nothing of it gets and sends strings.
    equal(await wsx.post("/move", { at: "1,2" }), { from: "1,2::PT", to: "2,2::PT", text: "1,2::PT" });
    equal(await wsx.post("/echo", ["x::PT", "x::PT::T", "x::ZZ"]), ["x::PT", "x::PT::T", "x::ZZ"]);
    await fails(wsx.post("/move", { at: "x::PT" }), { status: 400, code: "VALIDATION" });
    await fails(wsx.post("/move", { at, by: "1,2::PT" }, { types }), { status: 400, code: "VALIDATION" });

    const mine = await connect({ types });
    equal((await mine.post("/move", { at })).to instanceof Point, true);
    equal(await mine.post("/echo", ["x::PT", at]), ["x::PT", "1,2::PT"]); // this route has no points
    const items = await all(mine.stream("/path", undefined, { data: each([at, "x::PT"]) }));
    equal([items[0] instanceof Point, items], [true, [{ x: 1, y: -2 }, "x::PT"]]);
    const others = await all(wsx.stream("/path", undefined, { data: each([at, "x::PT"]), types }));
    equal([others[0] instanceof Point, others[1]], [true, "x::PT"]);
    equal(await all(wsx.stream("/path", undefined, { data: each(["1,2::PT", "x::PT"]) })), ["1,2::PT", "x::PT"]);
  },

  async "big.js"({ connect, module }) {
    class Big {
      constructor(text) { this.text = text; }
      toString() { return this.text; }
    }
    const wsx = await connect({ Big });
    try {
      const { price } = await wsx.get("/typed");
      equal([price instanceof Big, price.text], [true, "9.90"]);
      equal(await wsx.post("/names", { price }), { price: ["Decimal", "9.90"] });
    } finally {
      module.useBig(undefined);
    }
  },

  async "refusals"({ wsx, module: { WsxError } }) {
    const error = await fails(wsx.get("/refuse"), { status: 403, code: "FORBIDDEN", retry: false, message: "You may not.", details: [{ parameter: "you" }] });
    equal(error instanceof WsxError && error instanceof Error, true);
    await fails(wsx.get("/crash"), { status: 500, code: "INTERNAL", message: "Internal Server Error", details: undefined });
    await fails(wsx.get("/nowhere"), { status: 404, code: "NOT_FOUND" });
    await fails(wsx.post("/wait"), { status: 405 });
  },

  async "what did not run is tried again"({ wsx }) {
    equal(await wsx.get("/flaky"), 3);
  },

  async "deadlines"({ wsx }) {
    const start = Date.now();
    await fails(wsx.get("/wait", {}, { timeout: 50 }), { status: 504, code: "DEADLINE" });
    equal(Date.now() - start < 1000, true);
    await until(async () => (await wsx.get("/events")).includes("wait-cancelled"));
  },

  async "an AbortSignal cancels"({ wsx }) {
    const control = new AbortController();
    const call = wsx.get("/wait", {}, { signal: control.signal });
    await wsx.ping();
    control.abort();
    await fails(call, { name: "AbortError" });
    await until(async () => (await wsx.get("/events")).includes("wait-cancelled"));
    await fails(wsx.get("/wait", {}, { signal: control.signal }), { name: "AbortError" });
    await fails(wsx.get("/wait", {}, { signal: AbortSignal.timeout(20) }), { name: "TimeoutError" });
  },

  async "calls do not wait for each other"({ wsx }) {
    const slow = wsx.get("/wait", { seconds: 0.2 });
    equal(await Promise.all([1, 2, 3].map((n) => wsx.post("/echo", n))), [1, 2, 3]);
    equal((await wsx.ping()) < 150, true);
    equal(await slow, "waited");
  },

  async "calls of one moment share frames"({ connect, WebSocket }) {
    const frames = [];
    const wsx = await connect({ WebSocket: class extends WebSocket {
      send(frame) {
        frames.push(frame);
        super.send(frame);
      }
    } });
    const calls = [...Array(50).keys()].map((n) => wsx.post("/echo", n));
    const items = all(wsx.stream("/count", { n: 3 }));
    const refused = fails(wsx.get("/refuse"), { status: 403 });
    equal(await Promise.all(calls), [...Array(50).keys()]);
    equal(await items, [0, 1, 2]);
    await refused;
    equal([wsx.features.includes("batch"), frames.length], [true, 3]);
  },

  async "a stream"({ wsx }) {
    equal(await all(wsx.stream("/count", { n: 100 })), [...Array(100).keys()]);
    equal(await all(wsx.stream("/count", { n: 0 })), []);
    equal(await wsx.get("/count", { n: 3 }), [0, 1, 2]);
    equal(await all(wsx.stream("/echo", {}, { method: "POST", data: "alone" })), ["alone"]);
  },

  async "a stream is only as far ahead as its credit"({ wsx }) {
    const items = wsx.stream("/count", { n: 1000 }, { credit: 4 });
    equal((await items.next()).value, 0);
    await wsx.ping();
    const made = (await wsx.get("/events")).filter((name) => /count-\d/.test(name)).length;
    equal(made <= 8, true);
    await items.return();
    await until(async () => (await wsx.get("/events")).includes("count-closed"));
  },

  async "a stream that fails"({ wsx }) {
    const taken = [];
    const reading = (async () => {
      for await (const item of wsx.stream("/count", { n: 5, fail_at: 2 })) taken.push(item);
    })();
    await fails(reading, { status: 500, code: "INTERNAL" });
    equal(taken, [0, 1]);
    const control = new AbortController();
    const items = wsx.stream("/count", { n: 1000 }, { signal: control.signal, credit: 2 });
    await items.next();
    control.abort(new Error("enough"));
    await fails(all(items), { message: "enough" });
  },

  async "a client stream"({ wsx, module: { Decimal } }) {
    equal(String(await wsx.post("/total", each([1, 2, new Decimal("0.5")]))), "3.5");
    equal(String(await wsx.post("/total", each(Array(200).fill(1)))), "200");
    let closed = false;
    async function* endless() {
      try {
        for (let item = 7; ; item += 1) yield item;
      } finally {
        closed = true;
      }
    }
    equal(await wsx.post("/first", endless()), 7);
    await until(() => closed);
    async function* broken() {
      yield 1;
      throw new Error("the source broke");
    }
    await fails(wsx.post("/total", broken()), { message: "the source broke" });
    equal(String(await wsx.post("/total", each([1]))), "1");
  },

  async "both at once"({ wsx }) {
    let say;
    async function* asked() {
      for (let item = 1; item < 4; item += 1) {
        const wait = new Promise((resolve) => { say = resolve; });
        yield item;
        await wait;
      }
    }
    const got = [];
    for await (const item of wsx.stream("/double", {}, { data: asked() })) {
      got.push(item);
      say();
    }
    equal(got, [2, 4, 6]);
  },

  async "topics"({ wsx }) {
    const got = [];
    const sub = wsx.subscribe("/prices/eur", null, (event) => got.push(event));
    await sub.ready;
    equal(await wsx.post("/say", { topic: "/prices/eur", value: 1 }), 1);
    await wsx.post("/say", { topic: "/prices/usd", value: 2 });
    await wsx.post("/say", { topic: "/prices/eur", value: 3 });
    await until(() => got.length === 2);
    equal(got, [1, 3].map((data) => ({ event: "message", topic: "/prices/eur", data, dropped: 0 })));
    const every = wsx.subscribe("/prices/*");
    await every.ready;
    equal(await wsx.post("/say", { topic: "/prices/usd", value: 4 }), 1);
    equal((await every.next()).value.data, 4);
    every.close();
    equal((await every.next()).done, true);
    sub.close();
    await sub.done;
    await until(async () => (await wsx.post("/say", { topic: "/prices/eur", value: 5 })) === 0);
    await fails(wsx.subscribe("/prices/secret").next(), { status: 403 });
    await fails(wsx.subscribe("/nowhere").ready, { status: 404 });
  },

  async "presence"({ wsx, connect }) {
    const ada = wsx.subscribe("/room/a", { who: "ada" });
    await ada.ready;
    equal(ada.presence, ["ada"]);
    equal((await ada.next()).value, { event: "sync", topic: "/room/a", data: ["ada"], dropped: 0 });
    const other = await connect();
    const bob = other.subscribe("/room/a", { who: "bob" });
    await bob.ready;
    equal(bob.presence, ["ada", "bob"]);
    equal((await ada.next()).value, { event: "join", topic: "/room/a", data: "bob", dropped: 0 });
    other.close();
    equal((await ada.next()).value, { event: "leave", topic: "/room/a", data: "bob", dropped: 0 });
    ada.close();
  },

  async "what is said to everybody"({ connect }) {
    const got = [];
    const wsx = await connect({ onBroadcast: (data) => got.push(data) });
    await wsx.post("/broadcast", { value: { news: 1 } });
    await until(() => got.length);
    equal(got, [{ news: 1 }]);
  },

  async "credentials"({ wsx, connect }) {
    equal([await wsx.get("/me"), wsx.identity], [null, null]);
    await fails(connect({ auth: { token: "wrong" } }), { status: 401, code: "UNAUTHENTICATED" });
    const ada = await connect({ auth: async () => ({ authorization: "Bearer tok-ada" }) });
    equal([ada.identity, await ada.get("/me")], ["ada", "ada"]);
    await ada.authenticate({ token: "tok-bob" });
    equal([ada.identity, await ada.get("/me")], ["bob", "bob"]);
    await fails(ada.authenticate({ token: "wrong" }), { status: 401 });
    equal(await ada.get("/me"), "bob");
  },

  async "credentials that end while the connection is open"({ connect }) {
    let asked = 0;
    const wsx = await connect({ auth: () => ({ token: `short-${(asked += 1)}` }) });
    equal([wsx.identity, await wsx.get("/me")], ["ada", "ada"]);
    await new Promise((resolve) => setTimeout(resolve, 400));
    equal([await Promise.all([wsx.get("/me"), wsx.post("/echo", 1)]), asked > 1], [["ada", 1], true]);
    const fixed = await connect({ auth: { token: "short-0" } });
    await new Promise((resolve) => setTimeout(resolve, 400));
    await fails(fixed.get("/me"), { status: 401, code: "UNAUTHENTICATED" });
  },

  async "credentials that end while topics are subscribed to"({ wsx: other, connect, WebSocket }) {
    const net = cuttable(WebSocket);
    const states = [];
    const onState = (state) => states.push(state);
    const auth = () => ({ token: "short-1" });
    const wsx = await connect({ auth, WebSocket: net.WebSocket, backoff: 20, onState });
    await new Promise((resolve) => setTimeout(resolve, 400));
    const sub = wsx.subscribe("/prices/eur");
    await sub.ready;
    await other.post("/say", { topic: "/prices/eur", value: 1 });
    equal((await sub.next()).value, { event: "message", topic: "/prices/eur", data: 1, dropped: 0 });
    net.cut();
    await until(() => states.length === 3);
    await new Promise((resolve) => setTimeout(resolve, 400));
    equal((await sub.next()).value, { event: "sync", topic: "/prices/eur", data: null, dropped: 0 });
    await other.post("/say", { topic: "/prices/eur", value: 2 });
    equal((await sub.next()).value.data, 2);
    const fixed = await connect({ auth: { token: "short-0" } });
    await new Promise((resolve) => setTimeout(resolve, 400));
    await fails(fixed.subscribe("/prices/eur").ready, { status: 401, code: "UNAUTHENTICATED" });
  },

  async "what the server has to call"({ connect, WebSocket }) {
    const frames = [];
    const heard = class extends WebSocket {
      constructor(...options) {
        super(...options);
        this.addEventListener("message", ({ data }) => frames.push(data));
      }
    };
    const wsx = await connect({ WebSocket: heard });
    const { openapi, paths } = await wsx.schema();
    equal([openapi, paths["/count"].get["x-wsx"].stream], ["3.1.0", "server"]);
    frames.length = 0;
    equal((await wsx.schema()).paths, paths);
    equal(frames.map((frame) => [/"status":304/.test(frame), frame.length < 200]), [[true, true]]);
  },

  async "a lost connection"({ connect, WebSocket }) {
    const net = cuttable(WebSocket);
    const states = [];
    const wsx = await connect({ WebSocket: net.WebSocket, backoff: 20, onState: (state) => states.push(state) });
    const got = [];
    const sub = wsx.subscribe("/prices/eur", null, (event) => got.push(event));
    await sub.ready;
    const posted = wsx.post("/wait");
    const slow = wsx.call("POST", "/total", { data: (async function* () { await new Promise(() => {}); yield 1; })() });
    net.cut();
    await fails(slow, { status: 503, code: "DISCONNECTED", retry: false });
    await posted.catch(() => {});
    equal(await wsx.post("/echo", "back"), "back");
    await until(() => got.length);
    equal(got[0], { event: "sync", topic: "/prices/eur", data: null, dropped: 0 });
    await wsx.post("/say", { topic: "/prices/eur", value: 1 });
    await until(() => got.length === 2);
    equal([states, net.count()], [["open", "connecting", "open"], 1]);
    wsx.close();
    equal([wsx.state, await wsx.closed], ["closed", null]);
    await fails(wsx.get("/me"), { status: 499, code: "CANCELLED" });
    await until(() => net.count() === 0);
  },

  async "nobody to connect to"({ connect }) {
    await fails(connect({ url: "ws://127.0.0.1:9/" }), { status: 503, code: "DISCONNECTED" });
  },

  async "big messages"({ wsx }) {
    const text = "è".repeat(200_000);
    equal(await wsx.post("/echo", text), text);
    const bytes = new Uint8Array(300_000).fill(7);
    equal((await wsx.post("/echo", bytes)).length, 300_000);
    await fails(wsx.post("/echo", "x".repeat(2 ** 20)), { status: 413, code: "TOO_LARGE" });
    equal(await wsx.post("/echo", 1), 1);
  },
};

/** Run one check with a client of its own; every client it makes is closed. `cutUrl` is where to ask for a cut. */
export async function run(name, module, { url, direct: directly, cutUrl, WebSocket = globalThis.WebSocket }, known = checks) {
  const clients = [];
  const connect = async ({ url: other = url, ...options } = {}) => {
    const wsx = new module.WsxClient(other, { WebSocket, ...options });
    clients.push(wsx);
    return wsx.connect();
  };
  try {
    const wsx = await connect();
    const direct = directly && (await connect({ url: directly }));
    const cut = () => fetch(cutUrl, { method: "POST", mode: "no-cors" });
    await wsx.post("/forget");
    await known[name]({ wsx, connect, direct, cut, module, url, WebSocket });
  } finally {
    for (const wsx of clients) wsx.close();
  }
}
