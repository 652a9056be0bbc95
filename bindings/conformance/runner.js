'use strict';
// Does with the Node.js binding what the lines of its input say; the driver describes them.

const fs = require('node:fs');
const readline = require('node:readline');

let binding;
try {
  binding = require('../node/lib/index.js');
} catch (error) {
  if (error.code !== 'MESH_GOSSIP_ERR_ABI') throw error;
  binding = { failure: error };
}

const options = {};
const agents = {};
const readers = {};
const snapshots = {};

const failed = (code) => Object.assign(new Error(code), { code: `MESH_GOSSIP_ERR_${code}` });

function eventWords(event) {
  if (event.type === 'broadcast' || event.type === 'message') {
    return [event.type, event.topic, Buffer.from(event.payload).toString()];
  }
  if (event.type === 'overflow' || event.type === 'missed') return [event.type, event.lost];
  if (event.type === 'left') return [event.type, event.member.nodeId, event.reason];
  return event.member ? [event.type, event.member.nodeId] : [event.type];
}

function view(snapshot, status) {
  return [...snapshot]
    .filter((member) => status === undefined || member.status === status)
    .map(({ nodeId, status: its, lifecycle, labels }) => [
      nodeId, its, lifecycle, ...Object.keys(labels).sort().map((key) => `${key}=${labels[key]}`),
    ].join(':'))
    .sort();
}

/** Hands events to a function until it has had enough; false where none came in time. */
async function take(name, ms, enough) {
  const reader = readers[name] ??= { events: agents[name].events(), next: null };
  const over = new Promise((resolve) => { setTimeout(resolve, Number(ms), null).unref(); });
  for (;;) {
    // A wait that was given up is taken up again by the next call.
    reader.next ??= reader.events.next();
    const got = await Promise.race([reader.next, over]);
    if (got === null) return false;
    reader.next = null;
    if (got.done) return false;
    if (enough(got.value)) return true;
  }
}

async function awaited(name, kind, ms) {
  let words;
  const came = await take(name, ms, (event) => {
    words = eventWords(event);
    return event.type === kind;
  });
  if (!came) throw failed('TIMEOUT');
  return words;
}

async function tally(name, wanted, ms) {
  let taken = 0;
  let missed = 0;
  await take(name, ms, (event) => {
    if (event.type === 'broadcast') taken += 1;
    if (event.type === 'missed') missed += event.lost;
    return taken + missed >= Number(wanted);
  });
  return [taken + missed, missed > 0 ? 'marked' : 'whole'];
}

const acts = {
  load() {
    if (binding.failure) throw binding.failure;
  },
  async options(name, kind, text) {
    options[name] = { [kind === 'file' ? 'configFile' : 'config']: text, settings: {} };
    await binding.check({ ...options[name] });
  },
  async set(name, key, value) {
    const next = { ...options[name], settings: { ...options[name].settings, [key]: value } };
    await binding.check(next);
    options[name] = next;
  },
  async start(name, of, capacity) {
    const { Agent } = binding;
    agents[name] = await Agent.start({ ...options[of], eventsCapacity: Number(capacity), keepAlive: true });
  },
  address: (name) => [agents[name].address],
  node: (name) => [agents[name].nodeId],
  label: (name, key, value = null) => agents[name].setLabel(key, value),
  lifecycle: (name, to) => agents[name].setLifecycle(to),
  reload: (name) => agents[name].reload(),
  metadata: (name, region, key, value) => agents[name].setMetadata({ region, labels: { [key]: value } }),
  certificates(name, ...paths) {
    const [certificate, key, ca] = paths.map((path) => fs.readFileSync(path));
    return agents[name].reloadCertificates({ certificate, key, ca });
  },
  latest: (name, topic, key, said) => agents[name].broadcastLatest(Number(topic), BigInt(key), said),
  leave: (name) => agents[name].leave(5000),
  stop: (name) => agents[name].stop(),
  close: (name) => agents[name].close(),
  snapshot(name, snapshot) { snapshots[snapshot] = agents[name].snapshot(); },
  members: (snapshot) => view(snapshots[snapshot]),
  view: (name, status) => view(agents[name].snapshot(), status),
  await: awaited,
  tally,
  broadcast: (name, topic, said) => agents[name].broadcast(Number(topic), said),
  send: (name, topic, said) => agents[name].sendTo('0'.repeat(32), Number(topic), said),
  peers: async (name) => [(await agents[name].peers()).localNodeId],
  async leaders(name, scope) { await agents[name].leaders(scope); },
  async health(name) {
    const { ready, draining } = await agents[name].health();
    return [ready ? 'ready' : 'not ready', draining ? 'draining' : 'not draining'];
  },
  contacts: async (name) => [(await agents[name].contacts()).size],
};

async function answer(line) {
  // Half of a surrogate pair, and a zero, in the places of their marks.
  const [act, ...given] = line.replaceAll('<half>', '\ud800').replaceAll('<zero>', '\0').split('\t');
  try {
    return ['ok', ...(await acts[act](...given)) ?? []];
  } catch (error) {
    if (!error.code?.startsWith('MESH_GOSSIP_ERR_')) throw error;
    return ['error', error.code.slice('MESH_GOSSIP_ERR_'.length), error.field ?? '-'];
  }
}

(async () => {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    console.log((await answer(line)).join('\t'));
  }
  // Agents that are left open hold the process, as the C ABI's would.
  process.exit();
})();
