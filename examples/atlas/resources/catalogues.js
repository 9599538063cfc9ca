// The page of the atlas. It only asks what anybody may ask of the server, and keeps where it is in the URL:
// #countries?text=land&page=2

const CATALOGUES = {
  countries: {
    one: "country",
    fields: [
      { name: "name", label: "Name" },
      { name: "code", label: "Code", hint: "two capital letters, such as IT" },
      { name: "alpha_3", label: "Long code", hint: "three capital letters, such as ITA", minor: true },
      { name: "numeric", label: "Number", hint: "three digits, such as 380", minor: true },
      { name: "official_name", label: "Official name", unlisted: true },
      { name: "flag", label: "Flag", hint: "an emoji, if there is one", unlisted: true, optional: true },
    ],
  },
  languages: {
    one: "language",
    fields: [
      { name: "name", label: "Name" },
      { name: "code", label: "Code", hint: "three small letters, such as ita" },
      { name: "alpha_2", label: "Short code", hint: "two small letters, if it has one", minor: true, optional: true },
      {
        name: "kind", label: "Kind", minor: true,
        choices: ["living", "extinct", "historical", "constructed", "special"],
      },
    ],
  },
  currencies: {
    one: "currency",
    fields: [
      { name: "name", label: "Name" },
      { name: "code", label: "Code", hint: "three capital letters, such as EUR" },
      { name: "numeric", label: "Number", hint: "three digits, such as 978", minor: true },
    ],
  },
};

const $ = (selector, parent = document) => parent.querySelector(selector);
const place = { catalogue: "countries", text: "", page: 1 };
let counts = {};
let shown = null; // the record of the detail dialog, or null in the form of a new one
let running = new AbortController();

/** An element with properties and children. */
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** What the server says no with: status, detail, and details for each wrong field. */
class Problem extends Error {
  constructor(body) {
    super(body.detail);
    this.status = body.status;
    this.details = body.details ?? [];
  }
}

/** Ask the server, with the token if there is one; a Problem when it refuses. */
async function ask(path, options = {}) {
  const headers = { ...options.headers };
  const token = sessionStorage.getItem("token");
  if (token) headers.Authorization = `Bearer ${token}`;
  if (options.json) headers["Content-Type"] = "application/json";
  const reply = await fetch(path, { ...options, headers, body: options.json && JSON.stringify(options.json) });
  if (reply.ok) return reply.status === 204 ? null : reply.json();
  const isProblem = reply.headers.get("Content-Type")?.startsWith("application/problem+json");
  throw new Problem(isProblem ? await reply.json() : { status: reply.status, detail: reply.statusText });
}

// -- where we are

function query(more = {}) {
  return new URLSearchParams(Object.entries({ text: place.text, ...more }).filter(([, value]) => value !== ""));
}

function hash() {
  const rest = query(place.page > 1 ? { page: place.page } : {}).toString();
  return `#${place.catalogue}${rest && `?${rest}`}`;
}

function readHash() {
  const [catalogue, rest = ""] = location.hash.slice(1).split("?");
  const values = new URLSearchParams(rest);
  place.catalogue = catalogue in CATALOGUES ? catalogue : "countries";
  place.text = values.get("text") ?? "";
  place.page = Math.max(1, Number.parseInt(values.get("page") ?? "1", 10) || 1);
  $("#text").value = place.text;
}

/** Go to a page or another search; typing does not fill the history. */
function go(changes, { replace = false } = {}) {
  Object.assign(place, changes);
  history[replace ? "replaceState" : "pushState"](null, "", hash());
  return list();
}

// -- the list

async function list() {
  const { catalogue, text } = place;
  running.abort(); // an answer that was overtaken by typing is not shown
  running = new AbortController();
  showFrame();
  try {
    const path = `${catalogue}/search?${query({ page: place.page })}`;
    const found = await ask(path, { signal: running.signal });
    if (found.pages && found.page > found.pages) return go({ page: found.pages }, { replace: true });
    showRecords(found);
  } catch (error) {
    if (error.name !== "AbortError") $("#status").textContent = `Search for “${text}” failed: ${error.message}`;
  }
}

