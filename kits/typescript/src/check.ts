/** A client of the check API: docs/check-api.md. It needs nothing but `fetch`. */

/** The verdict on one of several numbers. */
export interface NumberStamp {
  verdict: "allowed" | "blocked";
  reason: string;
  /** Why it is an invalid number. */
  why?: string | null;
  number?: string | null;
  registers?: string[];
  rules?: string;
  residence?: string;
  until?: string | null;
  rests_until?: string;
}

/** A verdict with its evidence, as in /openapi.json: docs/dialler.md explains every member. */
export interface Stamp {
  verdict: "allowed" | "blocked";
  reason: string;
  /** Why the prospect is unreadable, or its only number invalid; its member, and the schema's id. */
  why?: string | null;
  member?: string;
  schema?: string;
  channel?: string;
  cause?: string;
  from?: string;
  timestamp?: number | null;
  /** Dial this. Absent if it is not valid, or there are several. */
  number?: string | null;
  registers?: string[];
  numbers?: NumberStamp[];
  /** Those of several numbers that may be called. */
  callable?: string[];
  index: number;
  rules?: string;
  residence?: string;
  at: string;
  /** The last day on which the person may be called, in the country of the number. */
  until?: string | null;
  rests_until?: string;
  call?: { zones?: string[]; windows?: string[]; local?: string; not_on?: string[] } | null;
  /** Whether a call may begin now, where the law asks for hours; if not, `next` says from when on. */
  callable_now?: boolean | null;
  next?: string;
}

/** What a prospect would state about the call: docs/producer.md. */
export interface Facts {
  region?: string;
  purpose?: string | string[];
  contract?: boolean | string | number | Record<string, string>;
  campaign?: string | number | (string | number)[];
  channel?: string;
  who?: string;
  relation?: string | Record<string, string>;
  voice_kind?: string;
  residence?: string;
}

/** There is no verdict: do not dial. `status` is that of the server's answer; 0 if none came. */
export class Unknown extends Error {
  constructor(
    why: string,
    readonly status = 0,
  ) {
    super(why);
  }
}

const NO_SCHEME = "the address has no scheme: write http:// or https:// in front";
const REFUSED = "the connection was refused: start the server, or correct the address and the port";
const UNTRUSTED = "the server's certificate is not trusted: name your authority's file in NODE_EXTRA_CA_CERTS, or correct the host name";
const TIMED_OUT = "no answer came in time: look whether the server hangs, or raise the deadline";
const TRY_AGAIN = new Set([408, 425, 429, 500, 502, 503, 504]);
const ALLOWING = new Set(["clear", "consented", "contract", "exempt"]);
const BODY_MAX = 64 << 20;
const APART_MAX_MS = 300_000; // between a stamp's moment and this machine's clock
const LAST_ZONE_MS = 12 * 3_600_000; // a day ends last on earth where clocks are so far behind UTC
const [LAST, LEAST] = [6, 4]; // digits that are compared; with fewer numbers cannot be distinguished

interface Answer {
  status: number;
  retryAfter: string;
  isPacked: boolean;
  body: string;
}

/** Asks the server at `url`. `deadlineMs` is that of a whole call: failures that may pass are tried again until then. */
export class CheckClient {
  readonly #url: string;
  readonly #headers: Record<string, string>;

  constructor(
    url: string,
    token?: string,
    readonly deadlineMs = 2000,
  ) {
    this.#url = `${url.replace(/\/+$/, "")}/v1/check`;
    this.#headers = { "Content-Type": "application/json", Accept: "application/json", "Accept-Encoding": "identity" };
    if (token) this.#headers["Authorization"] = `Bearer ${token}`;
  }

