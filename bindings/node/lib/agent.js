'use strict';
// A member of a mesh. What blocks in C runs on a thread of libuv's pool and is a promise here.

const native = require('./native.js');
const { EventQueue } = require('./events.js');
const { ARGUMENT, MeshGossipError, STOPPED, UTF8, valueOf } = require('./error.js');
const { SnapshotCache, lifecycles } = require('./records.js');

const { kinds } = native;
const NO_TEXTS = [];
const DOCUMENT_TIMEOUT_MS = 5000;

function startArguments(options) {
  const { config, configFile, settings = {}, eventsCapacity = 0 } = options;
  if ((config === undefined) === (configFile === undefined)) {
    throw new TypeError('either config or configFile is expected');
  }
  const json = typeof config === 'string' ? config : JSON.stringify(config);
  const pairs = Object.entries(settings).filter(([, value]) => value !== undefined)
    .map(([key, value]) => [key, value === null ? null : String(value)]);
  const texts = [configFile === undefined ? json : String(configFile), ...pairs.flat()];
  textOf(texts[0], configFile === undefined ? 'config' : 'configFile');
  for (const [key, value] of pairs) {
    textOf(key, 'settings');
    if (value !== null) textOf(value, key);
  }
  return [configFile !== undefined, texts, eventsCapacity];
}

/** Refuses what would reach the mesh as something else: a zero would cut the text short for C, and
 * half of a surrogate pair would become a replacement character. */
function textOf(text, field) {
  if (typeof text !== 'string') throw new TypeError(`${field}: a string is expected`);
  if (text.includes('\0')) throw new MeshGossipError(ARGUMENT, `${field} holds a zero character`, field);
  return whole(text, field);
}

function whole(text, field) {
  if (/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/.test(text)) {
    throw new MeshGossipError(UTF8, `${field} holds half of a surrogate pair, which is no UTF-8`, field);
  }
  return text;
}

/** The same of every text within, which JSON would escape. */
function judge(value, field) {
  if (typeof value === 'string') textOf(value, field);
  if (value === null || typeof value !== 'object') return value;
  for (const [key, inner] of Object.entries(value)) {
    textOf(key, field);
    judge(inner, field);
  }
  return value;
}

/** A copy: who calls may go on writing. What is neither is refused: a number would be so many zeros. */
function bytesOf(data, field = 'data') {
  if (typeof data === 'string') return new TextEncoder().encode(whole(data, field));
  if (data instanceof ArrayBuffer || data instanceof SharedArrayBuffer) return new Uint8Array(data.slice(0));
  if (!ArrayBuffer.isView(data)) throw new TypeError(`${field}: a Uint8Array or a string is expected`);
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice();
}

function topicOf(topic) {
  if (!Number.isInteger(topic) || topic < 0 || topic > 0xffff) {
    throw new RangeError('a topic is a whole number from 0 to 65535');
  }
  return topic;
}

function idOf(id) {
  if (typeof id !== 'string' || !/^[0-9a-f]{32}$/.test(id)) {
    throw new TypeError('an id is 32 hexadecimal digits');
  }
  return new Uint8Array(Buffer.from(id, 'hex'));
}

class Agent {
  #handle;
  #cache = new SnapshotCache();
  #events;
  #last = Promise.resolve();
  #closed = null;

  /** Use `Agent.start`. */
  constructor(handle) {
    this.#handle = handle;
    this.#events = new EventQueue(handle);
    [this.nodeId, this.address] = native.names(handle);
  }

  /** Resolves once the agent's ports are bound; joining goes on by itself. */
  static async start(options) {
    const agent = new Agent(valueOf(await native.start(...startArguments(options), false)));
    if (options.keepAlive) agent.ref();
    return agent;
  }

  /** Whether `close` was called. */
  get closed() {
    return this.#closed !== null;
  }