function showFrame() {
  const { one, fields } = CATALOGUES[place.catalogue];
  document.title = `Atlas: ${place.catalogue}`;
  $("#caption").textContent = place.catalogue;
  $("#catalogues").replaceChildren(...Object.keys(CATALOGUES).map((name) => {
    const link = make("a", { href: `#${name}` }, name, " ", make("small", {}, counts[name] ?? ""));
    if (name === place.catalogue) link.ariaCurrent = "page";
    return link;
  }));
  const listed = fields.filter((field) => !field.unlisted);
  $("#records thead").replaceChildren(make("tr", {}, ...listed.map((field) =>
    make("th", { scope: "col", className: field.minor ? "minor" : "" }, field.label))));
  $("#add").textContent = `Add a ${one}`;
  $("#download").href = `${place.catalogue}/export?${query()}`;
}

function showRecords({ items, total, page, pages }) {
  const listed = CATALOGUES[place.catalogue].fields.filter((field) => !field.unlisted);
  $("#status").textContent = `${total} found` + (place.text ? ` for “${place.text}”` : "");
  $("#records tbody").replaceChildren(...items.map((record) => {
    const name = make("button", { type: "button", onclick: () => showDetail(record.code) }, record.name);
    const flag = record.flag ? [make("span", { ariaHidden: "true" }, record.flag)] : [];
    const cells = listed.slice(1).map((field) =>
      make("td", { className: field.minor ? "minor" : "" }, record[field.name] ?? ""));
    const heading = make("th", { scope: "row" }, make("div", { className: "named" }, ...flag, name));
    return make("tr", {}, heading, ...cells);
  }));
  $("#page").textContent = pages ? `Page ${page} of ${pages}` : "";
  $("#previous").disabled = page <= 1;
  $("#next").disabled = page >= pages;
}

async function refreshCounts() {
  const about = await ask("about");
  counts = about.counts;
  $("#demo").hidden = !about.demo_token;
  $("#demo-token").textContent = about.demo_token ?? "";
}

// -- one record

async function showDetail(code) {
  const { catalogue } = place;
  try {
    shown = await ask(`${catalogue}/detail/${encodeURIComponent(code)}`);
  } catch (error) {
    $("#status").textContent = error.message;
    return;
  }
  const dialog = $("#detail");
  $("#detail-title").textContent = [shown.flag, shown.name].filter(Boolean).join(" ");
  $("#detail-fields").replaceChildren(...CATALOGUES[catalogue].fields.flatMap((field) =>
    [make("dt", {}, field.label), make("dd", {}, shown[field.name] || "none")]));
  open(dialog);
}

async function remove() {
  if (!confirm(`Delete ${shown.name}?`)) return;
  const dialog = $("#detail");
  await trying(dialog, async () => {
    await ask(`${place.catalogue}/remove/${encodeURIComponent(shown.code)}`, { method: "DELETE" });
    await saved(dialog);
  });
}

/** The form of the record that is shown, or of a new one. */
function edit(record) {
  const { one, fields } = CATALOGUES[place.catalogue];
  shown = record;
  $("#editor-title").textContent = record ? `Edit ${record.name}` : `Add a ${one}`;
  $("#editor-fields").replaceChildren(...fields.map((field) => {
    const id = `field-${field.name}`;
    const input = field.choices
      ? make("select", { id, name: field.name }, ...field.choices.map((choice) => make("option", {}, choice)))
      : make("input", { id, name: field.name, required: !field.optional, autocomplete: "off" });
    input.value = record?.[field.name] ?? field.choices?.[0] ?? "";
    input.setAttribute("aria-describedby", `${id}-wrong`);
    const label = make("label", { htmlFor: id }, field.label);
    if (field.hint) label.append(" ", make("span", { className: "hint" }, field.hint));
    return make("div", {}, label, input, make("p", { id: `${id}-wrong`, className: "wrong" }));
  }));
  $("#detail").close();
  open($("#editor"));
}

