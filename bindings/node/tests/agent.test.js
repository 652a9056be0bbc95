'use strict';

const assert = require('node:assert/strict');
const { execFileSync, spawnSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { after, before, test } = require('node:test');
const { Agent, MeshGossipError, check, features, version } = require('../lib/index.js');
const native = require('../lib/native.js');
const { Mesh, eventsUntil, until } = require('./mesh.js');

const limits = { timeout: 60_000 };
let mesh;
before(() => { mesh = new Mesh(); });
after(() => mesh.end());

/** Runs a program that starts an agent of its own, and gives how it ended. */
function program(name, body, environment = {}) {
  const text = `
    const { Agent } = require(${JSON.stringify(path.resolve(__dirname, '../lib/index.js'))});
    const options = ${JSON.stringify({ ...mesh.options(name), keepAlive: false })};
    (async () => {${body}})();`;
  return spawnSync(process.execPath, ['--expose-gc', '-e', text], {
    encoding: 'utf8', timeout: 30_000, env: { ...process.env, ...environment },
  });
}

test('the library tells its version', limits, () => {
  assert.match(version, /^\d+\.\d+\.\d+/);
  assert.equal(typeof features, 'bigint');
});

test('a library of another ABI is refused at load', limits, () => {
  const dir = path.join(mesh.dir, 'other-abi');
  fs.mkdirSync(dir);
  const source = 'unsigned mesh_gossip_abi_version(void) { return 99; }';
  execFileSync(process.env.CC ?? 'cc', ['-shared', '-fPIC', '-x', 'c', '-', '-o', path.join(dir, 'libmesh_gossip.so')],
    { input: source });
  const { status, stderr } = program('refused', '', { LD_LIBRARY_PATH: dir });
  assert.notEqual(status, 0);
  assert.match(stderr, /libmesh_gossip has ABI version 99, this binding needs 1/);
  assert.match(stderr, /MESH_GOSSIP_ERR_ABI/);
});

test('bad options tell code and field', limits, async () => {
  const config = { mesh: { gossip: { fanuot: 4 } } };
  await assert.rejects(Agent.start({ config }), (error) => {
    assert.ok(error instanceof MeshGossipError && error instanceof Error);
    assert.equal(error.code, 'MESH_GOSSIP_ERR_CONFIG');
    assert.equal(error.number, 5);
    assert.equal(error.field, 'mesh:gossip:fanuot');
    assert.match(error.message, /fanout/);
    assert.match(error.stack, /agent\.test\.js|agent\.js/);
    return true;
  });
  await assert.rejects(check({ config }), { field: 'mesh:gossip:fanuot' });
  await check(mesh.options('good'));
  await assert.rejects(Agent.start({ config: '{' }), { code: 'MESH_GOSSIP_ERR_CONFIG' });
  await assert.rejects(Agent.start(mesh.options('bad-1', { interval: 5 })), { code: 'MESH_GOSSIP_ERR_CONFIG' });
  await assert.rejects(Agent.start(mesh.options('bad-2', { 'tls:caPath': '/nowhere/ca.pem' })), MeshGossipError);
  await assert.rejects(Agent.start(mesh.options('bad-3', { enabled: false })), { code: 'MESH_GOSSIP_ERR_DISABLED' });
  await assert.rejects(Agent.start({ configFile: '/nowhere/mesh.json' }), MeshGossipError);
  await assert.rejects(Agent.start({}), TypeError);
  await assert.rejects(Agent.start({ config: '{}', settings: { region: 'a\0b' } }), {
    code: 'MESH_GOSSIP_ERR_ARGUMENT', field: 'region',
  });
});

test('a port that is taken is an error of the system', limits, async () => {
  const agent = await mesh.start('port-1');
  const port = agent.address.split(':').at(-1);
  await assert.rejects(Agent.start(mesh.options('port-2', { port })), { code: 'MESH_GOSSIP_ERR_IO' });
});

test('settings that are null take back what file and environment say', limits, async () => {
  const { config, settings } = mesh.options('taken-back', { region: 'eu-1' });
  config.mesh.gossip.role = 'gateway';
  const agent = await Agent.start({ config, settings: { ...settings, role: null, region: undefined } });
  const { role, region } = agent.snapshot().local;
  assert.notEqual(region, 'eu-1');
  assert.notEqual(region, 'undefined');
  assert.equal(role, 'worker');
  await agent.close();
});

test('options come from a file, under settings', limits, async () => {
  const file = path.join(mesh.dir, 'file-1.json');
  const { config, settings } = mesh.options('file-1', { region: 'eu-1' });
  fs.writeFileSync(file, JSON.stringify(config));
  const agent = await Agent.start({ configFile: file, settings });
  assert.equal(agent.snapshot().local.region, 'eu-1');
  await agent.close();
});

test('a snapshot is held across stop and free; stop and close do nothing again', limits, async () => {
  const agent = await mesh.start('held');
  await agent.setLabel('rack', 'r7');
  const before = agent.snapshot();
  await agent.stop();
  await agent.stop();
  assert.equal(agent.snapshot().local.labels.rack, 'r7', 'the last view stays after a stop');
  await assert.rejects(agent.setLabel('a', 'b'), { code: 'MESH_GOSSIP_ERR_STOPPED' });
  await agent.close();
  await agent.close();
  await agent.stop();
  assert.equal(agent.closed, true);
  assert.equal(before.local.labels.rack, 'r7');
  assert.throws(() => agent.snapshot(), { code: 'MESH_GOSSIP_ERR_STOPPED' });
  await assert.rejects(agent.health(), { code: 'MESH_GOSSIP_ERR_STOPPED' });
  assert.equal(agent.ref().unref(), agent);
});

test('calls under way when an agent is closed end, and so do its events', limits, async () => {
  const agent = await mesh.start('busy');
  const events = eventsUntil(agent, (event) => event.type === 'ended');
  const calls = Array.from({ length: 20 }, () => agent.metrics());
  calls.push(agent.setLabel('a', 'b'), agent.leave(30_000));
  const closed = agent.close();
  for (const call of await Promise.allSettled(calls)) {
    if (call.status === 'rejected') assert.equal(call.reason.code, 'MESH_GOSSIP_ERR_STOPPED');
  }
  await closed;
  assert.equal((await events).at(-1).type, 'ended');
});

test('dispose stops within the call and leaves the port free', limits, async () => {
  const options = mesh.options('disposed');
  const agent = await Agent.start(options);
  const port = agent.address.split(':').at(-1);
  const slow = agent.metrics().catch((error) => error);
  agent[Symbol.dispose]();
  agent[Symbol.dispose]();
  const next = await Agent.start({ ...options, settings: { ...options.settings, port } });
  assert.equal(next.address, agent.address);
  const answer = await slow;
  assert.ok(typeof answer === 'string' || answer.code === 'MESH_GOSSIP_ERR_STOPPED');
  await next[Symbol.asyncDispose]();
});

test('events that nobody takes are counted by one overflow', limits, async () => {
  const agent = await mesh.start('slow', { eventsCapacity: 1, 'limits:events': 1 });
  const other = await mesh.start('fast', { seed: agent });
  await until(() => agent.snapshot().size === 2, 'two members');
  for (let value = 0; value < 8; value++) {
    await other.setLabel('value', String(value));
    await until(() => agent.snapshot().byNodeId('fast').labels.value === String(value), 'a label');
  }
  const seen = eventsUntil(agent, (event) => event.type === 'overflow');
  await other.setLabel('value', 'last');
  const overflow = (await seen).at(-1);
  assert.ok(overflow.lost > 0);
  assert.equal(typeof overflow.at, 'number');
});

test('one reader at a time; who stops reading loses nothing; a signal ends the wait', limits, async () => {
  const agent = await mesh.start('reader');
  const reader = agent.events();
  assert.throws(() => agent.events(), /reader already/);
  await reader.return();
  assert.deepEqual(await reader.next(), { done: true, value: undefined });
  const abort = new AbortController();
  const waiting = agent.events({ signal: abort.signal });
  const read = (async () => { for (;;) await waiting.next(); })();
  setTimeout(() => abort.abort(new Error('enough')), 20);
  await assert.rejects(read, /enough/);
  const last = eventsUntil(agent, (event) => event.type === 'ended');
  await agent.stop();
  assert.equal((await last).at(-1).type, 'ended');
});

test('wrong arguments are refused before anything is done', limits, async () => {
  const agent = await mesh.start('wrong');
  await assert.rejects(agent.setLabel(1, 'b'), TypeError);
  await assert.rejects(agent.setLabel('a', 'b\0c'), { code: 'MESH_GOSSIP_ERR_ARGUMENT', field: 'value' });
  await assert.rejects(agent.sendTo('xyz', 1, 'x'), TypeError);
  await assert.rejects(agent.broadcast(65_536, 'x'), RangeError);
  // A number would make so many zeros, and floats be cut to bytes.
  for (const content of [5, null, undefined, {}, [1, 2], new Date()]) {
    await assert.rejects(agent.broadcast(1, content), TypeError);
    await assert.rejects(agent.forceLeave(content), TypeError);
    await assert.rejects(agent.reloadCertificates({ certificate: content }), TypeError);
  }
  await assert.rejects(agent.health(-1), RangeError);
  await assert.rejects(agent.forceLeave(new Uint8Array([1, 2, 3])), MeshGossipError);
  await assert.rejects(agent.addRevocationLists('no list'), MeshGossipError);
  await assert.rejects(agent.join(['not a seed']), MeshGossipError);
  await agent.reload();
  assert.throws(() => native.snapshot({}, -1, {}), TypeError);
  assert.throws(() => native.call(null, 0, [], 0), TypeError);
});

test('an open agent does not hold the process unless asked', limits, () => {
  const free = program('free', 'await Agent.start(options); console.log("up");');
  assert.deepEqual([free.status, free.stdout, free.stderr], [0, 'up\n', '']);
  const held = program('kept', `
    const agent = await Agent.start({ ...options, keepAlive: true });
    setTimeout(() => { console.log("still here"); agent.unref(); }, 300).unref();`);
  assert.deepEqual([held.status, held.stdout, held.stderr], [0, 'still here\n', '']);
});

test('a program may exit, and collect garbage, with open agents', limits, () => {
  const exited = program('exits', 'await Agent.start(options); process.exit(7);');
  assert.deepEqual([exited.status, exited.stderr], [7, '']);
  const collected = program('collected', `
    let agent = await Agent.start(options);
    const port = agent.address.split(':').at(-1);
    agent = null;
    for (let round = 0; round < 20; round++) {
      gc();
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    agent = await Agent.start({ ...options, settings: { ...options.settings, port } });
    console.log('the port is free');
    await agent.close();`);
  assert.deepEqual([collected.status, collected.stdout, collected.stderr], [0, 'the port is free\n', '']);
});

test('a worker may be terminated while its agent runs', limits, () => {
  const { status, stdout, stderr } = program('worker', `
    const { Worker } = require('node:worker_threads');
    const index = ${JSON.stringify(path.resolve(__dirname, '../lib/index.js'))};
    const worker = new Worker(\`
      const { parentPort, workerData } = require('node:worker_threads');
      const { Agent } = require(workerData.index);
      (async () => {
        const agent = await Agent.start({ ...workerData.options, keepAlive: true });
        parentPort.postMessage(agent.address);
        for await (const event of agent.events()) parentPort.postMessage(event.type);
      })();\`, { eval: true, workerData: { index, options } });
    const address = await new Promise((resolve) => worker.once('message', resolve));
    await worker.terminate();
    const port = address.split(':').at(-1);
    const agent = await Agent.start({ ...options, settings: { ...options.settings, port } });
    console.log(agent.address === address);
    await agent.close();`);
  assert.deepEqual([status, stdout, stderr], [0, 'true\n', '']);
});

test('text that is no UTF-8, or holds a zero, is refused by its field', limits, async () => {
  const agent = await mesh.start('text');
  const refused = async (field, act) => {
    for (const bad of ['a\ud800', '\udc00b', '\ud800x', '\udc00\ud800']) {
      await assert.rejects(act(bad), { name: 'MeshGossipError', code: 'MESH_GOSSIP_ERR_UTF8', field });
    }
    await assert.rejects(act('a\0b'), { name: 'MeshGossipError', code: 'MESH_GOSSIP_ERR_ARGUMENT', field });
  };
  await refused('config', (text) => check({ config: text }));
  await refused('configFile', (text) => check({ configFile: text }));
  await refused('region', (text) => check({ config: '{}', settings: { region: text } }));
  await refused('settings', (text) => check({ config: '{}', settings: { [text]: 1 } }));
  await refused('key', (text) => agent.setLabel(text, 'v'));
  await refused('value', (text) => agent.setLabel('k', text));
  await refused('seeds', (text) => agent.join([text]));
  await refused('scope', (text) => agent.leaders(text));
  await refused('password', (text) => agent.reloadCertificates({ certificate: 'x', password: text }));
  await refused('region', (text) => agent.setMetadata({ region: text }));
  await refused('labels', (text) => agent.setMetadata({ labels: { [text]: 'v' } }));
  await refused('labels', (text) => agent.setMetadata({ labels: { k: text } }));
  await refused('nodeId', (text) => agent.reportLeases(text, null));
  // A content may have zeros, but a string has to be one that UTF-8 can say.
  for (const act of [(text) => agent.broadcast(1, text), (text) => agent.broadcastLatest(1, 1, text),
    (text) => agent.sendTo('00'.repeat(16), 1, text)]) {
    await assert.rejects(act('a\ud800'), { code: 'MESH_GOSSIP_ERR_UTF8', field: 'data' });
  }
  await assert.rejects(agent.addRevocationLists('\udc00'), { code: 'MESH_GOSSIP_ERR_UTF8', field: 'lists' });
  await agent.broadcast(1, 'a\0b');
  await agent.broadcast(1, new Float32Array([1.5]).buffer);
  await agent.setLabel('face', '\u{1f600}');
  assert.equal(agent.snapshot().local.labels.face, '\u{1f600}');
  await agent.close();
});

test('leases are reported and shown', limits, async () => {
  const agent = await mesh.start('leases');
  const activeLeases = [{ sequenceId: -7, attempt: 1, leaseId: 'l' }];
  await agent.reportLeases('queue-9', { pendingReassignments: 2, activeLeases });
  const { peers, summary } = await agent.leaseHealth();
  const told = peers.find(({ peerId }) => peerId === 'queue-9');
  assert.deepEqual([told.activeLeases, told.pendingReassignments, summary.pendingReassignments], [activeLeases, 2, 2]);
  await assert.rejects(agent.reportLeases('queue-9', { activeLeases: [{}] }), { field: 'activeLeases[0].sequenceId' });
  await agent.reportLeases('queue-9', null);
  assert.ok((await agent.leaseHealth()).peers.every(({ peerId }) => peerId !== 'queue-9'));
  await agent.close();
});
