// WSX/1 for browsers and Node: typed RPC over one WebSocket. No dependencies, no build step.
//
//   import { connect } from "/_server/resource/wsx.js";
//   const wsx = await connect("/", { auth: { authorization: "Bearer ..." } });
//   const order = await wsx.get("/orders/42");
//   for await (const { event, data } of wsx.subscribe("/orders/*")) console.log(event, data);

const PREFIX = "WSX://";
const MARK = "::JS";
const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "SUBSCRIBE", "EXEC"];
const TYPED_FIELDS = ["query", "data", "cookies"];
const MAX_DEPTH = 64;
const WINDOW = 32; // items a sender may be ahead of its reader when nobody said otherwise
const BUFFER = 2 ** 20; // bytes a socket may hold back before streams wait
const LONGEST = 2 ** 31 - 1; // milliseconds a timer can wait
const FEATURES = ["stream", "credit", "cancel", "sub", "batch", "resume"];
const BATCH = { taken: 64, messages: 32, length: 65_536 }; // what is read of one batch, what is written into one

/** What a peer said no with, or what went wrong on the way; `retry` is true only where no handler has run. */
export class WsxError extends Error {
  constructor(text, { status = 400, code = "MALFORMED", retry = false, details, id = null, pointer = "" } = {}) {
    super(pointer ? `${text} (at ${pointer})` : text);
    Object.assign(this, { name: "WsxError", status, code, retry, details, id, pointer });
  }

  /** The error that a response reports. */
  static from({ id, status, data }) {
    const { error, detail, code, retry, details } = Object(data);
    const text = String(error ?? detail ?? (typeof data === "string" ? data : `status ${status}`));
    return new WsxError(text, { id, status, code: code ?? `HTTP_${status}`, retry: retry === true, details });
  }
}

const fault = (text, options) => new WsxError(text, options);

/** Call what the program gave; that it fails is not our failure, and is shown as what nobody has caught is. */
function tell(callback, ...values) {
  const report = globalThis.reportError ?? console.error;
  try {
    Promise.resolve(callback?.(...values)).catch(report);
  } catch (error) {
    report(error);
  }
}

// Errors may be anything: an AbortSignal brings what its owner gave it.
const isLost = (error) => error?.code === "DISCONNECTED" || error?.code === "RESUME_LOST";
const isUnrun = (error) => error?.retry === true;
// A 401 of a handler may come after it has done something.
const isExpired = (error) => isUnrun(error) && error.status === 401;
const TITLES = { 404: "Not Found", 409: "Conflict", 499: "Client Closed Request", 500: "Internal Server Error",
  503: "Service Unavailable", 504: "Gateway Timeout" };
// The status and name of what either side may say.
const CANCELLED = { status: 499, code: "CANCELLED" };
const DEADLINE = { status: 504, code: "DEADLINE" };
const DISCONNECTED = { status: 503, code: "DISCONNECTED" };
const RESUME_LOST = { status: 410, code: "RESUME_LOST" };
const GAP = { status: 500, code: "STREAM_GAP" };

// -- typed values (WSX/1, section 4)

let GivenBig;

/** Read decimals as instances of this class: big.js, or another one that reads and writes their text. */
export function useBig(Big) {
  GivenBig = Big;
}

const bigClass = () => GivenBig ?? globalThis.Big;

const DECIMAL = /^[+-]?(?:(\d+)(?:\.(\d*))?|\.(\d+))(?:[eE]([+-]?\d{1,6}))?$/;

/** A decimal number as its text, where there is no big.js: compares as a number, adds as a text, keeps every digit. */
export class Decimal {
  constructor(value) {
    this.text = String(value);
    const [match, whole = "", fraction, bare, exponent = 0] = DECIMAL.exec(this.text) ?? [];
    if (match === undefined) throw new RangeError("is not a decimal number");
    const part = fraction ?? bare ?? "";
    if (Math.abs(exponent - part.length) > 400 || (whole + part).replace(/^0+/, "").length > 4300) {
      throw new RangeError("has an exponent beyond 400 or more than 4300 digits");
    }
    Object.freeze(this);
  }

  toString() {
    return this.text;
  }

  toJSON() {
    return this.text;
  }

  [Symbol.toPrimitive](hint) {
    return hint === "number" ? Number(this.text) : this.text;
  }
}

const CLOCK = "(?:[01]\\d|2[0-3]):[0-5]\\d(?::[0-5]\\d(?:\\.\\d{1,6})?)?";
const OFFSET = "Z|[+-](?:[01]\\d|2[0-3]):[0-5]\\d";
const DATETIME = new RegExp(`^(\\d{4}-\\d\\d-\\d\\d)T(${CLOCK})(${OFFSET})?$`);
const TIME = new RegExp(`^(${CLOCK})(${OFFSET})?$`);

/**
 * A Date that knows what it is: `D` a day (midnight UTC), `H` a time of day (of 1970-01-01, UTC), `DHZ` a moment,
 * `DH` a moment that came without a zone. It keeps the microseconds it came with until it is changed.
 */
export class TypedDate extends Date {
  #micros;
  #at;
  #offset;

  constructor(type, value, micros = 0, offset = "") {
    super(value);
    this.type = type;
    this.#micros = micros;
    this.#at = this.getTime();
    this.#offset = offset;
  }

  /** The text of its literal. */
  toJSON() {
    const iso = this.toISOString();
    if (iso.length !== 24 || iso < "0001") throw new RangeError("is not within the years 1 to 9999");
    if (this.type === "D") return iso.slice(0, 10);
    const micros = this.#micros && this.getTime() === this.#at ? String(this.#micros).padStart(3, "0") : "";
    return this.type === "H" ? iso.slice(11, 23) + micros + this.#offset : `${iso.slice(0, 23)}${micros}Z`;
  }

  // A day is the same day everywhere, and so is a time of day.
  toLocaleDateString(locales, options) {
    return super.toLocaleDateString(locales, this.type === "D" ? { timeZone: "UTC", ...options } : options);
  }

  toLocaleTimeString(locales, options) {
    return super.toLocaleTimeString(locales, this.type === "H" ? { timeZone: "UTC", ...options } : options);
  }
}

function dayOf(text) {
  const day = /^\d{4}-\d\d-\d\d$/.test(text) ? new Date(`${text}T00:00:00Z`) : new Date(NaN);
  if (Number.isNaN(day.getTime()) || day.toISOString().slice(0, 10) !== text || text < "0001") {
    throw new RangeError("is not a date written YYYY-MM-DD");
  }
  return day.getTime();
}

function clockOf(text) {
  const [hours, minutes, seconds = "0", fraction = ""] = text.split(/[:.]/);
  const micros = Number(fraction.padEnd(6, "0"));
  const millis = ((hours * 60 + Number(minutes)) * 60 + Number(seconds)) * 1000 + Math.floor(micros / 1000);
  return [millis, micros % 1000];
}

function offsetOf(text = "Z") {
  if (text === "Z") return 0;
  return (text[0] === "-" ? -1 : 1) * clockOf(text.slice(1))[0];
}

/** The day written YYYY-MM-DD. */
export const date = (text) => new TypedDate("D", dayOf(text));

/** The time of day written HH:MM[:SS[.ffffff]], with Z or an offset or nothing. */
export function time(text) {
  const [, clock, offset] = TIME.exec(text) ?? [];
  if (clock === undefined) throw new RangeError("is not a time written HH:MM:SS.sss");
  return new TypedDate("H", ...clockOf(clock), offset);
}

