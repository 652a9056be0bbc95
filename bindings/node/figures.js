'use strict';
// Prints how long 1,000 members take to become objects, over the fake library; `figures` runs it. What
// is measured is the copy of all chunks, which otherwise happens once for each that changed.

const native = require('./lib/native.js');
const { SnapshotCache } = require('./lib/records.js');
const { valueOf } = require('./lib/error.js');

const COUNT = 1000;
const ROUNDS = 300;
const MOST_MS = 2;

(async () => {
  const start = async () => valueOf(await native.start(false, ['{}'], 0, false));
  for (const labels of [0, 2]) {
    process.env.MESH_GOSSIP_FAKE = `members=${COUNT};labels=${labels}`;
    const agent = await start();
    const times = [];
    for (let round = 0; round < ROUNDS; round++) {
      const began = performance.now();
      const snapshot = new SnapshotCache().take(valueOf(native.snapshot(agent, -1, {})));
      times.push(performance.now() - began);
      if (snapshot.size !== COUNT) throw new Error(`${snapshot.size} members`);
    }
    times.sort((a, b) => a - b);
    console.log(`Node.js: ${COUNT} members with ${labels} labels each to objects: ${times[0].toFixed(2)} ms at best,`
      + ` ${times[ROUNDS / 2].toFixed(2)} ms at the median (wanted: ${MOST_MS} ms)`);
    native.close(agent);
  }
})();
