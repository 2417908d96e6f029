// The only module that speaks to the server: operations by POST, and subscriptions as server-sent events, which take
// the caller's token in a header, as WebSockets in browsers do not. The protocol is GraphQL over Server-Sent Events, in
// its distinct connections mode.

import { eventsOf } from "./events.js";

const TIMEOUT_MS = 10000;
const LEAST_SKEW_MS = 5000; // servers tell the time in whole seconds, and answers take theirs
const LONGEST_SILENCE_MS = 45000; // the server says something every few seconds, be it a comment

/** The server answered, and says in words why it did not do it; `code` says it to programs. */
export class RefusedError extends Error {
  constructor(errors) {
    super(errors.map(inWords).join(" "));
    this.code = errors[0].extensions?.code;
  }
}

/** There was no answer that can be understood, or one that says to try again. */
export class AwayError extends Error {
  constructor() {
    super("The shop did not answer. Look whether it was done before you try again.");
  }
}

let token = null;
let clockSkew = 0;

/** From now on, speak as this caller. */
export function callAs(name) {
  token = `demo-${name}`;
}

/** The time of the server's clock, as near as its answers tell. */
export function serverNow() {
  return Date.now() + clockSkew;
}

/** Run an operation, and return its data. A mutation takes a key, under which the server starts a run once. */
export async function send(query, variables = {}, key = null) {
  const response = await post({ query, variables }, "application/json", AbortSignal.timeout(TIMEOUT_MS), key);
  return dataOf(await understood(() => response.json()));
}

/**
 * The data of a subscription, until it ends.
 *
 * @param signal Ends it.
 * @param opened Called when the server takes it, which may be long before it says anything.
 */
export async function* subscribe(query, variables, signal, opened) {
  const silence = new AbortController();
  let timer = null;
  const heard = () => {
    clearTimeout(timer);
    timer = setTimeout(() => silence.abort(), LONGEST_SILENCE_MS);
  };
  heard();
  try {
    const response = await post({ query, variables }, "text/event-stream", AbortSignal.any([signal, silence.signal]));
    if (!response.headers.get("content-type")?.startsWith("text/event-stream")) {
      dataOf(await understood(() => response.json()));
      throw new AwayError();
    }
    opened();
    const reader = response.body.getReader();
    for await (const { name, data } of eventsOf(() => understood(() => reader.read()))) {
      heard();
      if (name === "next") yield dataOf(await understood(() => JSON.parse(data)));
      if (name === "complete") return;
    }
  } finally {
    clearTimeout(timer);
    silence.abort(); // closes the connection, when whoever reads this wants no more
  }
}

async function post(body, accept, signal, key = null) {
  const headers = { "content-type": "application/json", accept, authorization: `Bearer ${token}` };
  if (key !== null) headers["idempotency-key"] = key;
  const options = { method: "POST", headers, body: JSON.stringify(body), signal, cache: "no-store" };
  const response = await understood(() => fetch("/graphql", options));
  const skew = Date.parse(response.headers.get("date")) - Date.now();
  clockSkew = Math.abs(skew) > LEAST_SKEW_MS ? skew : 0;
  return response;
}

/** No connection, no answer in time, or the answer of something that is not the shop: the same to who looks at this. */
async function understood(attempt) {
  try {
    return await attempt();
  } catch {
    throw new AwayError();
  }
}

function dataOf(answer) {
  const errors = answer?.errors ?? [];
  if (errors.some(({ extensions }) => extensions?.retryable)) throw new AwayError();
  if (errors.length > 0) throw new RefusedError(errors);
  if (answer?.data === undefined) throw new AwayError();
  return answer.data;
}

/** What is wrong, with the name of the field where it is one. */
function inWords({ message, path, extensions }) {
  return extensions?.code === "BAD_USER_INPUT" && path?.length > 1 ? `${path.slice(1).join(".")}: ${message}` : message;
}
