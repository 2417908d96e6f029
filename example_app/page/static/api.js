// The only module that speaks to the server. Views follow data through it, and need not know that it polls.

const POLL_MS = 1500;
const LONGEST_PAUSE_MS = 6000;
const TIMEOUT_MS = 10000;

/** The server answered, and says in words why it did not do it. */
export class RefusedError extends Error {}

/** There was no answer that can be understood. */
export class AwayError extends Error {}

let token = null;

/** From now on, speak as this caller. */
export function callAs(name) {
  token = `demo-${name}`;
}

/** Run an operation, and return its data. */
export async function send(query, variables = {}) {
  const answer = await exchange(JSON.stringify({ query, variables }));
  if (answer.errors?.length) {
    throw new RefusedError(answer.errors.map(inWords).join(" "));
  }
  return answer.data;
}

/** What is wrong, with the name of the field where it is one. */
function inWords({ message, path, extensions }) {
  return extensions?.code === "BAD_USER_INPUT" && path?.length > 1 ? `${path.slice(1).join(".")}: ${message}` : message;
}

async function exchange(body) {
  const headers = { "content-type": "application/json", accept: "application/json", authorization: `Bearer ${token}` };
  try {
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    const response = await fetch("/graphql", { method: "POST", headers, body, signal, cache: "no-store" });
    const answer = await response.json();
    if (answer && typeof answer === "object" && ("data" in answer || answer.errors?.length)) return answer;
  } catch {
    // no connection, no answer in time, or the answer of something that is not the shop: the same to who looks at this
  }
  throw new AwayError("The shop did not answer. Look whether it was done before you try again.");
}

/**
 * Read again and again while the page is visible.
 *
 * @param read Makes a promise of data.
 * @param received Called with the data.
 * @param failed Called with the error; the reading goes on.
 * @returns `refresh()` reads now, `stop()` ends it.
 */
export function follow(read, received, failed) {
  let stopped = false;
  let pause = POLL_MS;
  let wake = () => {};
  let isAwaited = false;

  async function readOnce() {
    isAwaited = false;
    try {
      const data = await read();
      if (!stopped) received(data);
      pause = POLL_MS;
    } catch (error) {
      if (!stopped) failed(error);
      pause = error instanceof AwayError ? Math.min(pause * 1.5, LONGEST_PAUSE_MS) : POLL_MS;
    }
  }

  async function run() {
    while (!stopped) {
      await readOnce();
      if (!isAwaited) await paused();
    }
  }

  function paused() {
    return new Promise((resolve) => {
      const timer = setTimeout(() => !document.hidden && wake(), pause);
      const onVisible = () => !document.hidden && wake();
      document.addEventListener("visibilitychange", onVisible);
      wake = () => {
        clearTimeout(timer);
        document.removeEventListener("visibilitychange", onVisible);
        resolve();
      };
    });
  }

  run();
  return {
    refresh() {
      isAwaited = true;
      wake();
    },
    stop() {
      stopped = true;
      wake();
    },
  };
}
