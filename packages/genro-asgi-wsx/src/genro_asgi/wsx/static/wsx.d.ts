// Types of wsx.js.

/** A value that travels with its type: all of JSON, and Date, Decimal, bigint, bytes, Map and Set on the way out. */
export type Value = unknown;

export interface WsxErrorOptions {
  status?: number;
  code?: string;
  retry?: boolean;
  details?: unknown;
  id?: string | null;
  pointer?: string;
}

/** What a peer said no with, or what went wrong on the way; `retry` is true only where no handler has run. */
export class WsxError extends Error {
  constructor(text: string, options?: WsxErrorOptions);
  static from(response: { id?: string | null; status: number; data?: unknown }): WsxError;
  readonly status: number;
  readonly code: string;
  readonly retry: boolean;
  readonly details: any;
  readonly id: string | null;
  readonly pointer: string;
}

/** A decimal number as its text, where there is no big.js. */
export class Decimal {
  constructor(value: string | number | bigint | { toString(): string });
  readonly text: string;
  toString(): string;
  toJSON(): string;
  [Symbol.toPrimitive](hint: string): number | string;
}

/** A Date that knows what it is: a day, a time of day, a moment, or a moment that came without a zone. */
export class TypedDate extends Date {
  constructor(type: "D" | "H" | "DHZ" | "DH", value: number | string | Date, micros?: number, offset?: string);
  type: "D" | "H" | "DHZ" | "DH";
}

/** The day written YYYY-MM-DD. */
export function date(text: string): TypedDate;
/** The time of day written HH:MM[:SS[.ffffff]], with Z or an offset or nothing. */
export function time(text: string): TypedDate;
/** The moment written YYYY-MM-DDTHH:MM[:SS[.ffffff]] with Z, an offset or nothing; or what `new Date` takes. */
export function datetime(value: string | number | Date, type?: "DHZ" | "DH"): TypedDate;
/** Read decimals as instances of this class, such as big.js; undefined goes back to `globalThis.Big` or Decimal. */
export function useBig(Big: (new (text: string) => { toString(): string }) | undefined): void;

/** The types that values may have: those of TYTX, and classes of one's own by their suffixes. */
export class TypeTable {
  /** Let instances of a class travel as `literal::SUFFIX`; the suffix is all A-Z, and no other type's. */
  register<T>(
    Class: abstract new (...args: any[]) => T,
    suffix: string,
    write: (value: T) => string,
    read: (literal: string) => T,
  ): this;
  /** The same types, when the peer has more: plain strings with these suffixes are marked as text, too. */
  escaping(suffixes: string[]): TypeTable;
  /** Whether a plain string would be taken for a typed value. */
  looksTyped(text: string): boolean;
  /** The literal and the suffix of a typed string; undefined for any other. */
  split(text: string): [literal: string, suffix: string] | undefined;
  /** The value of a literal; what is thrown says what is wrong with it. */
  read(literal: string, suffix: string): any;
  /** The literal and the suffix of a value that JSON has no form for; undefined for any other value. */
  literalOf(value: Value): [literal: string, suffix: string] | undefined;
}

/** A value as a TYTX text. */
export function toTytx(value: Value, options?: { types?: TypeTable }): string;
/** The value of a TYTX text. */
export function fromTytx<T = any>(text: string, options?: { types?: TypeTable }): T;

export type Kind = "request" | "event" | "response" | "chunk" | "grant";
export interface Form {
  typed: boolean;
  prefixed: boolean;
}
/** Read one message; WsxError when it is wrong. */
export function decode(
  data: string | ArrayBuffer | Uint8Array,
  options?: { maxBytes?: number; types?: TypeTable },
): { kind: Kind; fields: Record<string, any>; form: Form };
/** The text of a message; fields that are undefined are left out. */
export function encode(
  fields: Record<string, Value>,
  options?: Partial<Form> & { marked?: boolean; types?: TypeTable },
): string;

export interface CallOptions {
  query?: Record<string, Value>;
  /** The payload; an async iterable goes out as a stream. */
  data?: Value | AsyncIterable<Value>;
  headers?: Record<string, string>;
  cookies?: Record<string, string>;
  /** Milliseconds; Infinity for none. */
  timeout?: number;
  signal?: AbortSignal;
  /** What the values of the call and of its answer may be; those of the connection when nothing is said. */
  types?: TypeTable;
}

export interface StreamOptions extends Omit<CallOptions, "query" | "cookies"> {
  /** GET, or POST when there is data. */
  method?: string;
  /** Items that may wait to be taken. */
  credit?: number;
}

export interface Answer<T = any> {
  status: number;
  headers: Record<string, string>;
  cookies: Record<string, { value: string; [attribute: string]: unknown }>;
  data: T;
}

/** A call of the server to this client. */
export interface ServerCall {
  id: string | null;
  method: string;
  path: string;
  query: Record<string, any>;
  headers: Record<string, string>;
  cookies: Record<string, any>;
  data: any;
  /** Aborted when the call is cancelled or its time is over. */
  signal: AbortSignal;
}

/** What it returns is the answer; an async iterable is streamed; a WsxError it throws is told as it is. */
export type Handler = (call: ServerCall) => Value | Promise<Value> | AsyncIterable<Value>;