/** The moment written YYYY-MM-DDTHH:MM[:SS[.ffffff]] with Z, an offset or nothing; or what `new Date` takes. */
export function datetime(value, type = "DHZ") {
  if (typeof value !== "string") return new TypedDate(type, value);
  const [, day, clock, offset] = DATETIME.exec(value) ?? [];
  if (day === undefined) throw new RangeError("is not a date and time written YYYY-MM-DDTHH:MM:SS.sssZ");
  const [millis, micros] = clockOf(clock);
  const moment = new TypedDate(type, dayOf(day) + millis - offsetOf(offset), micros);
  moment.toJSON(); // an offset may lead out of the years there are
  return moment;
}

function readInteger(text) {
  if (!/^[+-]?\d{1,4300}$/.test(text)) throw new RangeError("is not an integer of at most 4300 digits");
  return Number.isSafeInteger(Number(text)) ? Number(text) : BigInt(text);
}

function readFloat(text) {
  const value = /^[+-]?\d{1,400}(?:\.\d{0,400})?(?:[eE][+-]?\d{1,4})?$/.test(text) ? Number(text) : NaN;
  if (!Number.isFinite(value)) throw new RangeError("is not a finite number");
  return value;
}

function readBytes(text) {
  if (text.length % 4 || !/^[A-Za-z0-9+/]*={0,2}$/.test(text)) throw new RangeError("is not base64");
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

function writeBytes(bytes) {
  let letters = "";
  for (let at = 0; at < bytes.length; at += 0x8000) letters += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  return btoa(letters);
}

function readWord(words) {
  return (text) => {
    if (!Object.hasOwn(words, text)) throw new RangeError(`is not ${Object.keys(words).join(" or ") || "empty"}`);
    return words[text];
  };
}

const READERS = {
  N: (text) => {
    const value = new Decimal(text);
    return bigClass() ? new (bigClass())(text) : value;
  },
  D: date,
  DHZ: (text) => datetime(text),
  DH: (text) => datetime(text, "DH"),
  H: time,
  L: readInteger,
  R: readFloat,
  B: readWord({ true: true, false: false }),
  NN: readWord({ "": null }),
  RAW: readBytes,
  T: (text) => text,
};

/**
 * The types that values may have: those of TYTX, and classes of one's own by their suffixes.
 *
 *   const types = new TypeTable().register(Point, "PT", (point) => `${point.x},${point.y}`, Point.parse);
 */
export class TypeTable {
  #own = [];
  #elsewhere = [];
  #readers = { ...READERS };
  #literal;
  #looksTyped;

  constructor() {
    this.#refresh();
  }

  #refresh() {
    const suffixes = Object.keys(this.#readers);
    this.#literal = new RegExp(`^(.*)::(${suffixes.join("|")})$`, "s");
    // QS is read by other implementations without being asked, so it counts when writing.
    this.#looksTyped = new RegExp(`::(?:${[...suffixes, ...this.#elsewhere].join("|")}|QS)$`);
  }

  /** Let instances of a class travel as `literal::SUFFIX`; `write` makes the literal, `read` takes it back. */
  register(Class, suffix, write, read) {
    if (!/^[A-Z]+$/.test(suffix) || suffix === "JS" || suffix === "QS" || Object.hasOwn(this.#readers, suffix)) {
      throw new TypeError(`The suffix ${suffix} is taken, or not all A-Z; choose another one.`);
    }
    this.#own.push({ Class, suffix, write });
    this.#readers[suffix] = read;
    this.#refresh();
    return this;
  }

  /** The same types, when the peer has more: plain strings with these suffixes are marked as text, too. */
  escaping(suffixes) {
    const view = new TypeTable();
    view.#own = [...this.#own];
    view.#readers = { ...this.#readers };
    view.#elsewhere = [...this.#elsewhere, ...suffixes.filter((suffix) => /^[A-Z]+$/.test(suffix))];
    view.#refresh();
    return view;
  }

  /** Whether a plain string would be taken for a typed value. */
  looksTyped(text) {
    return this.#looksTyped.test(text);
  }

  /** The literal and the suffix of a typed string; undefined for any other. */
  split(text) {
    const [, literal, suffix] = this.#literal.exec(text) ?? [];
    return suffix === undefined ? undefined : [literal, suffix];
  }

  /** The value of a literal; what is thrown says what is wrong with it. */
  read(literal, suffix) {
    return this.#readers[suffix](literal);
  }

  /** The literal and the suffix of a value that JSON has no form for; undefined for any other value. */
  literalOf(value) {
    const own = this.#own.find(({ Class }) => value instanceof Class);
    return own ? [String(own.write(value)), own.suffix] : literalOf(value);
  }
}

const BUILTIN = new TypeTable();

function endsInCapital(text) {
  const last = text.charCodeAt(text.length - 1);
  return last >= 65 && last <= 90;
}

/** The literal of a value that JSON has no form for, and its suffix; undefined for any other value. */
function literalOf(value) {
  if (typeof value === "bigint") return [String(value), "L"];
  if (value instanceof Decimal || (bigClass() && value instanceof bigClass())) return [String(value), "N"];
  if (value instanceof ArrayBuffer) return [writeBytes(new Uint8Array(value)), "RAW"];
  if (ArrayBuffer.isView(value)) {
    return [writeBytes(new Uint8Array(value.buffer, value.byteOffset, value.byteLength)), "RAW"];
  }
  if (!(value instanceof Date)) return undefined;
  if (value instanceof TypedDate) return [value.toJSON(), value.type === "DH" ? "DHZ" : value.type];
  // As genro-tytx has it: midnight is a day, and what happened on 1970-01-01 a time of day.
  const day = value.getTime() / 86_400_000;
  const type = Math.floor(day) === 0 ? (day ? "H" : "DHZ") : Number.isInteger(day) ? "D" : "DHZ";
  return [new TypedDate(type, value).toJSON(), type];
}

/** The value as JSON can hold it; `out.marked` says whether there are typed strings in it. */
function plain(value, out, depth) {
  if (typeof value === "string") {
    if (!out.typed || !endsInCapital(value) || !out.types.looksTyped(value)) return value;
    out.marked = true;
    return `${value}::T`;
  }
  if (typeof value === "bigint" && Number.isSafeInteger(Number(value))) return Number(value);
  if (typeof value !== "bigint" && (value === null || typeof value !== "object")) return value;
  const literal = out.types.literalOf(value);
  if (literal) {
    if (!out.typed) return literal[0];
    out.marked = true;
    return literal.join("::");
  }
  if (!depth) throw new RangeError(`the value has more than ${MAX_DEPTH} levels, or holds itself`);
  if (typeof value.toJSON === "function") return plain(value.toJSON(), out, depth - 1);
  if (value instanceof Set) return plain([...value], out, depth);
  if (Array.isArray(value)) return value.map((item) => plain(item, out, depth - 1));
  const entries = value instanceof Map ? [...value] : Object.entries(value);
  return Object.fromEntries(entries.map(([name, item]) => [name, plain(item, out, depth - 1)]));
}

/** Turn the typed strings of a parsed document into values, in place; the WsxError says where a bad one is. */
function hydrate(value, types, path, id) {
  if (typeof value === "string") {
    const [literal, suffix] = (endsInCapital(value) && types.split(value)) || [];
    if (suffix === undefined) return value;
    try {
      return types.read(literal, suffix);
    } catch (error) {
      const pointer = path.map((key) => `/${key.replaceAll("~", "~0").replaceAll("/", "~1")}`).join("");
      throw fault(`${JSON.stringify(value.slice(0, 40))} ${error.message}`, { code: "BAD_VALUE", pointer, id });
    }
  }
  if (value !== null && typeof value === "object") {
    for (const key of Object.keys(value)) {
      path.push(key);
      value[key] = hydrate(value[key], types, path, id);
      path.pop();
    }
  }
  return value;
}

const TOKENS = /"[^"\\]*(?:\\.[^"\\]*)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/gs;
const HELD = `\u0000${Math.random()}:`;

/** As JSON.parse, but integers that a number cannot hold become BigInt. */
function parseJson(text) {
  if (!/\d{16}/.test(text)) return JSON.parse(text);
  const exact = (token) => !/^-?[1-9]\d{15,}$/.test(token) || Number.isSafeInteger(Number(token));
  const held = text.replace(TOKENS, (token) => (exact(token) ? token : JSON.stringify(HELD + token)));
  return JSON.parse(held, (_, value) => {
    if (typeof value !== "string" || !value.startsWith(HELD)) return value;
    const integer = BigInt(value.slice(HELD.length));
    if (integer < -(2n ** 63n) || integer >= 2n ** 64n) throw new SyntaxError("an integer has more than 64 bits");
    return integer;
  });
}

/** Throw for what JSON.parse lets pass: too many levels, numbers out of range, half of a surrogate pair. */
function checkTree(value, depth, escaped) {
  if (typeof value === "number" && !Number.isFinite(value)) throw fault("a number is out of range");
  if (typeof value === "string" && escaped && /\p{Surrogate}/u.test(value)) throw fault("half of a surrogate pair");
  if (value === null || typeof value !== "object") return;
  if (!depth) throw fault("there are too many levels");
  for (const [key, item] of Object.entries(value)) {
    if (escaped) checkTree(key, 0, true);
    checkTree(item, depth - 1, escaped);
  }
}

/** A value as a TYTX text: `{"price":"9.90::N"}::JS`, or `9.90::N` alone. */
export function toTytx(value, { types = BUILTIN } = {}) {
  const isNumber = typeof value === "bigint" && Number.isSafeInteger(Number(value));
  const literal = isNumber ? undefined : types.literalOf(value);
  if (literal) return literal.join("::");
  const out = { typed: true, marked: false, types };
  const document = plain(value, out, MAX_DEPTH);
  if (typeof document === "string" && out.marked) return document;
  return JSON.stringify(document) + (out.marked ? MARK : "");
}

/** The value of a TYTX text, in quotes as it travels over HTTP or not; WsxError when it cannot be read. */
export function fromTytx(text, { types = BUILTIN } = {}) {
  if (text.endsWith(MARK)) text = text.slice(0, -MARK.length);
  else if (types.split(text)) return hydrate(text, types, []);
  try {
    return hydrate(parseJson(text), types, []);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    if (text.length > 2 && text.startsWith('"') && text.endsWith('"')) return fromTytx(text.slice(1, -1), { types });
    throw fault(error.message);
  }
}

// -- messages (WSX/1, sections 1 to 3)

const CONTROL = /[\x00-\x08\x0a-\x1f\x7f]/;
const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

/** What each field must be; what a check returns takes the place of the value. */
const CHECKS = {
  id: (id) => need(readableId({ id }) !== null, "a string of 1 to 128 characters") && id,
  method(method) {
    need(typeof method === "string", "a string");
    const name = method.toUpperCase() === "WSK" ? "POST" : method.toUpperCase();
    return need(METHODS.includes(name), `one of ${METHODS.join(", ")}`, { status: 405, code: "BAD_METHOD" }) && name;
  },
  path(path) {
    need(typeof path === "string", "a string");
    const full = path.startsWith("/") ? path : `/${path}`;
    need(full.length <= 2048 && !full.includes("?") && !CONTROL.test(full) && !full.split("/").includes(".."),
      "at most 2048 characters without a query part, a segment '..' and control characters");
    return full;
  },
  headers(headers) {
    need(isObject(headers), "an object");
    const pairs = Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]);
    need(pairs.every(([name, value]) => /^[!#$%&'*+.^_`|~0-9a-z-]+$/.test(name) && typeof value === "string"
      && !CONTROL.test(value)), "an object of strings by name");
    const size = pairs.reduce((sum, [name, value]) => sum + name.length + value.length, 0);
    need(pairs.length <= 64 && size <= 8192, "at most 64 fields of 8 KiB", { status: 431, code: "HEADERS_TOO_LARGE" });
    return Object.fromEntries(pairs);
  },
  cookies(cookies, { method }) {
    const good = (value) => !Array.isArray(value) && !(method && isObject(value));
    return need(isObject(cookies) && Object.values(cookies).every(good), "an object of strings by name") && cookies;
  },
  query: (query) => need(isObject(query), "an object") && query,
  status: (status) => whole(status, 100, 599),
  timeout: (timeout) => whole(timeout, 1),
  credit: (credit) => whole(credit, 0),
  seq: (seq) => whole(seq, 0),
  stream: (stream) => flag(stream),
  tytx: (tytx) => flag(tytx),
};

function need(holds, text, options) {
  if (!holds) throw fault(`must be ${text}`, { code: "BAD_ENVELOPE", ...options });
  return true;
}

function whole(value, least, most = 2 ** 53) {
  need(Number.isInteger(value) && value >= least && value <= most, `a whole number from ${least} to ${most}`);
  return value;
}

function flag(value) {
  need(typeof value === "boolean", "true or false");
  return value;
}

function checkEnvelope(fields) {
  for (const name of Object.keys(CHECKS)) {
    if (fields[name] === undefined || fields[name] === null) continue;
    try {
      fields[name] = CHECKS[name](fields[name], fields);
    } catch ({ message, status, code }) {
      throw fault(`${name} ${message}`, { status, code, pointer: `/${name}`, id: readableId(fields) });
    }
  }
}

function readableId({ id }) {
  return typeof id === "string" && id.length >= 1 && id.length <= 128 ? id : null;
}

/** The id of a message that is broken, where it comes first in it. */
function leadingId(text) {
  const [, id] = /^(?:WSX:\/\/)?\s*\{\s*"id"\s*:\s*"([^"\\\x00-\x1f]{1,128})"/.exec(text.slice(0, 640)) ?? [];
  return id ?? null;
}

function kindOf({ id = null, method = null, path, status = null, seq = null, credit = null, ...rest }) {
  if (method !== null) {
    if (status !== null) throw fault("the message has both a method and a status", { id });
    return id === null ? "event" : "request";
  }
  if (status !== null) return "response";
  if (id !== null && seq !== null) return "chunk";
  const others = [path, rest.headers, rest.cookies, rest.query, rest.data, rest.timeout, rest.stream];
  if (id !== null && credit !== null && others.every((value) => value === undefined || value === null)) return "grant";
  throw fault("the message is no request, response, chunk or grant", { code: "BAD_ENVELOPE", id });
}

function textOf(data) {
  const bytes = new Uint8Array(data);
  const [first] = bytes;
  const isMap = (first >= 0x80 && first <= 0x8f) || first === 0xde || first === 0xdf;
  if (isMap) throw fault("MessagePack is not spoken here; send text", { status: 501, code: "UNSUPPORTED" });
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw fault("the text is not UTF-8", { id: leadingId(new TextDecoder().decode(bytes.subarray(0, 640))) });
  }
}

