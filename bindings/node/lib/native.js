'use strict';
// The compiled addon, with `compile`'s library beside it. It refuses a library of another ABI.

module.exports = require('../out/mesh_gossip.node');