/** Both sides of the calls of a connection, without its socket; one that the server keeps goes on over the next. */
export class Session {
  constructor(options?: {
    send?(frame: string): void;
    handlers?: Map<string, Handler>;
    onBroadcast?(data: any, about: { directed: boolean }): void;
    maxBytes?: number;
    /** Whether calls may go on over the next connection: true. */
    resumes?: boolean;
    /** What the values of calls in both directions may be. */
    types?: TypeTable;
  });
  /** What is said goes out here from now on; `room` is waited for before each item of a stream. */
  attach(connection: { send(frame: string): void; room?(): Promise<void> }): void;
  /** Say hello; what the peer answers. */
  hello(options?: { auth?: Auth; timeout?: number }): Promise<Record<string, any>>;
  /** Whether the connection was lost, and the calls wait for the next one. */
  readonly suspended: boolean;
  /** What both sides can do besides, as they told each other: "batch" lets arrays of messages come in. */
  features: string[];
  onidle: () => void;
  onleave: () => void;
  readonly goaway: Promise<{ reason?: string; after_ms?: number; grace_ms?: number }>;
  readonly idle: boolean;
  request<T = any>(
    method: string,
    path: string,
    options?: CallOptions & { credit?: number },
  ): {
    id: string;
    response: Promise<Answer<T>>;
    items?: AsyncIterableIterator<{ headers: Record<string, string>; data: T }>;
    cancel(error?: unknown): void;
  };
  notify(method: string, path: string, options?: Pick<CallOptions, "query" | "data" | "headers">): void;
  receive(data: string | ArrayBuffer): void;
  /** The connection is lost: calls that the peer keeps wait for the next one, and others end with the error. */
  suspend(error: unknown): void;
  /** It is over: every call ends with the error. */
  end(error: unknown): void;
}

export interface TopicEvent<T = any> {
  /** `message`, `snapshot`, `join`, `leave`, `sync`, or what the server calls it. */
  event: string;
  topic: string;
  data: T;
  /** Events left out before this one, because this client was too slow. */
  dropped: number;
}

/** The events of a topic; it outlives its connections. */
export interface Subscription<T = any> extends AsyncIterableIterator<TopicEvent<T>> {
  readonly ready: Promise<{ sub: string; presence?: any[] }>;
  /** Settled when the subscription has ended, where there is a callback. */
  readonly done?: Promise<void>;
  readonly presence?: any[];
  /** Leave the topic. */
  close(): void;
}

export type Auth = string | { authorization: string } | { token: string } | { username: string; password: string };

export interface ClientOptions {
  /** A function is asked for each new connection, and when the server finds that the credentials have ended. */
  auth?: Auth | (() => Auth | undefined | Promise<Auth | undefined>);
  /** Milliseconds for a call that says nothing else: 30 000. */
  timeout?: number;
  /** Milliseconds for opening a connection: 10 000. */
  connectTimeout?: number;
  handlers?: Record<string, Handler>;
  Big?: new (text: string) => { toString(): string };
  /** What the values of calls in both directions may be. */
  types?: TypeTable;
  WebSocket?: new (url: string, protocols: string) => any;
  /** Whether a connection that is lost is made again: true. */
  reconnect?: boolean;
  /** How often a call that did not run is made again: 3. */
  retries?: number;
  /** Milliseconds before the first reconnect, at most, and before any: 500 and 30 000. */
  backoff?: number;
  maxBackoff?: number;
  maxBytes?: number;
  onBroadcast?(data: any, about: { directed: boolean }): void;
  onState?(state: "open" | "connecting" | "closed"): void;
  onError?(error: unknown): void;
}

/** A client that keeps one connection open. */
export class WsxClient {
  constructor(url: string | URL, options?: ClientOptions);
  connect(): Promise<this>;
  readonly state: "connecting" | "open" | "closed";
  /** Resolves once the client is closed for good, with the reason if it was not asked to. */
  readonly closed: Promise<Error | null>;
  readonly identity: string | null;
  readonly limits: Record<string, number>;
  readonly features: string[];
  get<T = any>(path: string, query?: Record<string, Value>, options?: CallOptions): Promise<T>;
  post<T = any>(path: string, data?: Value, options?: CallOptions): Promise<T>;
  put<T = any>(path: string, data?: Value, options?: CallOptions): Promise<T>;
  patch<T = any>(path: string, data?: Value, options?: CallOptions): Promise<T>;
  del<T = any>(path: string, query?: Record<string, Value>, options?: CallOptions): Promise<T>;
  call<T = any>(method: string, path: string, options?: CallOptions): Promise<T>;
  request<T = any>(method: string, path: string, options?: CallOptions): Promise<Answer<T>>;
  stream<T = any>(
    path: string,
    query?: Record<string, Value>,
    options?: StreamOptions,
  ): AsyncGenerator<T, void, undefined>;
  subscribe<T = any>(
    topic: string,
    filter?: Value,
    /** Called for each event; the next one waits for a promise it returns. */
    onEvent?: (event: TopicEvent<T>) => void | Promise<void>,
    options?: { credit?: number; signal?: AbortSignal; types?: TypeTable; headers?: Record<string, string> },
  ): Subscription<T>;
  event(
    path: string,
    data?: Value,
    options?: { method?: string } & Pick<CallOptions, "query" | "headers">,
  ): Promise<void>;
  handle(path: string, handler: Handler): void;
  ping(): Promise<number>;
  /** The server's OpenAPI document; sent again only when it has changed. */
  schema(): Promise<Record<string, any>>;
  authenticate(auth: Auth): Promise<void>;
  close(): void;
}

/** Connect to a server, at a URL that may be relative to the page. */
export function connect(url: string | URL, options?: ClientOptions): Promise<WsxClient>;
