// The board of the atlas. All it does goes over one connection: calls, topics, who is present, and typed values.

import { Decimal, connect } from "../../_server/resource/wsx.js";

const $ = (selector) => document.querySelector(selector);
const mount = location.pathname.split("/").at(-2);
const live = (name) => `/${mount}/live/${name}`;
const me = { id: hex(8), name: sessionStorage.getItem("name") ?? `Guest ${1 + Math.floor(Math.random() * 99)}` };
const people = new Map();
const notes = new Map();
const pointers = new Map();
const calm = matchMedia("(prefers-reduced-motion: reduce)");
let board; // the subscription
let dragged = null;

/** As many random bytes in hexadecimal digits. */
function hex(bytes) {
  return [...crypto.getRandomValues(new Uint8Array(bytes))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** An element with properties and children. */
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** The colour of a name: the same in every window. */
function hue(name) {
  return [...name].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 360, 7);
}

/** A function that runs at most once in so many milliseconds, and in the end with what it was given last. */
function seldom(ms, work) {
  let timer = null;
  let latest = null;
  const run = () => {
    timer = latest && setTimeout(run, ms);
    if (latest) work(...latest);
    latest = null;
  };
  return (...given) => {
    latest = given;
    if (timer === null) run();
  };
}

async function trying(work) {
  try {
    await work;
    $(".problem").textContent = "";
  } catch (error) {
    $(".problem").textContent = error.message;
  }
}

// -- who is here

function showPeople() {
  $("#people").replaceChildren(...[...people.values()].map(({ id, name }) => {
    const letters = name.split(/\s+/).map((word) => [...word][0]).join("").slice(0, 2);
    const item = make("li", { title: name }, make("span", { ariaHidden: "true" }, letters));
    item.append(make("span", { className: "unseen" }, id === me.id ? `${name} (you)` : name));
    item.classList.toggle("me", id === me.id);
    item.style.setProperty("--hue", hue(name));
    return item;
  }));
  for (const id of pointers.keys()) if (!people.has(id)) removePointer(id);
}

function pointed({ id, x, y }) {
  if (id === me.id || !people.has(id)) return;
  const { name } = people.get(id);
  const pointer = pointers.get(id) ?? make("div", { className: "pointer" }, make("span"));
  if (!pointers.has(id)) $("#pointers").append(pointer);
  pointers.set(id, pointer);
  pointer.firstChild.textContent = name;
  pointer.style.cssText = `--hue: ${hue(name)}; left: ${100 * x}%; top: ${100 * y}%`;
}

function removePointer(id) {
  pointers.get(id)?.remove();
  pointers.delete(id);
}

// -- the notes

function showNote(note) {
  const { number, text, author, at } = note;
  const old = notes.get(number);
  if (old) {
    old.note = note;
    if (dragged !== number) place(old.element, note);
    return;
  }
  const remove = make("button", { type: "button", ariaLabel: `Take away “${text}”` }, "×");
  remove.addEventListener("click", () => trying(wsx.del(live("unpin"), { number })));
  const clock = at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  const when = make("time", { dateTime: at.toISOString() }, clock);
  const element = make("li", { tabIndex: 0, className: "note", ariaLabel: `${text} (${author})` },
    make("p", {}, text), make("footer", {}, make("span", {}, author), when), remove);
  element.style.setProperty("--hue", hue(author));
  element.addEventListener("pointerdown", (event) => drag(event, number));
  element.addEventListener("keydown", (event) => step(event, number));
  notes.set(number, { element, note });
  place(element, note);
  $("#notes").append(element);
}

function place(element, { x, y }) {
  element.style.setProperty("--x", x);
  element.style.setProperty("--y", y);
}

function removeNote(number) {
  notes.get(number)?.element.remove();
  notes.delete(number);
}

/** Where a new note has the most room, of some places taken by chance. */
function freePlace() {
  const places = Array.from({ length: 20 }, () => ({ x: 0.03 + 0.94 * Math.random(), y: 0.03 + 0.94 * Math.random() }));
  const room = ({ x, y }) => Math.min(...[...notes.values()].map(({ note }) => Math.hypot(x - note.x, y - note.y)));
  return places.reduce((best, one) => (room(one) > room(best) ? one : best));
}

const within = (value) => Math.min(1, Math.max(0, value));
const move = seldom(40, (number, x, y) => trying(wsx.put(live("move"), { number, x, y })));

function moveTo(number, x, y) {
  const { element, note } = notes.get(number);
  Object.assign(note, { x: within(x), y: within(y) });
  place(element, note);
  move(number, note.x, note.y);
}

function drag(event, number) {
  if (event.target.closest("button") || event.button) return;
  const { element, note: { x, y } } = notes.get(number);
  const room = $("#board").getBoundingClientRect();
  const [width, height] = [room.width - element.offsetWidth, room.height - element.offsetHeight];
  const shift = ({ clientX, clientY }) => {
    const [right, down] = [(clientX - event.clientX) / width, (clientY - event.clientY) / height];
    if (notes.has(number)) moveTo(number, x + right, y + down);
  };
  dragged = number;
  element.setPointerCapture(event.pointerId);
  element.addEventListener("pointermove", shift);
  element.addEventListener("lostpointercapture", () => {
    element.removeEventListener("pointermove", shift);
    dragged = null;
  }, { once: true });
}

function step(event, number) {
  const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (!steps || event.target.closest("button")) return;
  event.preventDefault();
  const { x, y } = notes.get(number).note;
  moveTo(number, x + 0.02 * steps[0], y + 0.02 * steps[1]);
}

// -- the two topics

const happenings = {
  sync(present) {
    people.clear();
    for (const person of present) people.set(person.id, person);
    showPeople();
  },
  join(person) {
    people.set(person.id, person);
    showPeople();
  },
  leave({ id }) {
    people.delete(id);
    showPeople();
  },
  snapshot(all) {
    for (const number of notes.keys()) if (!all.some((note) => note.number === number)) removeNote(number);
    all.forEach(showNote);
  },
  pinned: showNote,
  moved: showNote,
  unpinned: removeNote,
  pointed,
};

function enter() {
  board?.close();
  board = wsx.subscribe(live("board"), me, ({ event, data }) => happenings[event]?.(data));
  trying(board.ready);
}

function showPrices({ at, prices }) {
  const body = $("#prices tbody");
  for (const { code, rate, change } of prices) {
    const row = body.querySelector(`[data-code="${code}"]`) ?? body.appendChild(newPrice(code));
    const [shown, moved] = row.querySelectorAll("td");
    const was = shown.dataset.rate ?? rate;
    // Decimals compare as numbers, and are written with every digit they came with.
    row.className = change > 0 ? "up" : change < 0 ? "down" : "";
    const colour = `var(--${rate > Number(was) ? "rise" : "fall"})`;
    if (`${rate}` !== `${was}` && !calm.matches) shown.animate({ color: [colour, ""] }, 900);
    shown.textContent = shown.dataset.rate = String(rate);
    moved.textContent = `${change > 0 ? "▲ +" : change < 0 ? "▼ −" : ""}${String(change).replace("-", "")} %`;
  }
  $("#priced-at").textContent = at.toLocaleTimeString();
  $("#priced-at").dateTime = at.toISOString();
}

function newPrice(code) {
  const row = make("tr", {}, make("th", { scope: "row" }, code), make("td"), make("td"));
  row.dataset.code = code;
  $("#code").append(make("option", {}, code));
  return row;
}

async function convert() {
  let amount;
  $("#converted-at").textContent = "";
  try {
    amount = new Decimal($("#amount").value.trim().replace(",", "."));
  } catch {
    $("#converted").textContent = "That is no amount.";
    return;
  }
  try {
    const result = await wsx.get(live("convert"), { amount, code: $("#code").value });
    $("#converted").textContent = `= ${result.amount} ${result.code}`;
    $("#converted-at").textContent = `at ${result.rate}, ${result.at.toLocaleTimeString()}`;
  } catch (error) {
    $("#converted").textContent = error.message;
  }
}

// -- what the user does

$("#name").value = me.name;
$("#name").addEventListener("change", () => {
  me.name = $("#name").value.trim() || me.name;
  $("#name").value = me.name;
  sessionStorage.setItem("name", me.name);
  enter();
});
$("#write").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("#text").value.trim();
  const pin = () => wsx.post(live("pin"), { text, ...freePlace(), author: me.name });
  if (text) trying(pin().then(() => { $("#text").value = ""; }));
});
const point = seldom(50, (x, y) => wsx.event(live("point"), { id: me.id, x, y }).catch(() => {}));
$("#board").addEventListener("pointermove", (event) => {
  const room = $("#board").getBoundingClientRect();
  point(within((event.clientX - room.left) / room.width), within((event.clientY - room.top) / room.height));
});
$("#convert").addEventListener("submit", (event) => event.preventDefault());
$("#convert").addEventListener("input", convert);

const onState = (state) => {
  $("#state").textContent = { open: "Live", connecting: "Reconnecting", closed: "Closed" }[state];
  $("#state").className = state;
  document.body.classList.toggle("away", state !== "open");
};
const wsx = await connect(new URL("../", location), { onState }).catch((error) => {
  $(".problem").textContent = `${error.message} Load the page again to try once more.`;
  throw error;
});
enter();
wsx.subscribe(live("prices"), null, ({ data }) => {
  if (data) showPrices(data);
  if (!$("#converted").textContent) convert();
});