async function save(event) {
  event.preventDefault();
  const dialog = $("#editor");
  const given = Object.entries(Object.fromEntries(new FormData(event.target)));
  // A short code that a language does not have is no text at all, and no text without letters.
  const record = Object.fromEntries(given.filter(([name, value]) => value !== "" || name !== "alpha_2"));
  await trying(dialog, async () => {
    const { catalogue } = place;
    if (shown) {
      await ask(`${catalogue}/change/${encodeURIComponent(shown.code)}`, { method: "PUT", json: { record } });
    } else {
      await ask(`${catalogue}/add`, { method: "POST", json: { record } });
    }
    await saved(dialog);
  });
}

async function saved(dialog) {
  dialog.close();
  await refreshCounts();
  await list();
}

// -- dialogs

function open(dialog) {
  showProblem(dialog, null);
  dialog.showModal();
}

/** Do something for a dialog, and show in it what the server objects to. */
async function trying(dialog, work) {
  showProblem(dialog, null);
  try {
    await work();
  } catch (error) {
    showProblem(dialog, error);
  }
}

/** Each wrong field of the form gets its own message; what is about no field of it stands below. */
function showProblem(dialog, error) {
  const left = [];
  for (const input of dialog.querySelectorAll("#editor-fields :is(input, select)")) {
    input.ariaInvalid = null;
    $(`#${input.id}-wrong`).textContent = "";
  }
  for (const { parameter, message } of error?.details ?? []) {
    const input = $(`#field-${parameter.split(".").at(-1)}`, dialog);
    if (!input) {
      left.push(`${parameter}: ${message}`);
      continue;
    }
    input.ariaInvalid = "true";
    $(`#${input.id}-wrong`).textContent = message;
  }
  const text = error && !error.details?.length ? error.message : left.join(" ");
  $(".problem", dialog).textContent = text;
  $("[aria-invalid]", dialog)?.focus();
}

// -- who is asking

async function logIn(event) {
  event.preventDefault();
  const dialog = $("#login");
  sessionStorage.setItem("token", $("#token").value);
  await trying(dialog, async () => {
    try {
      await showWho();
    } catch (error) {
      logOut();
      throw error;
    }
    dialog.close();
  });
}

function logOut() {
  sessionStorage.removeItem("token");
  return showWho();
}

async function showWho() {
  const me = sessionStorage.getItem("token") ? await ask("me") : null;
  $("#who").textContent = me ? `Editor: ${me.identity}` : "";
  $("#log-in").hidden = Boolean(me);
  for (const id of ["log-out", "add", "edit", "remove"]) $(`#${id}`).hidden = !me;
}

// -- what the user does

let typing;
$("#text").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => go({ text: $("#text").value.trim(), page: 1 }, { replace: true }), 120);
});
$("#search").addEventListener("submit", (event) => event.preventDefault());
$("#previous").addEventListener("click", () => go({ page: place.page - 1 }));
$("#next").addEventListener("click", () => go({ page: place.page + 1 }));
$("#add").addEventListener("click", () => edit(null));
$("#edit").addEventListener("click", () => edit(shown));
$("#remove").addEventListener("click", remove);
$("#editor form").addEventListener("submit", save);
$("#login form").addEventListener("submit", logIn);
$("#log-in").addEventListener("click", () => open($("#login")));
$("#log-out").addEventListener("click", logOut);
$("#use-demo").addEventListener("click", () => { $("#token").value = $("#demo-token").textContent; });
for (const button of document.querySelectorAll("[data-close]")) {
  button.addEventListener("click", () => button.closest("dialog").close());
}
addEventListener("popstate", () => { readHash(); list(); });

readHash();
await Promise.allSettled([showWho().catch(logOut), refreshCounts()]);
await list();
