'use strict';
// Members, snapshots and events as immutable objects.

const statuses = ['unknown', 'alive', 'suspect', 'failed', 'left'];
const lifecycles = ['active', 'cordoned', 'draining', 'drained', 'leaving'];
const reasons = ['unknown', 'left', 'failed', 'revoked'];
const NOBODY = '0'.repeat(32);

function labelsOf(pairs) {
  // Without a prototype, so that a label may be named as it likes.
  const labels = Object.create(null);
  for (let at = 0; at < pairs.length; at += 2) labels[pairs[at]] = pairs[at + 1];
  return Object.freeze(labels);
}

function memberOf(fields) {
  const [id, nodeId, status, lifecycle, flags, generation, counter, metadataVersion, role,
    clusterId, region, meshVersion, endpoint, labels] = fields;
  return Object.freeze({
    id,
    nodeId,
    status: statuses[status] ?? 'unknown',
    lifecycle: lifecycles[lifecycle] ?? 'unknown',
    local: (flags & 1) !== 0,
    http3: (flags & 2) !== 0,
    generation,
    counter,
    metadataVersion,
    role,
    clusterId,
    region,
    meshVersion,
    endpoint,
    labels: labelsOf(labels),
  });
}

const someone = (id) => (id === NOBODY ? null : id);
const about = (member, id) => ({ id, member });

// What an event says beside its type and time, by its number in the header.
const kinds = {
  1: ['joined', (e) => about(e.member, e.id)],
  2: ['recovered', (e) => ({ ...about(e.member, e.id), previous: statuses[e.detail] ?? 'unknown' })],
  3: ['suspected', (e) => about(e.member, e.id)],
  4: ['unreachable', (e) => about(e.member, e.id)],
  5: ['left', (e) => ({ ...about(e.member, e.id), reason: reasons[e.detail] ?? 'unknown' })],
  6: ['updated', (e) => about(e.member, e.id)],
  7: ['forgotten', (e) => ({ id: e.id })],
  8: ['leader-changed', (e) => ({
    scope: e.text, leader: someone(e.id), previous: someone(e.previousId), term: e.count,
  })],
  9: ['refuted', (e) => about(e.member, e.id)],
  10: ['conflict', (e) => ({ id: e.id })],
  11: ['alarm', (e) => ({ alarm: e.text, id: someone(e.id) })],
  12: ['record-rejected', (e) => ({ why: e.text, id: someone(e.id) })],
  13: ['join-complete', () => ({})],
  14: ['leave-complete', (e) => ({ acknowledged: Number(e.count) })],
  15: ['overflow', (e) => ({ lost: Number(e.count) })],
  16: ['broadcast', (e) => ({ from: e.id, topic: e.topic, payload: e.payload })],
  17: ['message', (e) => ({ from: e.id, topic: e.topic, payload: e.payload })],
  18: ['missed', (e) => ({ lost: Number(e.count) })],
  19: ['ended', () => ({})],
};

function eventOf(fields) {
  const [kind, detail, at, count, id, previousId, topic, text, payload, member] = fields;
  const raw = {
    detail, count, id, previousId, topic, text, payload,
    member: member === undefined ? null : memberOf(member),
  };
  const known = kinds[kind];
  if (known === undefined) return Object.freeze({ type: 'unknown', at, kind });
  return Object.freeze({ type: known[0], at, ...known[1](raw) });
}

/** The members as of one moment. It holds nothing of the agent and outlives it. */
class Snapshot {
  #chunks;
  #members = null;

  constructor(generation, time, localId, size, chunks) {
    this.generation = generation;
    this.time = time;
    this.localId = localId;
    this.size = size;
    this.#chunks = chunks;
    Object.freeze(this);
  }

  * [Symbol.iterator]() {
    for (const chunk of this.#chunks) yield* chunk;
  }

  /** All members in one array, made when first asked for. */
  get members() {
    this.#members ??= Object.freeze(this.#chunks.flat());
    return this.#members;
  }

  get local() {
    return this.byId(this.localId);
  }

  byId(id) {
    for (const member of this) if (member.id === id) return member;
    return undefined;
  }

  byNodeId(nodeId) {
    for (const member of this) if (member.nodeId === nodeId) return member;
    return undefined;
  }
}

/** Keeps the members of the last snapshot: only chunks that changed are made anew. */
class SnapshotCache {
  #snapshot = null;
  #chunks = {};

  get generation() {
    return this.#snapshot === null ? -1 : this.#snapshot.generation;
  }

  get chunks() {
    return this.#chunks;
  }

  /** The snapshot for what the addon read; null where nothing has changed. */
  take(read) {
    if (read === null) return this.#snapshot;
    const [generation, time, localId, size, pairs] = read;
    const chunks = {};
    const list = pairs.map(([chunkGeneration, members]) => {
      const chunk = members === null
        ? this.#chunks[chunkGeneration]
        : Object.freeze(members.map(memberOf));
      chunks[chunkGeneration] = chunk;
      return chunk;
    });
    this.#chunks = chunks;
    this.#snapshot = new Snapshot(generation, time, localId, size, list);
    return this.#snapshot;
  }
}

module.exports = { Snapshot, SnapshotCache, eventOf, lifecycles };
