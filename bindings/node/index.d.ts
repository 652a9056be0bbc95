// mesh-gossip for Node.js: an agent within this process.

/** The version of the library. */
export const version: string;
/** The optional parts that the library was built with, one bit each. */
export const features: bigint;

export type ErrorCode =
  | 'MESH_GOSSIP_ERR_ABI' | 'MESH_GOSSIP_ERR_ARGUMENT' | 'MESH_GOSSIP_ERR_UTF8'
  | 'MESH_GOSSIP_ERR_TOO_LARGE' | 'MESH_GOSSIP_ERR_CONFIG' | 'MESH_GOSSIP_ERR_CREDENTIALS'
  | 'MESH_GOSSIP_ERR_IO' | 'MESH_GOSSIP_ERR_STOPPED' | 'MESH_GOSSIP_ERR_TIMEOUT'
  | 'MESH_GOSSIP_ERR_BUSY' | 'MESH_GOSSIP_ERR_NOT_FOUND' | 'MESH_GOSSIP_ERR_REFUSED'
  | 'MESH_GOSSIP_ERR_REENTRANT' | 'MESH_GOSSIP_ERR_FORKED' | 'MESH_GOSSIP_ERR_PANIC'
  | 'MESH_GOSSIP_ERR_POISONED' | 'MESH_GOSSIP_ERR_STRUCT_SIZE' | 'MESH_GOSSIP_ERR_DISABLED'
  | (string & {});

/** Why a call failed. */
export class MeshGossipError extends Error {
  private constructor();
  readonly code: ErrorCode;
  /** The code's number in the C header. */
  readonly number: number;
  /** The setting or argument that it is about. */
  readonly field: string | null;
}

export type Status = 'alive' | 'suspect' | 'failed' | 'left' | 'unknown';
export type PublishedLifecycle = 'active' | 'cordoned' | 'draining' | 'drained';
export type Lifecycle = PublishedLifecycle | 'leaving' | 'unknown';

/** 32 hexadecimal digits. */
export type MemberId = string;

export interface Member {
  readonly id: MemberId;
  /** Name within the cluster. */
  readonly nodeId: string;
  readonly status: Status;
  readonly lifecycle: Lifecycle;
  /** It is the agent itself. */
  readonly local: boolean;
  /** It serves HTTP/3. */
  readonly http3: boolean;
  /** When this life of it began, Unix milliseconds; may lie ahead of the clock. */
  readonly generation: bigint;
  /** Changes within this life. */
  readonly counter: number;
  /** Rises with every change of what it says of itself. */
  readonly metadataVersion: bigint;
  readonly role: string;
  readonly clusterId: string;
  readonly region: string;
  readonly meshVersion: string;
  /** `host:port` that it advertises. */
  readonly endpoint: string;
  /** An object without a prototype. */
  readonly labels: Readonly<Record<string, string>>;
}

/** The members as of one moment; outlives the agent. */
export class Snapshot implements Iterable<Member> {
  private constructor();
  /** Rises with every change of the view. */
  readonly generation: number;
  /** When the view was published, Unix milliseconds. */
  readonly time: number;
  readonly localId: MemberId;
  readonly size: number;
  readonly members: readonly Member[];
  readonly local: Member | undefined;
  byId(id: MemberId): Member | undefined;
  byNodeId(nodeId: string): Member | undefined;
  [Symbol.iterator](): IterableIterator<Member>;
}

interface Of<Type extends string> {
  readonly type: Type;
  /** When, Unix milliseconds. */
  readonly at: number;
}
interface About {
  readonly id: MemberId;
  /** As of the event. */
  readonly member: Member | null;
}
interface Said {
  readonly from: MemberId;
  /** A number that hosts agree on. */
  readonly topic: number;
  readonly payload: Uint8Array;
}

export type Event =
  | (Of<'joined' | 'suspected' | 'unreachable' | 'updated' | 'refuted'> & About)
  | (Of<'recovered'> & About & { readonly previous: Status })
  | (Of<'left'> & About & { readonly reason: 'left' | 'failed' | 'revoked' | 'unknown' })
  | (Of<'forgotten' | 'conflict'> & { readonly id: MemberId })
  | (Of<'leader-changed'> & {
      readonly scope: string;
      readonly leader: MemberId | null;
      readonly previous: MemberId | null;
      readonly term: bigint;
    })
  | (Of<'alarm'> & { readonly alarm: string; readonly id: MemberId | null })
  | (Of<'record-rejected'> & { readonly why: string; readonly id: MemberId | null })
  | (Of<'leave-complete'> & { readonly acknowledged: number })
  /** Events were lost because they were not taken: read a snapshot. `missed`: what hosts said. */
  | (Of<'overflow' | 'missed'> & { readonly lost: number })
  | (Of<'broadcast' | 'message'> & Said)
  | Of<'join-complete' | 'ended'>
  /** Of a library that is newer than this binding. */
  | (Of<'unknown'> & { readonly kind: number });

