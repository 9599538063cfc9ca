// What becomes of calls when the network fails and comes back: on a real server, behind something that can be cut.
import { all, equal, fails, until } from "./checks.mjs";

/** Each check is given a client behind what `cut` cuts, and a `direct` one that is not. */
export const checks = {
  async "a call that was running is answered over the next connection, and ran once"({ wsx, direct, cut }) {
    const call = wsx.post("/work", { seconds: 0.5 });
    await until(async () => (await direct.get("/events")).includes("work"));
    await cut();
    equal(await call, "done");
    equal(await direct.get("/events"), ["work", "done"]);
  },

  async "an answer that nobody was there for is kept"({ connect, direct, cut }) {
    const wsx = await connect({ backoff: 1000 });
    const call = wsx.post("/work", { seconds: 0.05 });
    await until(async () => (await direct.get("/events")).includes("work"));
    await cut();
    await until(async () => (await direct.get("/events")).includes("done"));
    equal(await call, "done");
    equal(await direct.get("/events"), ["work", "done"]);
  },

  async "many calls at once, and none of them twice"({ wsx, direct, cut }) {
    const calls = Array.from({ length: 40 }, (_, n) => wsx.post("/work", { seconds: n / 100 }));
    await until(async () => (await direct.get("/events")).length > 5);
    await cut();
    const late = Array.from({ length: 10 }, () => wsx.post("/work", {}));
    equal(await Promise.all([...calls, ...late]), Array(50).fill("done"));
    const events = await direct.get("/events");
    equal(["work", "done"].map((name) => events.filter((one) => one === name).length), [50, 50]);
  },

  async "a stream goes on behind the last item that came"({ wsx, direct, cut }) {
    const items = [];
    for await (const item of wsx.stream("/count", { n: 300 }, { credit: 16 })) {
      if (items.push(item) % 100 === 50) await cut();
    }
    equal(items, [...Array(300).keys()]);
    const events = await direct.get("/events");
    equal(events.filter((name) => /count-\d/.test(name)).length, 300);
    const cancelled = wsx.stream("/count", { n: 1000 }, { credit: 4 });
    await cancelled.next();
    await cut();
    await cancelled.return();
    await until(async () => (await direct.get("/events")).filter((name) => name === "count-closed").length === 2);
  },

  async "a topic misses nothing"({ connect, direct, cut }) {
    const wsx = await connect({ backoff: 1000 });
    const got = [];
    const sub = wsx.subscribe("/prices/eur", null, ({ event, data }) => got.push([event, data]));
    await sub.ready;
    await direct.post("/say", { topic: "/prices/eur", value: 1 });
    await until(() => got.length);
    await cut();
    for (const value of [2, 3]) await direct.post("/say", { topic: "/prices/eur", value });
    await until(() => wsx.state === "open");
    await direct.post("/say", { topic: "/prices/eur", value: 4 });
    await until(() => got.length >= 4);
    equal(got, [1, 2, 3, 4].map((value) => ["message", value]));
    sub.close();
  },

  async "who was present stays so"({ wsx, direct, cut }) {
    const events = [];
    const ada = direct.subscribe("/room/r", { who: "ada" }, ({ event, data }) => { events.push(`${event} ${data}`); });
    await ada.ready;
    const bob = wsx.subscribe("/room/r", { who: "bob" });
    await bob.ready;
    await cut();
    equal(await wsx.post("/echo", 1), 1);
    bob.close();
    await until(() => events.includes("leave bob"));
    equal(events, ["sync ada", "join bob", "leave bob"]);
    ada.close();
  },

  async "a stream to the server is not gone on with"({ wsx, cut }) {
    const call = wsx.post("/total", (async function* () { yield 1; await new Promise(() => {}); })());
    await wsx.ping();
    await cut();
    await fails(call, { status: 410, code: "RESUME_LOST", retry: false });
    equal(await wsx.post("/echo", "back"), "back");
  },

  async "a call that was given up meanwhile is cancelled"({ connect, direct, cut }) {
    const wsx = await connect({ backoff: 1000 });
    const control = new AbortController();
    const call = wsx.post("/work", { seconds: 60 }, { signal: control.signal });
    await until(async () => (await direct.get("/events")).includes("work"));
    await cut();
    control.abort();
    await fails(call, { name: "AbortError" });
    await until(async () => (await direct.get("/events")).includes("cancelled"));
  },

  async "again and again"({ wsx, direct, cut }) {
    const counted = all(wsx.stream("/count", { n: 60, seconds: 0.02 }));
    const call = wsx.post("/work", { seconds: 1 });
    for (let turn = 0; turn < 4; turn += 1) {
      equal(await wsx.post("/echo", turn), turn);
      await cut();
      await until(() => wsx.state !== "open");
    }
    equal([await counted, await call], [[...Array(60).keys()], "done"]);
    equal((await direct.get("/events")).filter((name) => name === "work").length, 1);
  },
};
