'use strict';

const assert = require('node:assert/strict');
const { after, before, test } = require('node:test');
const { Mesh, alive, eventsUntil, until } = require('./mesh.js');

const limits = { timeout: 60_000 };
let mesh;
before(() => { mesh = new Mesh(); });
after(() => mesh.end());

let agents;

test('three agents with certificates of their own see each other', limits, async (t) => {
  const { agents: started, tookMs } = await mesh.three();
  agents = started;
  t.diagnostic(`three agents saw each other ${tookMs.toFixed(0)} ms after the first was asked to start`);
  for (const agent of agents) {
    const snapshot = agent.snapshot();
    assert.equal(snapshot.size, 3);
    assert.deepEqual([...snapshot].map((member) => member.nodeId).sort(), ['node-1', 'node-2', 'node-3']);
    assert.equal(snapshot.local.nodeId, agent.nodeId);
    assert.equal(snapshot.local.local, true);
    assert.equal(snapshot.byNodeId(agent.nodeId), snapshot.byId(snapshot.localId));
    assert.equal(snapshot.local.role, 'worker');
    assert.equal(snapshot.local.clusterId, 'prod');
    assert.equal(typeof snapshot.local.generation, 'bigint');
  }
});

test('an unchanged view is the same object, and cannot be changed', limits, async () => {
  const [first] = agents;
  // A change may just be under way; two reads in one turn see one view all but always.
  await until(() => first.snapshot() === first.snapshot(), 'equal snapshots');
  const held = first.snapshot();
  assert.ok(Object.isFrozen(held) && Object.isFrozen(held.members) && Object.isFrozen(held.local));
  assert.ok(Object.isFrozen(held.local.labels));
  assert.throws(() => { held.local.role = 'king'; }, TypeError);
});

test('a label set here is seen there, in order, and can be removed', limits, async () => {
  const [first, second] = agents;
  const seen = () => second.snapshot().byNodeId('node-1').labels;
  const before = second.snapshot();
  const updated = eventsUntil(second, (event) => event.type === 'updated'
    && event.member.nodeId === 'node-1' && event.member.labels.rack === 'r9');
  for (let rack = 0; rack < 10; rack++) void first.setLabel('rack', `r${rack}`);
  await first.setLabel('__proto__', 'plain');
  assert.equal(first.snapshot().local.labels.rack, 'r9');
  await until(() => seen().rack === 'r9' && seen().__proto__ === 'plain', 'the labels at the other');
  assert.ok((await updated).length > 0);
  assert.equal(before.byNodeId('node-1').labels.rack, undefined, 'a snapshot does not change');
  await first.setLabel('rack', null);
  await until(() => seen().rack === undefined, 'the label gone at the other');
});

test('cordon, drain and resume are seen by others', limits, async () => {
  const [first, second] = agents;
  const lifecycle = () => second.snapshot().byNodeId('node-1').lifecycle;
  await first.cordon();
  await until(() => lifecycle() === 'cordoned', 'cordoned');
  await first.drain();
  await until(() => lifecycle() === 'draining', 'draining');
  assert.equal((await first.health()).draining, true);
  await first.resume();
  await until(() => lifecycle() === 'active', 'active');
  await assert.rejects(first.setLifecycle('asleep'), TypeError);
});

test('documents, metrics and health answer', limits, async () => {
  const [first] = agents;
  assert.match(JSON.stringify(await first.peers()), /node-3/);
  assert.equal(typeof (await first.leaders()), 'object');
  await assert.rejects(first.leaders('nowhere'), { code: 'MESH_GOSSIP_ERR_NOT_FOUND' });
  assert.match(await first.metrics(), /^# (HELP|TYPE) mesh_gossip_/m);
  const health = await first.health();
  assert.deepEqual({ ...health }, { joined: true, ready: true, draining: false });
});

test('what hosts say arrives', limits, async () => {
  const [first, second, third] = agents;
  const broadcast = eventsUntil(third, (event) => event.type === 'broadcast');
  await first.broadcast(7, 'to all');
  const said = (await broadcast).at(-1);
  assert.equal(said.topic, 7);
  assert.equal(Buffer.from(said.payload).toString(), 'to all');
  assert.equal(said.from, first.snapshot().localId);
  // One datagram, which may be lost: said until it is heard.
  const message = eventsUntil(second, (event) => event.type === 'message');
  const again = setInterval(() => { first.sendTo(second.snapshot().localId, 9, Buffer.from([0, 1, 255])).catch(() => {}); }, 100);
  const heard = (await message).at(-1);
  clearInterval(again);
  assert.deepEqual([...heard.payload], [0, 1, 255]);
  await assert.rejects(first.sendTo('0123456789abcdef'.repeat(2), 9, 'x'), { code: 'MESH_GOSSIP_ERR_NOT_FOUND' });
  await assert.rejects(first.broadcast(1, new Uint8Array(65_536)), { name: 'MeshGossipError' });
});

test('a member that is stopped without a goodbye leaves the views of the others', limits, async (t) => {
  const [first, second, third] = agents;
  const id = third.snapshot().localId;
  const told = Promise.all([first, second].map((agent) => eventsUntil(
    agent, (event) => event.type === 'left' && event.id === id)));
  const began = performance.now();
  await third.stop();
  await until(() => alive(first) === 2 && alive(second) === 2, 'the stopped one is gone');
  t.diagnostic(`gone from both views after ${(performance.now() - began).toFixed(0)} ms`);
  for (const events of await told) {
    const types = events.filter((event) => event.id === id).map((event) => event.type);
    assert.equal(events.at(-1).reason, 'failed');
    assert.ok(!types.slice(0, -1).includes('left'), 'it leaves once');
    assert.ok(types.indexOf('joined') < types.indexOf('left'), `order of ${types}`);
  }
});

test('who leaves has left for the others, and its events end in order', limits, async () => {
  const [first, second] = agents;
  const id = second.snapshot().localId;
  const own = eventsUntil(second, (event) => event.type === 'ended');
  const told = eventsUntil(first, (event) => event.type === 'left' && event.id === id);
  await second.leave(5000);
  await second.close();
  const types = (await own).map((event) => event.type);
  assert.ok(types.indexOf('leave-complete') >= 0, `${types}`);
  assert.ok(types.indexOf('leave-complete') < types.indexOf('ended'), `${types}`);
  assert.equal((await told).at(-1).reason, 'left');
  assert.equal(alive(first), 1);
});

test('contacts tell round-trip times', limits, async () => {
  const first = await mesh.start('contact-1');
  const second = await mesh.start('contact-2', { seedPeers: first.address });
  await until(() => first.snapshot().byNodeId('contact-2')?.status === 'alive');
  const { id } = first.snapshot().byNodeId('contact-2');
  let contact;
  await until(async () => { contact = (await first.contacts()).get(id); return contact?.rttMs; });
  assert.ok(contact.rttMs > 0 && contact.rttMs < 10_000 && Math.abs(contact.last - Date.now()) < 60_000);
  await first.close();
  await second.close();
});
