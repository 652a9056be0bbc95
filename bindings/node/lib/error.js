'use strict';
// Outcomes of the C ABI as exceptions. The names are those of the header.

const names = [
  'OK', 'ERR_ABI', 'ERR_ARGUMENT', 'ERR_UTF8', 'ERR_TOO_LARGE', 'ERR_CONFIG', 'ERR_CREDENTIALS',
  'ERR_IO', 'ERR_STOPPED', 'ERR_TIMEOUT', 'ERR_BUSY', 'ERR_NOT_FOUND', 'ERR_REFUSED',
  'ERR_REENTRANT', 'ERR_FORKED', 'ERR_PANIC', 'ERR_POISONED', 'ERR_STRUCT_SIZE', 'ERR_DISABLED',
];
const ARGUMENT = names.indexOf('ERR_ARGUMENT');
const UTF8 = names.indexOf('ERR_UTF8');
const STOPPED = names.indexOf('ERR_STOPPED');

class MeshGossipError extends Error {
  constructor(number, message, field) {
    const code = `MESH_GOSSIP_${names[number] ?? `ERR_${number}`}`;
    super(message || (number === STOPPED ? 'the agent has stopped' : code));
    this.name = 'MeshGossipError';
    this.code = code;
    this.number = number;
    this.field = field ?? null;
  }
}

/** The value of an outcome, or its error thrown. */
function valueOf(outcome) {
  if (outcome.code !== 0) throw new MeshGossipError(outcome.code, outcome.message, outcome.field);
  return outcome.value;
}

module.exports = { ARGUMENT, MeshGossipError, STOPPED, UTF8, valueOf };
