// Following one run live: a snapshot, then what changes, over as many connections as it takes.

import { AwayError, RefusedError, subscribe } from "./api.js";
import { afterUpdate } from "./run-state.js";

const JOB = "id name stackedName status startedAt finishedAt error progress progressMessage isWaitPoint";
const UPDATES = `subscription ($id: ID!, $after: String, $isSnapshot: Boolean!) {
  workflowRunUpdates(id: $id, after: $after) {
    cursor
    run {
      id workflowName status createdAt startedAt finishedAt error progress progressMessage
      jobs { ${JOB} logs @include(if: $isSnapshot) }
      ... on OrderProcessingRun { input { orderId } output { isRefused note } }
    }
    changes {
      __typename
      ... on WorkflowRunStatusChange { status }
      ... on WorkflowJobStart { job { id name isWaitPoint } }
      ... on WorkflowJobEnd { job { id name isWaitPoint status } }
      ... on WorkflowJobLogLine { job { id } line }
    }
  }
}`;

const FIRST_PAUSE_MS = 400;
const LONGEST_PAUSE_MS = 5000;
export const FINAL = new Set(["SUCCESS", "FAILED", "CANCELED"]);

/**
 * Follow a run until it has ended.
 *
 * @param id The run's.
 * @param connected Called when the server listens.
 * @param received Called with what is known of the run, and with the changes that led there; none in the snapshot.
 * @param failed Called with an error. When that is an `AwayError`, this goes on trying, where it was.
 * @returns `goOn()` follows it anew, from where it was, when it had ended; `stop()` ends it.
 */
export function followRun(id, { connected, received, failed }) {
  const ending = new AbortController();
  const { signal } = ending;
  let state = null;
  let pause = FIRST_PAUSE_MS;
  let isFollowing = false;

  async function read(variables, isEnough) {
    for await (const { workflowRunUpdates: update } of subscribe(UPDATES, { id, ...variables }, signal, connected)) {
      if (signal.aborted) return;
      state = afterUpdate(state, update, variables.isSnapshot);
      pause = FIRST_PAUSE_MS;
      received(state, update.changes);
      if (isEnough()) return;
    }
  }

  const hasEnded = () => FINAL.has(state?.run.status);

  async function connect() {
    // each message of a snapshot would hold whole logs, so only its first is read
    if (state === null) await read({ after: null, isSnapshot: true }, () => true);
    if (signal.aborted || hasEnded()) return;
    await read({ after: state.cursor, isSnapshot: false }, hasEnded);
    if (!hasEnded()) throw new AwayError(); // the server is being stopped
  }

  async function follow() {
    isFollowing = true;
    while (!signal.aborted) {
      try {
        await connect();
        break;
      } catch (error) {
        if (signal.aborted) break;
        const isLost = error instanceof RefusedError && error.code === "BAD_USER_INPUT" && state !== null;
        if (!isLost) failed(error);
        if (isLost) state = null; // another version of the server does not know its cursor
        else if (!(error instanceof AwayError)) break;
        await paused(pause * (0.5 + Math.random() / 2), signal);
        pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
      }
    }
    isFollowing = false;
  }

  follow();
  return {
    goOn() {
      if (isFollowing || !hasEnded()) return;
      state = { ...state, run: { ...state.run, status: "PENDING_RESUME" } };
      follow();
    },
    stop() {
      ending.abort();
    },
  };
}

function paused(milliseconds, signal) {
  return new Promise((resolve) => {
    const listening = new AbortController();
    const go = () => {
      clearTimeout(timer);
      listening.abort();
      resolve();
    };
    const timer = setTimeout(go, milliseconds);
    window.addEventListener("online", go, { signal: listening.signal });
    signal.addEventListener("abort", go, { signal: listening.signal });
  });
}
