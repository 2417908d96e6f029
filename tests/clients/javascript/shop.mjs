// What the followers of runs share: the shop's operations, a proxy that cuts connections, and the check of what was told.
import assert from "node:assert/strict";
import net from "node:net";

export const ENDPOINT = new URL(process.env.SHOP_ENDPOINT);
export const CALLER = { authorization: "Bearer demo-alice" };

export const FOLLOW = `subscription Follow($id: ID!, $after: String) {
  workflowRunUpdates(id: $id, after: $after) {
    cursor
    run { status jobs { stackedName status logs } }
    changes {
      __typename
      ... on WorkflowRunStatusChange { status }
      ... on WorkflowJobStart { job { stackedName } }
      ... on WorkflowJobEnd { job { stackedName status } }
      ... on WorkflowJobProgress { job { stackedName } progress message }
      ... on WorkflowJobLogLine { job { stackedName } line }
    }
  }
}`;

const PLACE = `mutation { placeOrder(customerId: "alice", item: "Tea, \u8336, \ud83c\udf75", totalCents: 450) { id } }`;
const PROCESS = `mutation ($orderId: String!) {
  triggerOrderProcessing(orderId: $orderId, customerId: "alice") { workflowRunId }
}`;
const RECORD = "query ($id: ID!) { workflowRun(id: $id) { status jobs { stackedName status logs } } }";
const FINAL = ["SUCCESS", "FAILED", "CANCELED"];

export async function send(query, variables) {
  const response = await fetch(ENDPOINT, {
    method: "POST",
    headers: { ...CALLER, "content-type": "application/json" },
    body: JSON.stringify({ query, variables }),
  });
  const { data, errors } = await response.json();
  assert.equal(errors, undefined, JSON.stringify(errors));
  return data;
}

export async function startRun() {
  const { placeOrder } = await send(PLACE);
  return (await send(PROCESS, { orderId: placeOrder.id })).triggerOrderProcessing.workflowRunId;
}

/** A TCP proxy to the shop, whose connections can be cut as a network does: without a word of goodbye. */
export class Proxy {
  #sockets = new Set();
  #server = net.createServer((near) => {
    const far = net.connect(Number(ENDPOINT.port), ENDPOINT.hostname);
    for (const [from, to] of [[near, far], [far, near]]) {
      this.#sockets.add(from);
      from.on("data", (chunk) => to.write(chunk));
      from.on("error", () => {});
      from.on("close", () => { this.#sockets.delete(from); to.destroy(); });
    }
  });

  async listen() {
    await new Promise((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    return `127.0.0.1:${this.#server.address().port}${ENDPOINT.pathname}`;
  }

  cut() {
    for (const socket of this.#sockets) socket.destroy();
  }

  close() {
    this.cut();
    this.#server.close();
  }
}

/**
 * Follow a run to its end and return every update.
 *
 * A client sends its request again when it connects again: that with the last cursor, as the variables are changed.
 */
export async function follow(client, id, afterEach = () => {}) {
  const variables = { id, after: null };
  const updates = [];
  for await (const { data, errors } of client.iterate({ query: FOLLOW, variables })) {
    assert.equal(errors, undefined, JSON.stringify(errors));
    updates.push(data.workflowRunUpdates);
    variables.after = data.workflowRunUpdates.cursor;
    afterEach(data.workflowRunUpdates);
  }
  return updates;
}

export const isFinal = (update) => FINAL.includes(update.run.status);

/** Nothing was left out and nothing was told twice, from the first message to the end of the run. */
export async function checkTold(id, updates) {
  const record = (await send(RECORD, { id })).workflowRun;
  const [first, ...rest] = updates;
  assert.deepEqual(first.changes, [], "the first message is a snapshot");
  const before = first.run.jobs;
  const started = before.map((job) => job.stackedName);
  const ended = before.filter((job) => FINAL.includes(job.status)).map((job) => job.stackedName);
  const lines = Object.fromEntries(before.map((job) => [job.stackedName, [...job.logs]]));
  for (const { changes } of rest) {
    assert.notEqual(changes.length, 0, "an update tells something");
    for (const change of changes) {
      const name = change.job?.stackedName;
      if (change.__typename === "WorkflowJobStart") started.push(name);
      if (change.__typename === "WorkflowJobEnd") ended.push(name);
      if (change.__typename === "WorkflowJobLogLine") (lines[name] ??= []).push(change.line);
    }
  }
  const names = record.jobs.map((job) => job.stackedName).sort();
  assert.notEqual(names.length, 0);
  assert.deepEqual(started.sort(), names, "every job starts once");
  assert.deepEqual(ended.sort(), names, "every job ends once");
  for (const { stackedName, logs } of record.jobs) assert.deepEqual(lines[stackedName] ?? [], logs, stackedName);
  const statuses = rest.flatMap(({ changes }) => changes).filter((one) => one.__typename === "WorkflowRunStatusChange");
  assert.equal(record.status, "SUCCESS");
  assert.equal(updates.at(-1).run.status, "SUCCESS");
  assert.equal(statuses.at(-1).status, "SUCCESS", "the end is told");
  assert.equal(updates.filter(isFinal).length, 1, "nothing comes after the end");
  assert.equal(new Set(updates.map((update) => update.cursor)).size, updates.length, "every cursor comes once");
}

/** Follow one run undisturbed, and another while the connection is cut after every message. */
export async function checkFollowing(connect) {
  const whole = await startRun();
  const undisturbed = connect(`${ENDPOINT.host}${ENDPOINT.pathname}`);
  await checkTold(whole, await follow(undisturbed, whole));
  await undisturbed.dispose();

  const proxy = new Proxy();
  const disturbed = connect(await proxy.listen());
  const broken = await startRun();
  let cuts = 0;
  const updates = await follow(disturbed, broken, (update) => {
    if (isFinal(update)) return;
    cuts += 1;
    proxy.cut();
  });
  assert.notEqual(cuts, 0, "the run was over before anything could be cut");
  await checkTold(broken, updates);
  await disturbed.dispose();
  proxy.close();
  console.log(`${updates.length} updates over ${cuts + 1} connections`);
}