  /** The verdict on one number, or on a person with several. Throws Unknown if there is none in time. */
  async check(numbers: string | string[], facts: Facts = {}): Promise<Stamp> {
    if (!/^https?:\/\//i.test(this.#url)) throw new Unknown(NO_SCHEME);
    const body = JSON.stringify({ ...facts, number: numbers });
    const ends = performance.now() + this.deadlineMs;
    let best: Answer | undefined; // the last one, but rather a server's answer than none
    let why = TIMED_OUT; // there is no answer: the last cause that is known
    for (let tries = 0; ; tries++) {
      const outcome = await this.#ask(body, ends);
      if (typeof outcome === "string") why = outcome || why;
      else best = outcome;
      const pause = pauseMs(best, tries);
      if ((best && !TRY_AGAIN.has(best.status)) || performance.now() + pause >= ends) break;
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
    if (!best) throw new Unknown(why);
    return verdictOf(best, [numbers].flat());
  }

  /** One try: an answer, or why none came; empty if that is not known. */
  async #ask(body: string, ends: number): Promise<Answer | string> {
    const signal = AbortSignal.timeout(Math.max(1, Math.ceil(ends - performance.now())));
    try {
      const request = { method: "POST", headers: this.#headers, body, signal, redirect: "manual" } as const;
      const answer = await fetch(this.#url, request);
      const encoding = answer.headers.get("content-encoding") ?? "identity";
      return {
        status: answer.status,
        retryAfter: answer.headers.get("retry-after") ?? "",
        isPacked: encoding !== "identity",
        body: encoding === "identity" ? await textOf(answer) : "",
      };
    } catch (error) {
      return causeOf(error);
    }
  }
}

/** By Node's code alone: the error's text may name what was asked. */
function causeOf(error: unknown): string {
  const code = String((error as { cause?: { code?: unknown } }).cause?.code ?? "");
  if (code === "ECONNREFUSED") return REFUSED;
  return /CERT|SIGNATURE|ISSUER/.test(code) ? UNTRUSTED : "";
}

async function textOf(answer: Response): Promise<string> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  const reader = answer.body?.getReader();
  let [text, size] = ["", 0];
  for (let next = await reader?.read(); next?.value; next = await reader?.read()) {
    size += next.value.length;
    if (size > BODY_MAX) throw new Error("too large");
    text += decoder.decode(next.value, { stream: true });
  }
  return text + decoder.decode();
}

/** As long as the server says, else longer each time, and not the same for all clients. */
function pauseMs(answer: Answer | undefined, tries: number): number {
  const own = Math.min(1000, 50 * 2 ** tries) * (0.5 + Math.random() / 2);
  return /^[0-9]{1,9}$/.test(answer?.retryAfter ?? "") ? Math.max(own, 1000 * Number(answer?.retryAfter)) : own;
}

function verdictOf(answer: Answer, numbers: string[]): Stamp {
  const need = (isSo: unknown, otherwise: string): void => {
    if (!isSo) throw new Unknown(otherwise, answer.status);
  };
  need(answer.status === 200, `the server answered ${answer.status}`);
  need(!answer.isPacked, "the answer is compressed");
  const stamp = stampIn(answer.body);
  if (!stamp) throw new Unknown("the answer is not a stamp", answer.status);
  need(isAbout(stamp, numbers), "the answer is about another number");
  const apart = Math.abs(Date.parse(stamp.at) - Date.now());
  need(/(Z|[+-]\d\d:\d\d)$/.test(stamp.at) && apart <= APART_MAX_MS, "the answer is of another moment");
  const lastDay = new Date(Date.now() - LAST_ZONE_MS).toISOString().slice(0, 10);
  need(!stamp.until || stamp.until >= lastDay, "the answer has lapsed");
  return stamp;
}

function stampIn(body: string): Stamp | undefined {
  try {
    const stamp = JSON.parse(body) as Partial<Stamp> | null;
    // Parsers differ in which of two members of one name they read.
    const names = [...body.matchAll(/"(?:[^"\\]|\\.)*"(\s*:)?/g)].filter((each) => each[1]).length;
    const isKnown = stamp?.verdict === "allowed" ? ALLOWING.has(stamp.reason ?? "") : stamp?.verdict === "blocked";
    const isWhole = isKnown && Number.isInteger(stamp?.index) && typeof stamp?.at === "string";
    const isSound = isWhole && /^\d{4}-\d\d-\d\d$/.test(stamp?.until ?? "0000-00-00") && names === countNames(stamp);
    return isSound && numbersIn(stamp as Stamp).every((each) => /^\+[1-9]\d{1,18}$/.test(each)) ? (stamp as Stamp) : undefined;
  } catch {
    return undefined; // no JSON, too deep, or a member of another type
  }
}

/** The numbers that a stamp is about, and those that it says may be called. */
function numbersIn(stamp: Stamp): string[] {
  const found = [stamp.number, ...(stamp.numbers ?? []).map((each) => each.number), ...(stamp.callable ?? [])];
  return found.filter((each) => each != null);
}

function countNames(value: unknown): number {
  if (typeof value !== "object" || value === null) return 0;
  const own = Array.isArray(value) ? 0 : Object.keys(value).length;
  return Object.values(value).reduce<number>((sum, each) => sum + countNames(each), own);
}

/** Whether a stamp's numbers are those of the question, as far as their last digits show: proxies mix answers up. */
function isAbout(stamp: Stamp, numbers: string[]): boolean {
  const judged = numbersIn(stamp);
  const ends = numbers
    .flatMap((number) => number.split(/[\p{L}#;,]+/u)) // what begins an extension, or is no part of the number
    .map((piece) => piece.replace(/[^0-9]/g, "").replace(/^0+/, ""))
    .filter((digits) => digits.length >= LEAST)
    .map((digits) => digits.slice(-LAST));
  if (!judged.length || !ends.length) return stamp.verdict === "blocked";
  return judged.every((each) => ends.some((end) => each.endsWith(end)));
}
