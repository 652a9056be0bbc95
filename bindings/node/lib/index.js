'use strict';
// mesh-gossip for Node.js: an agent within this process.

const native = require('./native.js');
const { Agent, check } = require('./agent.js');
const { MeshGossipError } = require('./error.js');
const { Snapshot } = require('./records.js');

module.exports = {
  Agent, MeshGossipError, Snapshot, check, version: native.version, features: native.features,
};
