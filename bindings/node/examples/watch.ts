// Joins a mesh and tells in words what happens, until Ctrl-C; in TypeScript.
import { Agent, Event, MeshGossipError } from 'mesh-gossip';

function words(event: Event): string {
  switch (event.type) {
    case 'left': return `${event.member?.nodeId ?? event.id} is gone: ${event.reason}`;
    case 'recovered': return `${event.member?.nodeId ?? event.id} is back; it was ${event.previous}`;
    case 'broadcast': return `${event.from} says ${event.payload.length} bytes about ${event.topic}`;
    case 'leader-changed': return `${event.scope} is led by ${event.leader ?? 'nobody'} in term ${event.term}`;
    case 'overflow': return `${event.lost} events were lost: the view is what counts`;
    default: return event.type;
  }
}

async function main(configFile: string): Promise<void> {
  const agent = await Agent.start({ configFile, keepAlive: true });
  process.once('SIGINT', () => void agent.leave(5000).finally(() => agent.close()));
  for await (const event of agent.events()) {
    console.log(words(event));
    const alive = agent.closed ? [] : agent.snapshot().members.filter(({ status }) => status === 'alive');
    console.log(alive.map(({ nodeId, labels }) => `${nodeId} in ${labels['rack'] ?? 'no rack'}`).join(', '));
  }
}

main(process.argv[2] ?? 'mesh.json').catch((error: unknown) => {
  console.error(error instanceof MeshGossipError ? `${error.field ?? error.code}: ${error.message}` : error);
  process.exitCode = 1;
});
