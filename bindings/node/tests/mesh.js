'use strict';
// A throw-away authority and agents on loopback, each with a certificate of its own.

const { execFileSync } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { Agent } = require('../lib/index.js');

const omnirelay = process.env.OMNIRELAY ?? path.resolve(__dirname, '../../../target/debug/omnirelay');

class Mesh {
  #agents = [];

  constructor() {
    this.dir = fs.mkdtempSync(path.join(os.tmpdir(), 'mesh-gossip-node-'));
    this.#run('init', '--trust-domain', 'example.org', '--cluster', 'prod');
  }

  #run(verb, ...args) {
    return execFileSync(omnirelay, ['mesh', 'bootstrap', verb, '--dir', 'ca', ...args], {
      cwd: this.dir, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'],
    });
  }

  /** What an agent of this name is started with. */
  options(name, settings = {}) {
    const config = JSON.parse(this.#run('issue', '--node', name, '--role', 'worker', '--out', 'certs'));
    return {
      // A test that waits for events alone has nothing else that holds the process.
      keepAlive: true,
      config,
      settings: {
        bindAddress: '127.0.0.1', port: 0, 'control:port': 0, 'events:delivery': 'immediate', ...settings,
      },
    };
  }

  async start(name, { seed, eventsCapacity, ...settings } = {}) {
    const more = seed === undefined ? {} : { seedPeers: seed.address };
    const agent = await Agent.start({ ...this.options(name, { ...more, ...settings }), eventsCapacity });
    this.#agents.push(agent);
    return agent;
  }

  /** Three agents that see each other. */
  async three() {
    const options = ['node-1', 'node-2', 'node-3'].map((name) => this.options(name));
    const began = performance.now();
    const first = await Agent.start(options[0]);
    this.#agents.push(first);
    const rest = await Promise.all(options.slice(1).map((each) => Agent.start({
      ...each, settings: { ...each.settings, seedPeers: first.address },
    })));
    this.#agents.push(...rest);
    const agents = [first, ...rest];
    await until(() => agents.every((agent) => alive(agent) === 3), 'three see each other');
    return { agents, tookMs: performance.now() - began };
  }

  async end() {
    await Promise.all(this.#agents.map((agent) => agent.close()));
    fs.rmSync(this.dir, { recursive: true });
  }
}

function alive(agent) {
  return agent.snapshot().members.filter((member) => member.status === 'alive').length;
}

async function until(holds, what, timeoutMs = 30_000) {
  const deadline = performance.now() + timeoutMs;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`in ${timeoutMs} ms it did not come to pass: ${what}`);
    await new Promise((resolve) => { setTimeout(resolve, 5); });
  }
}

/** Events up to the first that fits, which comes last. */
async function eventsUntil(agent, fits, timeoutMs = 30_000) {
  const events = [];
  for await (const event of agent.events({ signal: AbortSignal.timeout(timeoutMs) })) {
    events.push(event);
    if (fits(event)) return events;
  }
  throw new Error(`the agent ended first: ${events.map((event) => event.type)}`);
}

module.exports = { Mesh, alive, eventsUntil, until };
