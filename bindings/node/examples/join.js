'use strict';
// node join.js mesh.json [seed]: joins a mesh, tells what happens, leaves on Ctrl-C.
const { Agent } = require('../lib/index.js');

async function main([configFile, seed]) {
  const settings = seed === undefined ? {} : { seedPeers: seed };
  const agent = await Agent.start({ configFile, settings, keepAlive: true });
  console.log(`${agent.nodeId} listens on ${agent.address}`);
  process.once('SIGINT', async () => {
    await agent.leave(5000).catch((error) => console.error(error.message));
    await agent.close();
  });
  for await (const event of agent) {
    console.log(event.type, event.member?.nodeId ?? '');
    const names = agent.closed ? [] : agent.snapshot().members
      .filter((member) => member.status === 'alive').map((member) => member.nodeId);
    console.log(`alive: ${names.join(', ')}`);
  }
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
});