  /** Holds the process while this agent is open. */
  ref() {
    native.keepAlive(this.#handle, true);
    return this;
  }

  /** Lets the process end though this agent is open: so it is at first. */
  unref() {
    native.keepAlive(this.#handle, false);
    return this;
  }

  /** The newest view; the same object while nothing changes. */
  snapshot() {
    const { generation, chunks } = this.#cache;
    return this.#cache.take(valueOf(native.snapshot(this.#handle, generation, chunks)));
  }

  /** Events in order, until the agent has ended. One reader at a time. */
  events(options = {}) {
    return this.#events.read(options.signal);
  }

  [Symbol.asyncIterator]() {
    return this.events();
  }

  async setLabel(key, value) {
    const said = value === null ? null : textOf(value, 'value');
    await this.#inOrder(kinds.setLabel, [textOf(key, 'key'), said]);
  }

  async setLifecycle(lifecycle) {
    const number = lifecycles.indexOf(lifecycle);
    if (number < 0) throw new TypeError(`there is no lifecycle ${lifecycle}`);
    await this.#inOrder(kinds.setLifecycle, NO_TEXTS, number);
  }

  cordon() {
    return this.setLifecycle('cordoned');
  }

  drain() {
    return this.setLifecycle('draining');
  }

  resume() {
    return this.setLifecycle('active');
  }

  async join(seeds) {
    await this.#inOrder(kinds.join, Array.from(seeds, (seed) => textOf(seed, 'seeds')));
  }

  async forceLeave(order) {
    await this.#inOrder(kinds.forceLeave, NO_TEXTS, 0, bytesOf(order, 'order'));
  }

  async reload() {
    await this.#inOrder(kinds.reload);
  }

  async addRevocationLists(lists) {
    await this.#inOrder(kinds.addRevocationLists, NO_TEXTS, 0, bytesOf(lists, 'lists'));
  }

  /** What a host of secrets hands over: bytes or PEM text; without a key, or trust, they are none. */
  async reloadCertificates({ certificate, key = '', ca = '', password = null }) {
    const parts = [bytesOf(certificate, 'certificate'), bytesOf(key, 'key'), bytesOf(ca, 'ca')];
    const texts = [parts[0].length, parts[1].length].map(String);
    const secret = password === null ? null : textOf(password, 'password');
    const all = new Uint8Array(Buffer.concat(parts));
    await this.#inOrder(kinds.reloadCertificates, [...texts, secret], 0, all);
  }

  /** Says something else of this member; what is missing stays. */
  async setMetadata(metadata) {
    for (const [key, value] of Object.entries(metadata)) judge(value, key);
    await this.#inOrder(kinds.setMetadata, [textOf(JSON.stringify(metadata), 'metadata')]);
  }

  /** What the host knows of the work of a peer, in place of what it told before; null forgets it. */
  async reportLeases(nodeId, report) {
    const said = report === null ? null : JSON.stringify(judge(report, 'report'));
    await this.#inOrder(kinds.reportLeases, [textOf(nodeId, 'nodeId'), said]);
  }

  async broadcastLatest(topic, key, data) {
    const number = BigInt.asUintN(64, BigInt(key));
    if (number !== BigInt(key)) throw new RangeError('a key is a whole number of 64 bits');
    await this.#inOrder(kinds.broadcastLatest, [String(number)], topicOf(topic), bytesOf(data));
  }

  async broadcast(topic, data) {
    await this.#inOrder(kinds.broadcast, NO_TEXTS, topicOf(topic), bytesOf(data));
  }

  async sendTo(id, topic, data) {
    await this.#inOrder(kinds.sendTo, NO_TEXTS, topicOf(topic), bytesOf(data), idOf(id));
  }

  async peers(timeoutMs = DOCUMENT_TIMEOUT_MS) {
    return JSON.parse(await this.#call(kinds.peers, NO_TEXTS, timeoutMs));
  }

  async leaders(scope = null, timeoutMs = DOCUMENT_TIMEOUT_MS) {
    const name = scope === null ? null : textOf(scope, 'scope');
    return JSON.parse(await this.#call(kinds.leaders, [name], timeoutMs));
  }

  async leaseHealth(timeoutMs = DOCUMENT_TIMEOUT_MS) {
    return JSON.parse(await this.#call(kinds.leaseHealth, NO_TEXTS, timeoutMs));
  }

  metrics(timeoutMs = DOCUMENT_TIMEOUT_MS) {
    return this.#call(kinds.metrics, NO_TEXTS, timeoutMs);
  }

  async health(timeoutMs = DOCUMENT_TIMEOUT_MS) {
    const bits = await this.#call(kinds.health, NO_TEXTS, timeoutMs);
    return Object.freeze({
      joined: (bits & 1) !== 0, ready: (bits & 2) !== 0, draining: (bits & 4) !== 0,
    });
  }

  /** Round-trip times and last contacts by member id. */
  async contacts(timeoutMs = DOCUMENT_TIMEOUT_MS) {
    const list = await this.#call(kinds.contacts, NO_TEXTS, timeoutMs);
    return new Map(list.map(([id, last, us]) => {
      return [id, Object.freeze({ last, rttMs: us === 0 ? null : us / 1000 })];
    }));
  }

  /** Says goodbye and waits until enough members know. */
  async leave(timeoutMs = 5000) {
    await this.#inOrder(kinds.leave, NO_TEXTS, timeoutMs);
  }

  /** Stops without a goodbye. Events and the last snapshot can still be had until `close`. */
  async stop() {
    if (this.#closed === null) await this.#call(kinds.stop);
  }

  /** Stops and frees the agent. Again, it waits for the first time's end. */
  close() {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  /** Stops within the call, for `using`: it blocks for the moment that threads need to end. */
  [Symbol.dispose]() {
    if (this.#closed !== null) return;
    this.#closed = Promise.resolve();
    try {
      valueOf(native.stopNow(this.#handle));
    } finally {
      this.#free();
    }
  }

  [Symbol.asyncDispose]() {
    return this.close();
  }

  async #close() {
    // Freed whatever the stop says: a handle after a defect can only be freed.
    try {
      valueOf(await native.call(this.#handle, kinds.stop, NO_TEXTS, 0));
    } finally {
      this.#free();
    }
  }

  #free() {
    try {
      this.#events.end();
    } finally {
      native.close(this.#handle);
    }
  }

  async #call(kind, texts = NO_TEXTS, number = 0, bytes, id) {
    if (this.#closed !== null) throw new MeshGossipError(STOPPED);
    return valueOf(await native.call(this.#handle, kind, texts, number, bytes, id));
  }

  /** Commands are carried out in the order of their calls, which the pool's threads do not keep. */
  #inOrder(...args) {
    const done = this.#last.then(() => this.#call(...args));
    this.#last = done.catch(() => {});
    return done;
  }
}

/** Judges the settings of options without a start. */
async function check(options) {
  valueOf(await native.start(...startArguments(options), true));
}

module.exports = { Agent, check };
