// What is known of a run, as a pure function of what was known and of what a message says.

/**
 * What is known after a message.
 *
 * @param state What was known: `{ cursor, run, jobs }`, each job with its log; null at first.
 * @param update A message of `workflowRunUpdates`.
 * @param isSnapshot Whether its jobs have their logs; otherwise its changes tell the lines that are new.
 */
export function afterUpdate(state, { cursor, run: { jobs, ...run }, changes }, isSnapshot) {
  if (isSnapshot) return { cursor, run, jobs };
  const logs = new Map(state.jobs.map(({ id, logs: lines }) => [id, lines]));
  for (const { __typename, job, line } of changes) {
    if (__typename === "WorkflowJobStart") logs.set(job.id, []); // when it is tried again, its log begins anew
    if (__typename === "WorkflowJobLogLine") logs.set(job.id, [...(logs.get(job.id) ?? []), line]);
  }
  return { cursor, run, jobs: jobs.map((job) => ({ ...job, logs: logs.get(job.id) ?? [] })) };
}

const ENDS = { SUCCESS: "has succeeded", FAILED: "has failed", CANCELED: "is canceled" };
const STATUSES = { ...ENDS, RUNNING: "goes on", WAITING: "waits for a manager's answer", PENDING_RESUME: "goes on" };

/** Changes in words, for who can't see them; empty when there is nothing to say. */
export function inWords(changes) {
  return changes.map(said).filter(Boolean).join(" ");
}

function said({ __typename, status, job }) {
  if (__typename === "WorkflowRunStatusChange") return STATUSES[status] ? `The run ${STATUSES[status]}.` : "";
  if (__typename === "WorkflowJobStart" && !job.isWaitPoint) return `${job.name} has started.`;
  if (__typename === "WorkflowJobEnd") return `${job.name} ${job.isWaitPoint ? "is answered" : ENDS[job.status]}.`;
  return "";
}
