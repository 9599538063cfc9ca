// One call to the server, and how far it is: {fraction, text} again and again, and {result} in the end.

import { connect } from "../../_server/resource/wsx.js";

const $ = (selector) => document.querySelector(selector);
let running = null; // an AbortController while something is compared
let client = null; // the WSX connection, once there is one

/** The items of a call over server-sent events. */
async function* overSse(query, signal) {
  const source = new EventSource(`alike?${new URLSearchParams(query)}`);
  const items = [];
  let wake;
  const take = (item) => { items.push(item); wake?.(); };
  for (const name of ["progress", "result"]) source.addEventListener(name, ({ data }) => take(JSON.parse(data)));
  source.addEventListener("problem", ({ data }) => take(new Error(JSON.parse(data).detail)));
  // An EventSource would begin the work anew; and it does not tell what the server had to say.
  source.addEventListener("error", () => take(new Error("The server does not answer, or is busy; try again later.")));
  signal.addEventListener("abort", () => take(signal.reason));
  try {
    for (;;) {
      while (!items.length) await new Promise((resolve) => { wake = resolve; });
      const item = items.shift();
      if (item instanceof Error) throw item;
      yield item;
      if ("result" in item) return;
    }
  } finally {
    source.close(); // the server cancels what nobody waits for
  }
}

/** The items of the same call over WSX. */
async function* overWsx(query, signal) {
  client ??= await connect(new URL("../", location));
  yield* client.stream(`/${location.pathname.split("/").at(-2)}/alike`, query, { signal, timeout: 60_000 });
}

function show({ fraction, text }) {
  const share = fraction ?? 0;
  $("#bar").value = share;
  $("#far").textContent = `${Math.floor(share * 100)} % compared`;
  $("#now").textContent = text;
}

function finish({ names, compared, found, pairs }) {
  show({ fraction: 1, text: `${found} pairs among ${names} names, after ${compared} comparisons` });
  const rows = pairs.map(([apart, ...both]) => {
    const row = document.createElement("tr");
    row.append(...[...both, apart].map((value) => Object.assign(document.createElement("td"), { textContent: value })));
    return row;
  });
  $("#pairs tbody").replaceChildren(...rows);
  $("#pairs").hidden = pairs.length === 0;
}

function busy(controller) {
  running = controller;
  $("#start").disabled = controller !== null;
  $("#cancel").disabled = controller === null;
}

$("#work").addEventListener("submit", async (event) => {
  event.preventDefault();
  const controller = new AbortController();
  busy(controller);
  $(".problem").textContent = "";
  $("#pairs").hidden = true;
  show({ fraction: 0, text: "" });
  try {
    const query = { catalogue: $("#catalogue").value, names: $("#names").value };
    const items = ($("#way").value === "wsx" ? overWsx : overSse)(query, controller.signal);
    for await (const item of items) {
      if ("result" in item) finish(item.result);
      else show(item);
    }
  } catch (error) {
    if (controller.signal.aborted) $("#now").textContent = "Cancelled.";
    else $(".problem").textContent = error.message;
  } finally {
    busy(null);
  }
});

$("#cancel").addEventListener("click", () => running?.abort());
