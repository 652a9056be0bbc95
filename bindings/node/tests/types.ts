// What the types let pass, and what they refuse: compiled, never run. `types` runs the compiler, for
// which an error that is expected and does not come is an error as well.
import { Agent, Contact, Credentials, Event, Member, MeshGossipError, Snapshot, check, features, version } from 'mesh-gossip';

export async function passes(agent: Agent): Promise<void> {
  const said: [string, bigint] = [version, features];
  await check({ config: { mesh: { gossip: { nodeId: 'a' } } }, settings: { fanout: 4, 'tls:caPath': 'ca.pem', region: null } });
  await using one = await Agent.start({ configFile: 'mesh.json', eventsCapacity: 16 });
  const view: Snapshot = one.ref().unref().snapshot();
  const members: Member[] = [...view];
  const names: string[] = members.map((member) => member.nodeId);
  const own: Member | undefined = view.local ?? view.byNodeId(names[0] ?? '');
  const credentials: Credentials = { certificate: new Uint8Array(), password: null };
  await agent.reloadCertificates(credentials);
  await agent.setMetadata({ labels: { rack: 'r7' } });
  await agent.setLabel('rack', null);
  await agent.join(new Set(['a.example:7946']));
  await agent.broadcastLatest(1, 7n, 'words');
  const contacts: Map<string, Contact> = await agent.contacts();
  const rtt: number | null | undefined = contacts.get(own?.id ?? '')?.rttMs;
  for await (const event of agent.events({ signal: AbortSignal.timeout(5) })) told(event);
  console.log(said, rtt, (await agent.health(5)).ready);
}

function told(event: Event): string | bigint | number | null {
  if (event.type === 'leader-changed') return event.term;
  if (event.type === 'missed') return event.lost;
  if (event.type === 'unknown') return event.kind;
  return 'member' in event ? event.member?.region ?? null : event.at;
}

export async function refuses(agent: Agent, view: Snapshot, event: Event, error: MeshGossipError): Promise<void> {
  // @ts-expect-error: an agent is started, not made.
  new Agent();
  // @ts-expect-error: no such option.
  await Agent.start({ configPath: 'mesh.json' });
  // @ts-expect-error: options are asked for.
  await Agent.start();
  // @ts-expect-error: nobody sets this state.
  await agent.setLifecycle('leaving');
  // @ts-expect-error: a label is a string.
  await agent.setLabel('rack', 7);
  // @ts-expect-error: members are read.
  view.members.push(view.members[0]);
  // @ts-expect-error: a member does not change.
  (view.local as Member).status = 'failed';
  // @ts-expect-error: there may be none.
  console.log(view.byNodeId('a').region);
  // @ts-expect-error: of some kinds alone.
  console.log(event.reason);
  // @ts-expect-error: no such kind.
  console.log(event.type === 'died');
  // @ts-expect-error: it may be about none.
  console.log(error.field.length);
  // @ts-expect-error: credentials have a certificate.
  await agent.reloadCertificates({ key: 'k' });
}
