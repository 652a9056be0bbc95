'use strict';
// Events of an agent for one reader at a time.
//
// Nothing is taken from the agent before somebody asks, so its own queue stays the only one that
// grows, and it is bounded: who is too slow gets an `overflow` event.

const native = require('./native.js');
const { eventOf } = require('./records.js');
const { valueOf } = require('./error.js');

const BATCH = 128;

class EventQueue {
  #handle;
  #taken = [];
  #at = 0;
  #ended = false;
  #read = false;
  #wake = null;

  constructor(handle) {
    this.#handle = handle;
  }

  /** An iterator over the events from here on. */
  read(signal) {
    if (this.#read) throw new Error('the events of this agent have a reader already');
    signal?.throwIfAborted();
    this.#read = true;
    return new EventReader(this, signal, () => { this.#read = false; });
  }

  /** The next event; null where none waits, undefined after the last one. */
  next() {
    if (this.#at === this.#taken.length && !this.#ended) this.#take();
    if (this.#at < this.#taken.length) return this.#taken[this.#at++];
    return this.#ended ? undefined : null;
  }

  /** Resolves when it is worth while to look again. */
  wait() {
    return new Promise((resolve) => {
      this.#wake = resolve;
      native.wait(this.#handle, resolve);
    });
  }

  wake() {
    this.#wake?.();
    this.#wake = null;
  }

  /** Takes what is left before the agent is freed. */
  end() {
    const rest = this.#taken.slice(this.#at);
    try {
      while (!this.#ended && this.#take()) rest.push(...this.#taken);
    } finally {
      this.#taken = rest;
      this.#at = 0;
      this.#ended = true;
      this.wake();
    }
  }

  #take() {
    this.#taken = valueOf(native.events(this.#handle, BATCH)).map(eventOf);
    this.#at = 0;
    this.#ended = this.#taken.at(-1)?.type === 'ended';
    return this.#taken.length > 0;
  }
}

class EventReader {
  #queue;
  #signal;
  #release;
  #done = false;
  #last = Promise.resolve();
  #abort = () => this.#queue.wake();

  constructor(queue, signal, release) {
    this.#queue = queue;
    this.#signal = signal;
    this.#release = release;
    signal?.addEventListener('abort', this.#abort);
  }

  [Symbol.asyncIterator]() {
    return this;
  }

  /** Calls are answered in their order, however many are made at once. */
  next() {
    const next = this.#last.then(() => this.#next());
    this.#last = next.catch(() => {});
    return next;
  }

  async return(value) {
    this.#finish();
    return { done: true, value };
  }

  async #next() {
    for (;;) {
      if (this.#done) return { done: true, value: undefined };
      if (this.#signal?.aborted) {
        this.#finish();
        throw this.#signal.reason;
      }
      const event = this.#queue.next();
      if (event === undefined) this.#finish();
      else if (event === null) await this.#queue.wait();
      else return { done: false, value: event };
    }
  }

  #finish() {
    if (this.#done) return;
    this.#done = true;
    this.#signal?.removeEventListener('abort', this.#abort);
    this.#release();
    this.#queue.wake();
  }
}

module.exports = { EventQueue };