/** What stands in a frame before anything in it is read: its text, and the form it has. */
function unwrap(data, maxBytes) {
  const size = typeof data === "string" ? data.length : data.byteLength;
  if (size > maxBytes || (typeof data === "string" && size * 3 > maxBytes && utf8Length(data) > maxBytes)) {
    const id = typeof data === "string" ? leadingId(data) : null;
    throw fault(`the message is longer than ${maxBytes} bytes`, { status: 413, code: "TOO_LARGE", id });
  }
  const text = typeof data === "string" ? data : textOf(data);
  const prefixed = text.startsWith(PREFIX);
  const typed = text.endsWith(MARK);
  return { body: text.slice(prefixed ? PREFIX.length : 0, typed ? -MARK.length : undefined), typed, prefixed };
}

function parseBody(body, depth) {
  try {
    const value = parseJson(body);
    checkTree(value, depth, /\\u[dD][89a-fA-F]/.test(body));
    return value;
  } catch ({ message }) {
    throw fault(`the message is malformed: ${message}`, { id: leadingId(body) });
  }
}

/** The message that parsed fields are; `typesOf` says what its values may be. */
function readFields(fields, { typed, prefixed }, typesOf) {
  if (!isObject(fields)) throw fault("the message is not a JSON object");
  checkEnvelope(fields);
  const contentType = fields.headers?.["content-type"] ?? "";
  typed ||= fields.tytx === true || contentType.toLowerCase().includes("tytx");
  const types = typed ? typesOf(fields) : BUILTIN;
  for (const name of typed ? TYPED_FIELDS : []) {
    if (name in fields) fields[name] = hydrate(fields[name], types, [name], fields.id);
  }
  return { kind: kindOf(fields), fields, form: { typed, prefixed } };
}