export interface StartOptions {
  /** Settings, `{ mesh: { gossip: ... } }`, or their JSON text; no file and no variable counts. */
  config?: object | string;
  /** A JSON file of settings, under the variables of the environment; instead of `config`. */
  configFile?: string;
  /** Keys over all of these: `{ fanout: 4, 'tls:caPath': 'ca.pem' }`; null takes back what they say. */
  settings?: Record<string, string | number | boolean | null>;
  /** Events that wait to be taken; 0: the library's default. */
  eventsCapacity?: number;
  /** Whether the open agent holds the process. Default: false. */
  keepAlive?: boolean;
}

export interface Health {
  readonly joined: boolean;
  readonly ready: boolean;
  readonly draining: boolean;
}

export interface Credentials {
  /** A chain, leaf first. */
  certificate: Uint8Array | string;
  /** Missing where the certificate's content holds it. */
  key?: Uint8Array | string;
  /** Missing: those in force stay. */
  ca?: Uint8Array | string;
  /** Of a PKCS#12 store. */
  password?: string | null;
}

export interface Metadata {
  region?: string;
  meshVersion?: string;
  endpoint?: string;
  http3Support?: boolean;
  labels?: Record<string, string>;
}

export interface LeaseReport {
  activeAssignments?: number;
  pendingReassignments?: number;
  activeLeases?: { sequenceId: number; attempt: number; leaseId: string }[];
}

export interface Contact {
  /** When a datagram of it came last, Unix milliseconds. */
  readonly last: number;
  /** Smoothed round-trip time; null where none was measured. */
  readonly rttMs: number | null;
}

/** Judges the settings of options without a start; rejects as `Agent.start` would. */
export function check(options: StartOptions): Promise<void>;

/** A member of a mesh. Close it when done. Commands are carried out in the order of their calls. */
export class Agent implements AsyncIterable<Event> {
  private constructor();
  /** Resolves once the agent's ports are bound; joining goes on by itself. */
  static start(options: StartOptions): Promise<Agent>;
  readonly nodeId: string;
  /** `address:port` that it listens on. */
  readonly address: string;
  readonly closed: boolean;

  /** Holds the process while this agent is open. */
  ref(): this;
  /** Lets the process end though this agent is open. */
  unref(): this;

  /** The newest view; the same object while nothing changes. */
  snapshot(): Snapshot;
  /** Events in order, until the agent has ended. One reader at a time. */
  events(options?: { signal?: AbortSignal }): AsyncIterableIterator<Event>;
  [Symbol.asyncIterator](): AsyncIterableIterator<Event>;

  /** Sets a label of this member; null removes it. */
  setLabel(key: string, value: string | null): Promise<void>;
  setLifecycle(lifecycle: PublishedLifecycle): Promise<void>;
  cordon(): Promise<void>;
  drain(): Promise<void>;
  resume(): Promise<void>;
  /** Replaces the seeds, `host:port`, that the host named before; those of the settings stay. */
  join(seeds: Iterable<string>): Promise<void>;
  /** Obeys an operator's signed order that a member's life is over. */
  forceLeave(order: Uint8Array): Promise<void>;
  /** Reads certificate, key, trust and revocation lists again. */
  reload(): Promise<void>;
  /** Takes revocation lists, PEM or DER, beside those of the files. */
  addRevocationLists(lists: Uint8Array | string): Promise<void>;
  /** Puts these in place of certificate, key and trust: PEM, or a PKCS#12 store as the certificate. */
  reloadCertificates(credentials: Credentials): Promise<void>;
  /** Says something else of this member; what is missing stays, `labels` are in place of all labels. */
  setMetadata(metadata: Metadata): Promise<void>;
  /** Tells what the host knows of the work of a peer, in place of what it told before; null forgets it. */
  reportLeases(nodeId: string, report: LeaseReport | null): Promise<void>;
  /** In place of what this member said before under the same topic and key, where that is on its way. */
  broadcastLatest(topic: number, key: number | bigint, data: Uint8Array | string): Promise<void>;
  /** Says something to every member's host. */
  broadcast(topic: number, data: Uint8Array | string): Promise<void>;
  /** Says something to one member's host: one datagram, which may be lost. */
  sendTo(id: MemberId, topic: number, data: Uint8Array | string): Promise<void>;

  /** What `GET /control/peers` answers. */
  peers(timeoutMs?: number): Promise<any>;
  /** What `GET /control/leaders` answers, of one scope or of all. */
  leaders(scope?: string | null, timeoutMs?: number): Promise<any>;
  /** What `GET /control/lease-health` answers: who may be given work, and what was reported of whom. */
  leaseHealth(timeoutMs?: number): Promise<any>;
  /** The metrics in Prometheus' text format. */
  metrics(timeoutMs?: number): Promise<string>;
  health(timeoutMs?: number): Promise<Health>;
  /** Our own exchanges with others, of those that this agent has exchanged anything with. */
  contacts(timeoutMs?: number): Promise<Map<MemberId, Contact>>;

  /** Says goodbye and waits until enough members know; close the agent afterwards all the same. */
  leave(timeoutMs?: number): Promise<void>;
  /** Stops without a goodbye. Events and the last snapshot can still be had until `close`. */
  stop(): Promise<void>;
  /** Stops and frees the agent. */
  close(): Promise<void>;
  /** Stops within the call; blocks for the moment that threads need to end. */
  [Symbol.dispose](): void;
  [Symbol.asyncDispose](): Promise<void>;
}