function readMessage(frame, typesOf) {
  const { body, prefixed } = frame;
  if (!prefixed && body[0] !== "{") throw fault("the text begins neither with WSX:// nor with {");
  return readFields(parseBody(body, MAX_DEPTH), frame, typesOf);
}

/** The messages of an array (section 17); one that is wrong is an error in its place. */
function readBatch(frame, typesOf) {
  return parseBody(frame.body, MAX_DEPTH + 1).map((fields, place) => {
    try {
      if (place < BATCH.taken) return readFields(fields, frame, typesOf);
      const text = `more than ${BATCH.taken} messages are in the batch`;
      throw fault(text, { status: 413, code: "TOO_LARGE", id: readableId(Object(fields)) });
    } catch (error) {
      return error;
    }
  });
}

/** Read one message: its kind, its fields with typed values read, and the form it had; WsxError when it is wrong. */
export function decode(data, { maxBytes = 2 ** 20, types = BUILTIN } = {}) {
  return readMessage(unwrap(data, maxBytes), () => types);
}

const utf8Length = (text) => new TextEncoder().encode(text).length;

/** The text of a message; fields that are undefined are left out. A call is `marked`, so that its answer is typed. */
export function encode(fields, { typed = true, prefixed = true, marked = false, types = BUILTIN } = {}) {
  const out = { typed, marked, types };
  const entries = Object.entries(fields).map(([name, value]) =>
    [name, TYPED_FIELDS.includes(name) ? plain(value, out, MAX_DEPTH - 1) : value]);
  return (prefixed ? PREFIX : "") + JSON.stringify(Object.fromEntries(entries)) + (out.marked ? MARK : "");
}

/** The same messages in fewer frames: neighbours that are marked are joined, as a mark counts for all of a batch. */
function joinFrames(frames, longest) {
  const batches = [];
  let length = 0;
  for (const frame of frames) {
    const last = batches.at(-1);
    const marked = frame.endsWith(MARK);
    if (marked && last?.marked && last.all.length < BATCH.messages && length + frame.length <= longest) {
      last.all.push(frame);
      length += frame.length;
    } else {
      batches.push({ marked, all: [frame] });
      length = frame.length;
    }
  }
  const body = (frame) => frame.slice(PREFIX.length, -MARK.length);
  return batches.map(({ all }) => (all.length > 1 ? `${PREFIX}[${all.map(body)}]${MARK}` : all[0]));
}

// -- streams (WSX/1, sections 8 and 9)

function deferred() {
  const parts = {};
  parts.promise = new Promise((resolve, reject) => Object.assign(parts, { resolve, reject }));
  parts.promise.catch(() => {}); // nobody need be waiting
  return parts;
}

/** What a stream has brought and its reader has not taken: never more than the credit given. */
class Inflow {
  #items = [];
  #readers = [];
  #taken = 0;
  #over = null;
  #window;
  #grant;
  #stop;

  /** `grant` gives the sender credit for more, `stop` tells it that the reader has left. */
  constructor(window, grant, stop) {
    this.#window = window;
    this.#grant = grant;
    this.#stop = stop;
  }

  put(item) {
    if (this.#over) return;
    this.#items.push(item);
    this.#serve();
  }

  /** Nothing more will come; what is still here is read first, unless an error cuts it off. */
  end(error, { now = false } = {}) {
    if (this.#over) return;
    if (now) this.#items = [];
    this.#over = { error };
    this.#serve();
  }

  /** The sender has credit anew; what waits here was sent for the old one. */
  renew() {
    this.#taken = -this.#items.length;
  }

  next() {
    const reader = deferred();
    this.#readers.push(reader);
    this.#serve();
    return reader.promise;
  }

  async return() {
    if (!this.#over) this.#stop();
    this.end(undefined, { now: true });
    this.#items = [];
    return { value: undefined, done: true };
  }

  [Symbol.asyncIterator]() {
    return this;
  }

  #serve() {
    while (this.#readers.length && this.#items.length) {
      this.#readers.shift().resolve({ value: this.#items.shift(), done: false });
      this.#taken += 1;
      if (this.#taken * 2 >= this.#window && !this.#over) {
        this.#grant(this.#taken);
        this.#taken = 0;
      }
    }
    while (this.#readers.length && this.#over) {
      const { error } = this.#over;
      this.#over = {};
      if (error) this.#readers.shift().reject(error);
      else this.#readers.shift().resolve({ value: undefined, done: true });
    }
  }
}

/** How many items a sender may still send. */
class Credit {
  #left;
  #more = deferred();
  #closed = deferred();

  constructor(left) {
    this.#left = left;
  }

  add(count) {
    this.#left += count;
    this.#more.resolve();
  }

  /** The receiver wants nothing more. */
  close() {
    this.#closed.resolve("closed");
  }

  /** Send the items of an async iterable while there is credit; false when the receiver did not want them all. */
  async send(source, { room, say }) {
    const iterator = source[Symbol.asyncIterator]();
    try {
      for (;;) {
        if ((await Promise.race([this.#closed.promise, this.#takeOne(room)])) === "closed") return false;
        const step = await Promise.race([this.#closed.promise, iterator.next()]);
        if (step === "closed") return false;
        if (step.done) return true;
        say(step.value);
      }
    } finally {
      Promise.resolve(iterator.return?.()).catch(() => {}); // one that waits for its own source may take its time
    }
  }

  async #takeOne(room) {
    while (this.#left < 1) {
      this.#more = deferred();
      await this.#more.promise;
    }
    this.#left -= 1;
    await room();
  }
}

// -- a session (WSX/1, sections 6 to 8 and 11)

/**
 * Both sides of the calls of a connection, without its socket: frames come in by `receive`, and go out by `send`.
 * `handlers` answer the calls of the peer by path, `room` is waited for before each item of a stream. Where the peer
 * keeps sessions, one goes on with its calls over the next connection.
 */
export class Session {
  #send;
  #handlers;
  #room;
  #maxBytes;
  #offers;
  #token;
  #kept = 0; // milliseconds that the peer keeps it for after a connection is lost
  #expiry = null;
  #calls = new Map();
  #served = new Map();
  #count = 0;
  #goaway = deferred();
  #over = null;
  #onBroadcast;
  #types;
  #told = []; // suffixes of the peer's types
  #tables = new Map(); // each table, as it is written with
  /** What both sides can do besides, as they told each other. */
  features = [];
  /** Called when the last open call has ended, and when no new one should be made here. */
  onidle = () => {};
  onleave = () => {};

  constructor({
    send = () => {}, handlers = new Map(), onBroadcast = () => {}, maxBytes = 2 ** 24, resumes = true,
    types = BUILTIN,
  } = {}) {
    this.#types = types;
    this.#onBroadcast = onBroadcast;
    this.#handlers = handlers;
    this.#maxBytes = maxBytes;
    this.#offers = FEATURES.filter((feature) => resumes || feature !== "resume");
    this.attach({ send });
  }

  /** What is said goes out here from now on. */
  attach({ send, room = async () => {} }) {
    this.features = []; // until there is a hello
    this.#send = send;
    this.#room = room;
  }

  /** Say hello; what the peer answers. Calls that wait for it go on, or end with 410 RESUME_LOST. */
  async hello({ auth, timeout } = {}) {
    const data = { v: 1, features: this.#offers, auth };
    if (this.suspended) {
      data.session = this.#token;
      data.acks = Object.fromEntries([...this.#calls.values()].map(({ id, seq }) => [id, seq - 1]));
    }
    const answer = await this.request("POST", "/_wsx/hello", { data, timeout }).response.catch((error) => {
      if (error.status === 404) return {}; // an older server, which knows no hello
      throw error;
    });
    const welcome = answer.data ?? {};
    const { session, resume_s, resumed } = welcome;
    this.#token = session;
    this.#kept = this.features.includes("resume") && resume_s > 0 ? Math.min(1000 * resume_s, LONGEST) : 0;
    if (this.suspended) this.#resume(resumed === true);
    return welcome;
  }

  #resume(goesOn) {
    clearTimeout(this.#expiry);
    this.#expiry = null;
    for (const call of this.#calls.values()) {
      if (!goesOn) this.#fail(call, fault("The server has not kept the session.", RESUME_LOST));
      else if (call.seq === 0) this.#send(call.frame); // one that the server has had is not run again
    }
  }

  /** Whether its connection was lost, and the peer may have kept it. */
  get suspended() {
    return this.#expiry !== null;
  }

  /** Resolves with `{reason, after_ms, grace_ms}` when the peer wants the connection to end. */
  get goaway() {
    return this.#goaway.promise;
  }

  get idle() {
    return this.#calls.size + this.#served.size === 0;
  }

  /**
   * Call the peer; `response` of what is returned resolves with its terminal message. With `credit` the answer is a
   * stream, read from `items`. Async-iterable `data` goes out as chunks. `timeout` is in milliseconds; `types` are
   * those of the values in both directions, where they are not those of the connection.
   */
  request(method, path, { query, data, headers, cookies, timeout, signal, credit, types } = {}) {
    signal?.throwIfAborted();
    if (this.#over) throw this.#over;
    // No id of the peer looks like it, so that grants are clear; who keeps sessions counts on the number.
    const id = `c${(this.#count += 1)}`;
    const chunks = data?.[Symbol.asyncIterator] ? data : null;
    const ms = Number.isFinite(timeout) ? Math.min(Math.max(1, Math.ceil(timeout)), Number.MAX_SAFE_INTEGER) : undefined;
    const stream = chunks ? true : undefined;
    const frame = this.#encode(
      { id, method, path, credit, headers, cookies, query, data: chunks ? undefined : data, timeout: ms, stream },
      types, true);
    const call = {
      id, method, path, chunks, frame, types, seq: 0, list: [], answer: deferred(), credit: new Credit(WINDOW),
    };
    const grant = (count) => this.#say({ id, credit: count });
    if (credit) call.items = new Inflow(credit, grant, () => this.#cancel(call));
    if (ms) {
      const late = () => this.#cancel(call, fault("There was no answer in time.", { ...DEADLINE, id }));
      call.timer = setTimeout(late, Math.min(ms + 1000, LONGEST));
    }
    const leave = () => {
      call.items?.end(signal.reason, { now: true });
      this.#cancel(call, signal.reason);
    };
    call.forget = () => signal?.removeEventListener("abort", leave);
    signal?.addEventListener("abort", leave);
    this.#calls.set(id, call);
    this.#send(frame);
    if (chunks) this.#upload(call, chunks);
    return { id, response: call.answer.promise, items: call.items, cancel: (error) => this.#cancel(call, error) };
  }

  /** Tell the peer something that it does not answer. */
  notify(method, path, { query, data, headers } = {}) {
    this.#say({ method, path, headers, query, data });
  }

  /** Give up a call, and tell the peer. */
  #cancel(call, error = fault("The call was cancelled.", { ...CANCELLED, id: call.id })) {
    if (this.#calls.get(call.id) !== call) return;
    this.notify("POST", "/_wsx/cancel", { data: { id: call.id } });
    this.#fail(call, error);
  }

  /** The connection is lost: calls that the peer keeps wait for the next one, and others end with the error. */
  suspend(error) {
    if (!this.#kept) return this.end(error);
    for (const call of this.#calls.values()) {
      if (call.path.startsWith("/_wsx/")) this.#fail(call, error);
      else if (call.chunks) this.#fail(call, fault("The stream to the server was cut off.", RESUME_LOST));
      else call.items?.renew();
    }
    const late = () => this.end(fault("There was no connection in time to resume.", RESUME_LOST));
    this.#expiry ??= setTimeout(late, this.#kept);
    this.#abandon();
  }

  /** It is over: every call ends with the error. */
  end(error) {
    if (this.#over) return;
    this.#over = error;
    this.#kept = 0;
    clearTimeout(this.#expiry);
    this.#expiry = null;
    for (const call of this.#calls.values()) this.#fail(call, error);
    this.#abandon();
  }

  /** Nothing can be sent any more: calls of the peer are stopped. */
  #abandon() {
    this.#send = () => {};
    for (const id of this.#served.keys()) this.#stop(id);
    this.onleave();
  }

  /** Take one frame of the peer. */
  receive(data) {
    let messages;
    try {
      const frame = unwrap(data, this.#maxBytes);
      const batched = frame.body[0] === "[" && this.features.includes("batch");
      const typesOf = ({ id, status }) => (status && this.#calls.get(id)?.types) || this.#types;
      messages = batched ? readBatch(frame, typesOf) : [readMessage(frame, typesOf)];
    } catch (error) {
      messages = [error];
    }
    for (const message of messages) this.#take(message);
  }

  #take(message) {
    if (message instanceof Error) {
      const call = this.#calls.get(message.id);
      if (call) this.#cancel(call, message);
      else if (this.#served.get(message.id)?.chunks) this.#stop(message.id, message); // the peer will send no more
      else this.#refuse(message.id ?? null, message);
      return;
    }
    // A field that is null is not there; data is.
    const there = ([name, value]) => value !== null || name === "data";
    const fields = Object.fromEntries(Object.entries(message.fields).filter(there));
    const { kind } = message;
    if (kind === "response") this.#answered(fields);
    else if (kind === "chunk") this.#chunk(fields);
    else if (kind === "grant") (this.#served.get(fields.id) ?? this.#calls.get(fields.id))?.credit.add(fields.credit);
    else this.#asked(fields);
  }

  #say(fields, types) {
    this.#send(this.#encode(fields, types));
  }

  #encode(fields, types = this.#types, marked = false) {
    if (this.#told.length && !this.#tables.has(types)) this.#tables.set(types, types.escaping(this.#told));
    return encode(fields, { types: this.#tables.get(types) ?? types, marked });
  }

  // -- calls of ours

  #close(call) {
    this.#calls.delete(call.id);
    clearTimeout(call.timer);
    call.forget();
    call.credit.close();
    if (this.idle) this.onidle();
  }

  #fail(call, error) {
    this.#close(call);
    call.items?.end(error);
    call.answer.reject(error);
  }

  async #upload(call, chunks) {
    const { id, types } = call;
    let seq = 0;
    const say = (data) => this.#say({ id, seq: seq++, data, stream: true }, types);
    try {
      if (await call.credit.send(chunks, { room: this.#room, say })) this.#say({ id, seq, stream: false });
    } catch (error) {
      this.#cancel(call, error); // the source broke, or gave what has no form
    }
  }

  #answered({ id, status, headers = {}, cookies = {}, data, stream, seq }) {
    const call = this.#calls.get(id);
    if (id?.startsWith("_")) tell(this.#onBroadcast, data, { directed: id === "_directed" }); // nobody asked for it
    // Nobody waits for it, or it only says that there is more to come, or it has been here before.
    if (!call || (stream && seq === undefined && data === undefined) || seq < call.seq) return;
    if (seq > call.seq) {
      this.#cancel(call, fault(`Item ${call.seq} of the stream is missing.`, { ...GAP, id }));
      return;
    }
    const streamed = stream || call.seq > 0 || seq !== undefined;
    if (stream) call.seq += 1;
    if (stream || (status < 400 && data !== undefined && data !== null)) {
      if (call.items) call.items.put({ headers, data: data ?? null });
      else if (streamed) call.list.push(data ?? null);
    }
    if (stream) return;
    if (status >= 400) {
      this.#fail(call, WsxError.from({ id, status, data }));
      return;
    }
    if (call.path === "/_wsx/hello") this.#agree(data ?? {}); // at once: a batch may be right behind it
    this.#close(call);
    call.items?.end();
    call.answer.resolve({ status, headers, cookies, data: streamed ? call.list : (data ?? null) });
  }

  #agree({ features = [], types = [] }) {
    this.features = features;
    this.#told = Array.isArray(types) ? types.filter((suffix) => typeof suffix === "string") : [];
    this.#tables.clear();
  }

  // -- calls of the peer

  #asked(fields) {
    const { id = null, path = "/", data = null } = fields;
    const no = (status, code, text, retry) => {
      if (id === null) console.warn(`wsx: event ${path}: ${text}`);
      else this.#refuse(id, fault(text, { status, code, retry }));
    };
    if (path === "/_wsx/cancel") this.#stop(data?.id, fault("The call was cancelled.", CANCELLED));
    else if (path === "/_wsx/goaway") this.#leave(data ?? {});
    else if (path === "/_wsx/ping" && id !== null) this.#say({ id, status: 200, data: data ?? "pong" });
    else if (this.#served.has(id)) no(409, "DUPLICATE_ID", "The id is in use.");
    else if (!this.#handlers.has(path)) no(404, "NOT_FOUND", `There is no ${path}.`);
    else if (this.#served.size >= 64) no(503, "OVERLOADED", "Too many calls are being served.", true);
    else this.#serve(id, path, fields);
  }

  #leave(goaway) {
    this.#kept = 0; // what is open ends here, and the next connection begins anew
    this.onleave();
    // A subscription moves to the next connection; other calls end here.
    const error = fault("The server wants the connection to end.", DISCONNECTED);
    for (const call of this.#calls.values()) if (call.method === "SUBSCRIBE") this.#cancel(call, error);
    const after = Number(goaway.after_ms);
    this.#goaway.resolve({ ...goaway, after_ms: after > 0 ? Math.min(after, LONGEST / 2) : 0 });
  }

  async #serve(id, path, { method, query = {}, data = null, headers = {}, cookies = {}, timeout, credit, stream }) {
    const control = new AbortController();
    const key = id ?? Symbol(path); // an event is served like a call, and nobody is told
    const served = { control, credit: new Credit(credit ?? Infinity), seq: 0 };
    if (stream) served.chunks = new Inflow(WINDOW, (count) => this.#say({ id, credit: count }), () => {});
    if (timeout) {
      const late = () => this.#stop(key, fault("The time is over.", DEADLINE));
      served.timer = setTimeout(late, Math.min(timeout, LONGEST));
    }
    this.#served.set(key, served);
    const request = { id, method, path, query, headers, cookies, data: served.chunks ?? data, signal: control.signal };
    let end;
    try {
      end = await this.#work(id, served, this.#handlers.get(path), request);
    } catch (error) {
      if (!(error instanceof WsxError || control.signal.aborted)) console.error(`wsx: ${method} ${path} failed`, error);
      end = error;
    }
    if (this.#served.get(key) !== served) return; // it was stopped, and has been answered
    this.#forget(key, served);
    if (id === null) return;
    if (typeof end === "string") this.#send(end);
    else this.#refuse(id, end);
  }

  /** Run a handler; its last frame. */
  async #work(id, served, handler, request) {
    const result = await handler(request);
    if (!result?.[Symbol.asyncIterator]) return this.#encode({ id, status: 200, data: result });
    let seq = 0;
    const say = (data) => id !== null && this.#say({ id, status: 200, seq: seq++, data, stream: true });
    await served.credit.send(result, { room: this.#room, say });
    return this.#encode({ id, status: 200, seq });
  }

  #forget(key, served) {
    this.#served.delete(key);
    clearTimeout(served.timer);
    served.credit.close();
    served.chunks?.end(fault("The call has ended.", CANCELLED), { now: true });
    if (this.idle) this.onidle();
  }

  #stop(key, error) {
    const served = this.#served.get(key);
    if (!served) return;
    this.#forget(key, served);
    served.control.abort();
    if (error) this.#refuse(typeof key === "string" ? key : null, error);
  }

  #chunk({ id, seq, data = null, stream = false }) {
    const served = this.#served.get(id);
    if (!served?.chunks) return;
    if (seq < served.seq) return;
    if (seq > served.seq) {
      this.#stop(id, fault(`Chunk ${served.seq} is missing.`, GAP));
      return;
    }
    served.seq += 1;
    if (stream || data !== null) served.chunks.put(data);
    if (!stream) served.chunks.end();
  }

  /** Answer with an error; what broke inside stays inside. */
  #refuse(id, error) {
    const known = error instanceof WsxError;
    const { status, code, retry, details } = known ? error : { status: 500, code: "INTERNAL", retry: false };
    const title = TITLES[status] ?? "Error";
    const detail = (status < 500 && error.message) || title;
    const problem = { type: "about:blank", title, status, detail, error: detail, code, retry, details };
    this.#say({ id, status, data: problem });
  }
}

// -- the client

const now = () => performance.now();

function socketUrl(url) {
  let full;
  try {
    full = new URL(url, globalThis.location?.href);
  } catch {
    full = {};
  }
  full.protocol = full.protocol?.replace(/^http/, "ws");
  if (!/^wss?:$/.test(full.protocol)) {
    throw new TypeError(`${url} is no address of a server; give ws://host:port, or in a page a path such as "/".`);
  }
  full.hash = "";
  return full.href;
}

/** Wait for a promise, but not longer than `ms` nor than the signal allows. */
async function within(promise, ms, late, signal) {
  signal?.throwIfAborted();
  const end = deferred();
  const leave = () => end.reject(signal.reason);
  const timer = Number.isFinite(ms) && setTimeout(() => end.reject(late), Math.min(ms, LONGEST));
  signal?.addEventListener("abort", leave);
  try {
    return await Promise.race([promise, end.promise]);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", leave);
  }
}

const sleep = (ms, signal) => within(new Promise((resolve) => setTimeout(resolve, ms)), Infinity, null, signal);

/** A socket and its session. */
class Link {
  #beat;
  #heard = now();
  #unsent = [];
  /** Characters that a batch may have: the peer's limit is in bytes. */
  longest = BATCH.length;

  constructor(socket, session) {
    const gone = deferred();
    const opened = deferred();
    socket.binaryType = "arraybuffer";
    let began = false;
    socket.onopen = () => {
      began = true;
      opened.resolve();
    };
    socket.onclose = ({ code, reason }) => this.drop(code, reason);
    socket.onerror = () => {}; // a close follows
    socket.onmessage = ({ data }) => {
      this.#heard = now();
      session.receive(data);
    };
    // What is said in one turn goes out at its end, in one frame if it can.
    const send = (frame) => this.#unsent.push(frame) === 1 && queueMicrotask(() => this.#flush());
    const room = async () => {
      while (socket.readyState === 1 && socket.bufferedAmount > BUFFER) await sleep(10);
    };
    this.socket = socket;
    this.session = session;
    session.attach({ send, room });
    this.gone = gone.promise;
    this.opened = Promise.race([opened.promise, gone.promise.then((why) => Promise.reject(why))]);
    this.drop = (code, reason = "") => {
      clearInterval(this.#beat);
      this.#flush();
      socket.onclose = socket.onmessage = null;
      socket.close();
      const end = `(${code}${reason && ` ${reason}`})`;
      const text = began ? `The connection was lost ${end}.`
        : `${socket.url} cannot be reached ${end}; is the server there, and does it let us in?`;
      const why = fault(text, { ...DISCONNECTED, details: { code, reason } });
      // Who closes it does not keep the session.
      if (code === 1006 || code === 1011) session.suspend(why);
      else session.end(why);
      gone.resolve(why);
    };
  }

  #flush() {
    const frames = this.#unsent.splice(0);
    if (this.socket.readyState !== 1) return;
    const batched = frames.length > 1 && this.session.features.includes("batch");
    for (const frame of batched ? joinFrames(frames, this.longest) : frames) this.socket.send(frame);
  }

  /** Ask for a sign of life every `ms` of silence; without one by the next time the connection is given up. */
  beat(ms) {
    let asked = -Infinity; // not a span of time: pages in the background seldom get their turn
    this.#beat = setInterval(() => {
      if (asked > this.#heard) {
        this.drop(1006, "silence");
      } else if (now() - this.#heard > ms / 2) {
        asked = now();
        this.session.request("POST", "/_wsx/ping", { timeout: ms });
      }
    }, ms);
    this.#beat.unref?.();
  }

  /** Close it once its last call has ended. */
  retire() {
    this.session.onidle = () => this.session.idle && this.drop(1000);
    this.session.onidle();
  }
}

/** Events of a topic: an async iterator that outlives its connections. `ready` resolves with `{sub, presence}`. */
class Subscription {
  #control = new AbortController();
  #ready = deferred();
  #events;
  #first;

  constructor(topic, { open, renew, onEvent, leave }) {
    this.ready = this.#ready.promise;
    if (leave?.aborted) this.close();
    leave?.addEventListener("abort", () => this.close(), { once: true, signal: this.#control.signal });
    this.#events = this.#follow(topic, open, renew);
    this.#first = this.#events.next(); // it begins at once, and not with the first event that is asked for
    this.#first.catch(() => {});
    if (onEvent) this.done = this.#deliver(onEvent);
    this.done?.catch(() => {});
  }

  next() {
    const first = this.#first ?? this.#events.next();
    this.#first = null;
    return first;
  }

  async return() {
    this.close();
    return { value: undefined, done: true };
  }

  [Symbol.asyncIterator]() {
    return this;
  }

  /** Leave the topic. */
  close() {
    this.#control.abort();
  }

  async #deliver(onEvent) {
    for await (const event of this) {
      try {
        await onEvent(event);
      } catch (error) {
        (globalThis.reportError ?? console.error)(error);
      }
    }
  }

  async *#follow(topic, open, renew) {
    const { signal } = this.#control;
    try {
      for (let joined = false, renewed = false, pause = false; ; ) {
        try {
          const call = await open(signal, pause);
          for await (const { data, headers } of call.items) {
            if (data?.sub !== undefined && data.event === undefined) {
              this.#ready.resolve(data);
              this.presence = data.presence;
              const missed = joined; // something may have been, after a reconnect, and the event says so
              joined = true;
              if (data.presence || missed) yield { event: "sync", topic, data: data.presence ?? null, dropped: 0 };
            } else {
              yield { ...data, dropped: Number(headers["wsx-dropped"] ?? 0) };
            }
          }
          return;
        } catch (error) {
          const expired = isExpired(error);
          if (expired ? renewed || !(await renew(signal)) : !isLost(error) && !isUnrun(error)) throw error;
          renewed = expired;
          pause = !expired && isUnrun(error);
        }
      }
    } catch (error) {
      this.#ready.reject(error);
      if (!signal.aborted) throw error;
    }
  }
}

/** A client that keeps one connection open: see `connect`. */
export class WsxClient {
  #url;
  #options;
  #handlers;
  #session = null;
  #last = null;
  #ready = deferred();
  #over = null;
  #done = deferred();
  #links = new Set();
  #renewing = null;
  #wake = () => {};
  #shown = null;
  #schema = {};

  /** Connects when `connect` is called. */
  constructor(url, options = {}) {
    this.#url = socketUrl(url);
    this.#options = {
      timeout: 30_000, connectTimeout: 10_000, reconnect: true, retries: 3, backoff: 500, maxBackoff: 30_000,
      maxBytes: 2 ** 24, ...options,
    };
    this.#handlers = new Map(Object.entries(options.handlers ?? {}));
    if (options.Big) useBig(options.Big);
  }

  /** Open the connection; WsxError when it cannot be opened, or the credentials are refused. */
  async connect() {
    try {
      const link = await this.#open();
      globalThis.addEventListener?.("pagehide", this.#hide);
      this.#keep(link).catch((error) => this.#finish(error));
    } catch (error) {
      this.#finish(error);
      throw error;
    }
    return this;
  }

  /** `connecting`, `open` or `closed`. */
  get state() {
    if (this.#over) return "closed";
    return this.#session ? "open" : "connecting";
  }

  /** Resolves once the client is closed for good, with the reason if it was not asked to. */
  get closed() {
    return this.#done.promise;
  }

  get(path, query, options) {
    return this.call("GET", path, { ...options, query });
  }

  post(path, data, options) {
    return this.call("POST", path, { ...options, data });
  }

  put(path, data, options) {
    return this.call("PUT", path, { ...options, data });
  }

  patch(path, data, options) {
    return this.call("PATCH", path, { ...options, data });
  }

  del(path, query, options) {
    return this.call("DELETE", path, { ...options, query });
  }

  /** The data of the answer: `options` are query, data, headers, cookies, timeout (ms), signal and types. */
  async call(method, path, options) {
    return (await this.request(method, path, options)).data;
  }

  /** The whole answer: `{status, headers, cookies, data}`; WsxError when its status is 400 or more. */
  async request(method, path, options = {}) {
    const { timeout = this.#options.timeout, signal, data } = options;
    const until = now() + timeout;
    for (const tries = { count: 0, renewed: path === "/_wsx/auth" }; ; ) {
      const session = await this.#current(until, signal);
      try {
        return await session.request(method, path, { ...options, timeout: until - now() }).response;
      } catch (error) {
        if (data?.[Symbol.asyncIterator]) throw error;
        await this.#again(error, tries, { until, signal, twice: method === "GET" });
      }
    }
  }

  /** Wait until a call that ended so may be made again; its error where it may not. */
  async #again(error, tries, { until, signal, twice = false }) {
    if (isExpired(error)) {
      if (tries.renewed || !(await this.#renew())) throw error;
      tries.renewed = true;
      return;
    }
    tries.count += 1;
    const pause = this.#jitter(tries.count);
    const may = isUnrun(error) || (twice && isLost(error));
    if (!may || tries.count > this.#options.retries || now() + pause > until) throw error;
    await sleep(pause, signal);
  }

  /** Show the credentials there are by now, where a function gives them; whether they were accepted. */
  #renew() {
    const { auth } = this.#options;
    const show = async () => {
      const shown = typeof auth === "function" ? await auth() : undefined;
      if (shown === undefined) return false;
      this.identity = (await this.call("POST", "/_wsx/auth", { data: shown }))?.identity ?? this.identity;
      return true;
    };
    // Many calls may find out at the same moment; after a loss the next connection has been shown them.
    this.#renewing ??= show().catch(isLost).finally(() => { this.#renewing = null; });
    return this.#renewing;
  }

  /** The items of a streamed answer; async-iterable `data` makes it bidirectional. `credit` is how many may wait. */
  async *stream(path, query, { method, data, credit = WINDOW, timeout, signal, headers, types } = {}) {
    const until = now() + (timeout ?? this.#options.timeout);
    const options = { query, data, credit, timeout, signal, headers, types };
    for (let begun = Boolean(data?.[Symbol.asyncIterator]), tries = { count: 0, renewed: false }; ; ) {
      const session = await this.#current(until, signal);
      const call = session.request(method ?? (data === undefined ? "GET" : "POST"), path, options);
      try {
        for await (const item of call.items) {
          begun = true;
          yield item.data;
        }
        return;
      } catch (error) {
        if (begun) throw error;
        await this.#again(error, tries, { until, signal });
      }
    }
  }

  /**
   * The events of a topic (`*` one segment, `**` the rest): `{event, topic, data, dropped}`, where `sync` brings who
   * is present. It is an async iterator, or calls `onEvent` and waits for it; either way it survives reconnects.
   * `credit` is how many events may wait, `signal` leaves the topic, `types` are those of its events.
   */
  subscribe(topic, filter, onEvent, { credit = WINDOW, signal: leave, headers, types } = {}) {
    const open = async (signal, pause) => {
      if (pause) await sleep(this.#jitter(3), signal);
      const session = await this.#current(Infinity, signal);
      return session.request("SUBSCRIBE", topic, { data: filter, credit, signal, headers, types });
    };
    const renew = (signal) => within(this.#renew(), Infinity, null, signal);
    return new Subscription(topic, { open, renew, onEvent, leave });
  }

  /** Tell the server something that it does not answer. */
  async event(path, data, { method = "POST", query, headers } = {}) {
    (await this.#current(now() + this.#options.timeout)).notify(method, path, { query, data, headers });
  }

  /** Answer calls of the server: `handler({method, path, query, data, headers, signal})`, async generators stream. */
  handle(path, handler) {
    this.#handlers.set(path, handler);
  }

  /** Milliseconds to the server and back. */
  async ping() {
    const start = now();
    await this.call("POST", "/_wsx/ping");
    return now() - start;
  }

  /** The server's OpenAPI document, with `x-wsx` at each operation; sent again only when it has changed. */
  async schema() {
    const { etag } = this.#schema;
    const headers = etag && { "if-none-match": etag };
    const answer = await this.request("GET", "/_wsx/schema", { headers });
    if (answer.status !== 304) this.#schema = { etag: answer.headers.etag, document: answer.data };
    return this.#schema.document;
  }

  /** Show new credentials on the open connection, and on those to come. */
  async authenticate(auth) {
    this.identity = (await this.call("POST", "/_wsx/auth", { data: auth }))?.identity ?? this.identity;
    this.#options.auth = auth;
  }

  /** Close the connection; calls that are open end with 499 CANCELLED. */
  close() {
    this.#finish(null);
  }

  async #open() {
    const {
      auth, connectTimeout, maxBytes, onBroadcast, reconnect, types, WebSocket = globalThis.WebSocket,
    } = this.#options;
    if (!WebSocket) throw new TypeError("There is no WebSocket here; pass one: connect(url, { WebSocket }).");
    const options = { handlers: this.#handlers, maxBytes, onBroadcast, resumes: reconnect, types };
    if (!this.#last?.suspended) this.#last = new Session(options);
    const link = new Link(new WebSocket(this.#url, "wsx.1"), this.#last);
    this.#links.add(link);
    link.gone.then(() => this.#links.delete(link));
    try {
      await within(link.opened, connectTimeout, fault("The server does not answer.", DISCONNECTED));
      const shown = typeof auth === "function" ? await auth() : auth;
      const answer = await link.session.hello({ auth: shown, timeout: connectTimeout });
      const { identity = null, limits = {}, features = [], heartbeat_s } = answer;
      Object.assign(this, { identity, limits, features });
      link.longest = Math.min(BATCH.length, limits.message / 3 || Infinity);
      link.beat(1000 * (heartbeat_s >= 1 && heartbeat_s < 3600 ? heartbeat_s : 20));
    } catch (error) {
      link.drop(1006);
      throw error;
    }
    return link;
  }

  /** One connection after the other, until the client is closed. */
  async #keep(first) {
    for (let link = first, attempt = 0; !this.#over; ) {
      let pause = this.#jitter((attempt += 1));
      if (link) {
        const since = now();
        const why = await this.#use(link);
        if (this.#over) return;
        if (!this.#options.reconnect) {
          link.retire();
          throw await link.gone;
        }
        if (now() - since > 5000) attempt = 0;
        if (!(why instanceof WsxError)) {
          pause = why.after_ms + Math.random() * 1000;
          link.retire();
        } else if (why.details.code === 4401 && typeof this.#options.auth !== "function") {
          throw fault("The credentials have expired.", { status: 401, code: "UNAUTHENTICATED" });
        }
      }
      await this.#rest(pause);
      await this.#shown?.promise;
      if (this.#over) return;
      try {
        link = await this.#open();
      } catch (error) {
        link = null;
        if (error.status === 401 || error.status === 403) throw error;
        tell(this.#options.onError, error);
      }
    }
  }

  /** Send calls over a connection, until it is gone or should be left: what ended it. */
  async #use(link) {
    this.#session = link.session;
    link.session.onleave = () => {
      if (this.#session !== link.session) return;
      this.#session = null;
      this.#ready = deferred();
      if (!this.#over) tell(this.#options.onState, "connecting");
    };
    this.#ready.resolve();
    tell(this.#options.onState, "open");
    const why = await Promise.race([link.gone, link.session.goaway]);
    link.session.onleave(); // it may have been lost before all this
    return why;
  }

  async #current(until, signal) {
    while (!this.#session) {
      if (this.#over) throw this.#over;
      const late = fault("There was no connection in time.", { ...DEADLINE, retry: true });
      await within(this.#ready.promise, until - now(), late, signal);
    }
    return this.#session;
  }

  /** Wait, but not when the network is back or the client is closed. */
  async #rest(ms) {
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => resolve(clearTimeout(timer));
      globalThis.addEventListener?.("online", this.#wake);
    });
    globalThis.removeEventListener?.("online", this.#wake);
  }

  // A page that was left may be kept for the way back, and would go on being present.
  #hide = () => {
    this.#shown = deferred();
    for (const link of this.#links) link.drop(1000, "the page was left");
    globalThis.addEventListener("pageshow", this.#shown.resolve, { once: true });
  };

  #jitter(attempt) {
    const { backoff, maxBackoff } = this.#options;
    return Math.random() * Math.min(maxBackoff, backoff * 2 ** (attempt - 1));
  }

  #finish(error) {
    if (this.#over) return;
    this.#over = error ?? fault("The client was closed.", CANCELLED);
    this.#session = null;
    this.#ready.reject(this.#over);
    this.#wake();
    this.#shown?.resolve();
    globalThis.removeEventListener?.("pagehide", this.#hide);
    for (const link of this.#links) {
      link.session.end(this.#over);
      link.drop(1000);
    }
    this.#last?.end(this.#over);
    this.#done.resolve(error);
    tell(this.#options.onState, "closed");
  }
}

/**
 * Connect to a server, at a URL that may be relative to the page.
 *
 * Options: `auth` (an object, or a function that gives one for each connection), `timeout` of a call in ms (30 s),
 * `handlers` by path for calls of the server, `Big`, `types` (a TypeTable) of calls that say nothing else, `WebSocket`
 * where there is none, `retries` of calls that did not run, `backoff` and `maxBackoff` in ms, `maxBytes` of a message,
 * `onBroadcast(data)` for what the server says to everybody or to this identity, `onState(state)`, `onError(error)` of
 * a connection that cannot be opened.
 */
export async function connect(url, options) {
  return new WsxClient(url, options).connect();
}
