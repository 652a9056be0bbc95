/* mesh-gossip: embeddable gossip membership. C ABI, version 1. Generated: do not edit.
 *
 * Every function is thread-safe, but those that end in _free or _release may not run beside another
 * call on what they give back, and mesh_gossip_options_from_file not beside a change of the
 * environment. Functions return MESH_GOSSIP_OK or an error, and on failure write nothing but *err,
 * which may be NULL and otherwise takes an object that the caller frees. Strings are UTF-8 and
 * NUL-terminated, and copied before a call returns; bytes within snapshots and events are borrowed
 * from them. Within the functions that a host gives, log and wake, whatever would wait for their own
 * thread fails with MESH_GOSSIP_ERR_REENTRANT, also on another agent.
 */
#ifndef MESH_GOSSIP_H
#define MESH_GOSSIP_H


#include <stddef.h>
#include <stdint.h>

/*
 It is done.
 */
#define MESH_GOSSIP_OK 0

/*
 Header and library do not belong together.
 */
#define MESH_GOSSIP_ERR_ABI 1

/*
 An argument is NULL or out of range.
 */
#define MESH_GOSSIP_ERR_ARGUMENT 2

/*
 A string is not UTF-8.
 */
#define MESH_GOSSIP_ERR_UTF8 3

/*
 A string or a content is longer than is taken.
 */
#define MESH_GOSSIP_ERR_TOO_LARGE 4

/*
 A setting is wrong; the error's field names it.
 */
#define MESH_GOSSIP_ERR_CONFIG 5

/*
 Certificate, key, trust or a revocation list does not hold, and is not taken; what came along
 with it and holds may be in force all the same, as the function tells.
 */
#define MESH_GOSSIP_ERR_CREDENTIALS 6

/*
 The operating system refused: a port that is taken, a file, a thread.
 */
#define MESH_GOSSIP_ERR_IO 7

/*
 The agent has stopped or left.
 */
#define MESH_GOSSIP_ERR_STOPPED 8

/*
 No answer came in time; what was asked for may still happen.
 */
#define MESH_GOSSIP_ERR_TIMEOUT 9

/*
 Too much at once; try again a little later.
 */
#define MESH_GOSSIP_ERR_BUSY 10

/*
 No such member or scope.
 */
#define MESH_GOSSIP_ERR_NOT_FOUND 11

/*
 The agent refused the command; nothing has changed.
 */
#define MESH_GOSSIP_ERR_REFUSED 12

/*
 Not allowed within a callback: it would wait for itself.
 */
#define MESH_GOSSIP_ERR_REENTRANT 13

/*
 The handle was made before a fork: it belongs to the parent.
 */
#define MESH_GOSSIP_ERR_FORKED 14

/*
 A defect of the library; the handle is of no use any more.
 */
#define MESH_GOSSIP_ERR_PANIC 15

/*
 A defect was met before on this handle; it can only be freed.
 */
#define MESH_GOSSIP_ERR_POISONED 16

/*
 A structure's size is none that this library knows, or holds what it does not know.
 */
#define MESH_GOSSIP_ERR_STRUCT_SIZE 17

/*
 `mesh:gossip:enabled` is false.
 */
#define MESH_GOSSIP_ERR_DISABLED 18

/*
 The ABI that this header describes; rises with every change that an older caller cannot live
 with.
 */
#define MESH_GOSSIP_ABI_VERSION 1

/*
 Something failed that somebody has to look at.
 */
#define MESH_GOSSIP_LOG_ERROR 1

/*
 Something is wrong and may right itself.
 */
#define MESH_GOSSIP_LOG_WARN 2

/*
 Transitions.
 */
#define MESH_GOSSIP_LOG_INFO 3

/*
 Failures that are part of the day.
 */
#define MESH_GOSSIP_LOG_DEBUG 4

/*
 Everything.
 */
#define MESH_GOSSIP_LOG_TRACE 5

/*
 In touch.
 */
#define MESH_GOSSIP_STATUS_ALIVE 1

/*
 Doubted; may still refute.
 */
#define MESH_GOSSIP_STATUS_SUSPECT 2

/*
 Judged failed, or its certificate is revoked.
 */
#define MESH_GOSSIP_STATUS_FAILED 3

/*
 Left by its own word, or an operator's.
 */
#define MESH_GOSSIP_STATUS_LEFT 4

/*
 Takes work.
 */
#define MESH_GOSSIP_LIFECYCLE_ACTIVE 0

/*
 Takes no new work.
 */
#define MESH_GOSSIP_LIFECYCLE_CORDONED 1

/*
 Hands its work over.
 */
#define MESH_GOSSIP_LIFECYCLE_DRAINING 2

/*
 Holds no work.
 */
#define MESH_GOSSIP_LIFECYCLE_DRAINED 3

/*
 Has said goodbye.
 */
#define MESH_GOSSIP_LIFECYCLE_LEAVING 4

/*
 It is the agent itself.
 */
#define MESH_GOSSIP_MEMBER_LOCAL 1

/*
 It serves HTTP/3.
 */
#define MESH_GOSSIP_MEMBER_HTTP3 2

/*
 A member that was unknown is alive.
 */
#define MESH_GOSSIP_EVENT_JOINED 1

/*
 A suspect or departed member is alive.
 */
#define MESH_GOSSIP_EVENT_RECOVERED 2

/*
 A member is doubted.
 */
#define MESH_GOSSIP_EVENT_SUSPECTED 3

/*
 A suspect whom nobody else can tell about either.
 */
#define MESH_GOSSIP_EVENT_UNREACHABLE 4

/*
 A member is gone.
 */
#define MESH_GOSSIP_EVENT_LEFT 5

/*
 A member says something else of itself. Of several changes in short order the last one may be
 the only one that is told.
 */
#define MESH_GOSSIP_EVENT_UPDATED 6

/*
 A departed member is listed no longer.
 */
#define MESH_GOSSIP_EVENT_FORGOTTEN 7

/*
 Somebody else leads a scope, nobody does, or its leader has taken another term.
 */
#define MESH_GOSSIP_EVENT_LEADER_CHANGED 8

/*
 Others doubted this agent; it answered.
 */
#define MESH_GOSSIP_EVENT_REFUTED 9

/*
 Two records claim one incarnation of a member.
 */
#define MESH_GOSSIP_EVENT_CONFLICT 10

/*
 Something that somebody has to look at.
 */
#define MESH_GOSSIP_EVENT_ALARM 11

/*
 A record was refused.
 */
#define MESH_GOSSIP_EVENT_RECORD_REJECTED 12

/*
 The first full exchange with the mesh is done.
 */
#define MESH_GOSSIP_EVENT_JOIN_COMPLETE 13

/*
 The leave is done.
 */
#define MESH_GOSSIP_EVENT_LEAVE_COMPLETE 14

/*
 Events were lost because they were not taken: resynchronise from a snapshot. It comes as soon as
 there is room, and before what came after the loss.
 */
#define MESH_GOSSIP_EVENT_OVERFLOW 15

/*
 A member's host said this to everybody. Each comes once at most and in any order, also those of
 one member; at once, whereas what is told of members may come up to five seconds later
 (`mesh:gossip:events:delivery`).
 */
#define MESH_GOSSIP_EVENT_BROADCAST 16

/*
 A member's host said this to this agent alone. In any order; each comes once at most.
 */
#define MESH_GOSSIP_EVENT_MESSAGE 17

/*
 Broadcasts and messages were lost because they were not taken. Told as OVERFLOW is.
 */
#define MESH_GOSSIP_EVENT_MISSED 18

/*
 The agent has stopped: the last event of all.
 */
#define MESH_GOSSIP_EVENT_ENDED 19

/*
 By its own word, or an operator's.
 */
#define MESH_GOSSIP_REASON_LEFT 1

/*
 Judged failed.
 */
#define MESH_GOSSIP_REASON_FAILED 2

/*
 Its certificate is revoked.
 */
#define MESH_GOSSIP_REASON_REVOKED 3

/*
 The first full exchange with the mesh is done.
 */
#define MESH_GOSSIP_HEALTH_JOINED 1

/*
 It may be given work: joined, a member in its own view, and not draining.
 */
#define MESH_GOSSIP_HEALTH_READY 2

/*
 It hands its work over, or has done so.
 */
#define MESH_GOSSIP_HEALTH_DRAINING 4

/*
 A member of a mesh, with an engine of its own: two threads for the protocol, one for events.
 Owned by the caller; freed with `mesh_gossip_agent_free`.
 */
typedef struct mesh_gossip_agent mesh_gossip_agent;

/*
 Contacts as of one moment, in no order: of the members that this agent has exchanged anything
 with, which in a large mesh are some. Owned by the caller; freed with
 `mesh_gossip_contacts_free`, before or after the agent.
 */
typedef struct mesh_gossip_contacts mesh_gossip_contacts;

/*
 Why a call failed. Owned by whoever passed `err`; freed with `mesh_gossip_error_free`.
 */
typedef struct mesh_gossip_error mesh_gossip_error;

/*
 Events in order. Owned by the caller; freed with `mesh_gossip_events_free`, before or after
 the agent.
 */
typedef struct mesh_gossip_events mesh_gossip_events;

/*
 Settings of an agent. Owned by the caller; freed with `mesh_gossip_options_free`. An agent
 keeps a copy of what it was started with.
 */
typedef struct mesh_gossip_options mesh_gossip_options;

/*
 The members as of one moment. Owned by the caller; given back with
 `mesh_gossip_snapshot_release`, before or after the agent is freed.
 */
typedef struct mesh_gossip_snapshot mesh_gossip_snapshot;

/*
 A long text that its caller owns; freed with `mesh_gossip_text_free`.
 */
typedef struct mesh_gossip_text mesh_gossip_text;

/*
 Outcome of a call: `MESH_GOSSIP_OK` or one of `MESH_GOSSIP_ERR_*`.
 */
typedef int32_t mesh_gossip_result;

/*
 Called when the first event waits, on a thread that does nothing else; not once a stop has
 returned. It may not block. Starting, leaving, stopping and freeing an agent, this one or another
 one, fails within it with `MESH_GOSSIP_ERR_REENTRANT`; commands, views and events are fine.
 */
typedef void (*mesh_gossip_wake_fn)(void *user);

/*
 Takes a line of the log: `MESH_GOSSIP_LOG_*`, what happened in words, and its fields as a JSON
 object (`{"EventId":3,"PeerId":"b"}`). Both texts live until it returns. Called on threads of
 the engine, several at once, and on the caller's within a call; not once a stop has returned. It
 may not block. Whatever would wait for an engine, of this agent or of another one, fails within
 it with `MESH_GOSSIP_ERR_REENTRANT`: starting, leaving, stopping, freeing and every command.
 Views can be acquired and read, events taken.
 */
typedef void (*mesh_gossip_log_fn)(void *user,
                                   uint32_t level,
                                   const char *message,
                                   const char *fields);

/*
 What only a program can say. `struct_size` comes first; fields are added at the end. Filled
 with defaults by `mesh_gossip_start_options_init`.
 */
typedef struct mesh_gossip_start_options {
  /*
   Size of this structure as the caller knows it.
   */
  size_t struct_size;
  /*
   Called when the first event waits; NULL: never.
   */
  mesh_gossip_wake_fn wake;
  /*
   Handed to `wake`; has to live until the agent is stopped.
   */
  void *wake_user;
  /*
   Events that wait for `mesh_gossip_agent_take_events` beside those within the engine
   (`mesh:gossip:limits:events`); 0 stands for 1,024, and more than 1,048,576 for that.
   */
  size_t events_capacity;
  /*
   Takes the lines of the log; NULL: nobody does.
   */
  mesh_gossip_log_fn log;
  /*
   Handed to `log`; has to live until the agent is stopped.
   */
  void *log_user;
  /*
   The least that is told, `MESH_GOSSIP_LOG_*`; 0 stands for `MESH_GOSSIP_LOG_INFO`.
   */
  uint32_t log_level;
  /*
   Zero.
   */
  uint32_t reserved;
} mesh_gossip_start_options;

/*
 Bytes that belong to somebody else, UTF-8 unless said otherwise; `data` is never NULL.
 */
typedef struct mesh_gossip_bytes {
  /*
   First byte.
   */
  const uint8_t *data;
  /*
   How many.
   */
  size_t len;
} mesh_gossip_bytes;

/*
 One label of a member.
 */
typedef struct mesh_gossip_label {
  /*
   Name.
   */
  struct mesh_gossip_bytes key;
  /*
   Value.
   */
  struct mesh_gossip_bytes value;
} mesh_gossip_label;

/*
 One member.
 */
typedef struct mesh_gossip_member {
  /*
   Id within the mesh.
   */
  uint8_t id[16];
  /*
   When this life of it began, Unix milliseconds; may lie ahead of the clock.
   */
  uint64_t generation;
  /*
   Changes within this life.
   */
  uint32_t counter;
  /*
   `MESH_GOSSIP_STATUS_*`.
   */
  uint32_t status;
  /*
   `MESH_GOSSIP_LIFECYCLE_*`.
   */
  uint32_t lifecycle;
  /*
   `MESH_GOSSIP_MEMBER_*` bits.
   */
  uint32_t flags;
  /*
   Rises with every change of what it says of itself.
   */
  uint64_t metadata_version;
  /*
   Name within the cluster.
   */
  struct mesh_gossip_bytes node_id;
  /*
   Role.
   */
  struct mesh_gossip_bytes role;
  /*
   Cluster.
   */
  struct mesh_gossip_bytes cluster_id;
  /*
   Region.
   */
  struct mesh_gossip_bytes region;
  /*
   Version of its mesh software.
   */
  struct mesh_gossip_bytes mesh_version;
  /*
   `host:port` that it advertises.
   */
  struct mesh_gossip_bytes endpoint;
  /*
   Its labels by name, `mesh_gossip_labels_stride` bytes apart; NULL where it has none.
   */
  const struct mesh_gossip_label *labels;
  /*
   How many.
   */
  size_t labels_len;
} mesh_gossip_member;

/*
 One event. What a field means stands with its kind; others are zero or empty.
 */
typedef struct mesh_gossip_event {
  /*
   `MESH_GOSSIP_EVENT_*`.
   */
  uint32_t kind;
  /*
   LEFT: `MESH_GOSSIP_REASON_*`. RECOVERED: the status before, `MESH_GOSSIP_STATUS_*`.
   */
  uint32_t detail;
  /*
   When, Unix milliseconds. OVERFLOW and MISSED: when the last of those that are lost was.
   */
  uint64_t at_unix_ms;
  /*
   OVERFLOW and MISSED: how many were lost. LEAVE_COMPLETE: how many members acknowledged.
   LEADER_CHANGED: the term.
   */
  uint64_t count;
  /*
   About whom; BROADCAST and MESSAGE: from whom. LEADER_CHANGED: who leads, zero for nobody.
   */
  uint8_t id[16];
  /*
   LEADER_CHANGED: who led before, zero for nobody.
   */
  uint8_t previous_id[16];
  /*
   BROADCAST and MESSAGE: what it is about, a number that hosts agree on.
   */
  uint32_t topic;
  /*
   Zero.
   */
  uint32_t reserved;
  /*
   LEADER_CHANGED: the scope. ALARM: which one. RECORD_REJECTED: why.
   */
  struct mesh_gossip_bytes text;
  /*
   BROADCAST and MESSAGE: the content, any bytes.
   */
  struct mesh_gossip_bytes payload;
  /*
   The member as of the event: JOINED, RECOVERED, SUSPECTED, UNREACHABLE, LEFT, UPDATED and
   REFUTED; NULL for others.
   */
  const struct mesh_gossip_member *member;
} mesh_gossip_event;

/*
 Our own exchanges with one member.
 */
typedef struct mesh_gossip_contact {
  /*
   With whom.
   */
  uint8_t id[16];
  /*
   When a datagram of it came last, Unix milliseconds.
   */
  uint64_t last_unix_ms;
  /*
   Smoothed round-trip time, microseconds; 0: none was measured.
   */
  uint64_t rtt_us;
} mesh_gossip_contact;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/*
 The version of the ABI that this library implements.
 */
uint32_t mesh_gossip_abi_version(void);

/*
 The version of the library, UTF-8, NUL-terminated, static.
 */
const char *mesh_gossip_version_string(void);

/*
 The optional parts that this library was built with, one bit each.
 */
uint64_t mesh_gossip_features(void);

/*
 What is wrong and what would be right, UTF-8. Lives as long as the error; "" for NULL.
 */
const char *mesh_gossip_error_message(const struct mesh_gossip_error *error);

/*
 The argument or setting that the error is about, NULL where it is about none. Lives as long as
 the error.
 */
const char *mesh_gossip_error_field(const struct mesh_gossip_error *error);

/*
 The code that the call returned; `MESH_GOSSIP_OK` for NULL.
 */
mesh_gossip_result mesh_gossip_error_code(const struct mesh_gossip_error *error);

/*
 Frees an error; NULL is fine.
 */
void mesh_gossip_error_free(struct mesh_gossip_error *error);

/*
 The text, UTF-8, without a zero byte at its end; NULL for NULL.
 */
const uint8_t *mesh_gossip_text_data(const struct mesh_gossip_text *text);

/*
 Length of the text in bytes; 0 for NULL.
 */
size_t mesh_gossip_text_len(const struct mesh_gossip_text *text);

/*
 Frees a text; NULL is fine.
 */
void mesh_gossip_text_free(struct mesh_gossip_text *text);

/*
 Fills start options with defaults; `size` is `sizeof *options`.
 */
mesh_gossip_result mesh_gossip_start_options_init(struct mesh_gossip_start_options *options,
                                                  size_t size);

/*
 Options from JSON text alone, `{"mesh":{"gossip":{...}}}`; no file and no variable counts.
 */
mesh_gossip_result mesh_gossip_options_from_json(const char *json,
                                                 struct mesh_gossip_options **out,
                                                 struct mesh_gossip_error **err);

/*
 Options from a JSON file, under the variables of the environment (`MESH__GOSSIP__*`). The file
 is read here and once more by the start. The environment is read here, all of it, as by getenv:
 no other thread may call setenv, putenv or unsetenv meanwhile.
 */
mesh_gossip_result mesh_gossip_options_from_file(const char *path,
                                                 struct mesh_gossip_options **out,
                                                 struct mesh_gossip_error **err);

/*
 Sets a key, `"fanout"` or `"tls:caPath"`, over file and environment; NULL as the value takes
 back what they say.
 */
mesh_gossip_result mesh_gossip_options_set(struct mesh_gossip_options *options,
                                           const char *key,
                                           const char *value,
                                           struct mesh_gossip_error **err);

/*
 Frees options; NULL is fine. Agents that were started with them go on.
 */
void mesh_gossip_options_free(struct mesh_gossip_options *options);

/*
 Bytes from one member to the next within a chunk, for who checks a library before its first
 chunk.
 */
size_t mesh_gossip_members_stride(void);

/*
 Bytes from one label of a member to the next.
 */
size_t mesh_gossip_labels_stride(void);

/*
 Starts an agent; `start` may be NULL. Returns once its ports are bound; joining the mesh goes
 on by itself and ends with a JOIN_COMPLETE event where there is anybody to join. Blocks while
 files are read and names looked up. Not from a callback.
 */
mesh_gossip_result mesh_gossip_agent_start_with(const struct mesh_gossip_options *options,
                                                const struct mesh_gossip_start_options *start,
                                                struct mesh_gossip_agent **out,
                                                struct mesh_gossip_error **err);

/*
 The same with the defaults of what only a program can say.
 */
mesh_gossip_result mesh_gossip_agent_start(const struct mesh_gossip_options *options,
                                           struct mesh_gossip_agent **out,
                                           struct mesh_gossip_error **err);

/*
 Says goodbye and waits up to `timeout_ms` until enough members know. The agent has to be
 stopped or freed afterwards all the same. Not from a callback.
 */
mesh_gossip_result mesh_gossip_agent_leave(const struct mesh_gossip_agent *agent,
                                           uint64_t timeout_ms,
                                           struct mesh_gossip_error **err);

/*
 Stops without a goodbye; returns once the ports are free and no callback runs any more. Calls
 under way fail with `MESH_GOSSIP_ERR_STOPPED`. Again, it does nothing. Not from a callback.
 */
mesh_gossip_result mesh_gossip_agent_stop(const struct mesh_gossip_agent *agent,
                                          struct mesh_gossip_error **err);

/*
 Stops and frees an agent; NULL is fine. The one function that may not run beside another call
 on the same agent. Within a callback, and in a forked child, it refuses and frees nothing.
 */
mesh_gossip_result mesh_gossip_agent_free(struct mesh_gossip_agent *agent);

/*
 The agent's name within the cluster, borrowed from the agent; "" for NULL.
 */
const char *mesh_gossip_agent_node_id(const struct mesh_gossip_agent *agent);

/*
 `address:port` that the agent listens on, borrowed from the agent; "" for NULL.
 */
const char *mesh_gossip_agent_address(const struct mesh_gossip_agent *agent);

/*
 The newest view; NULL for NULL, for a handle of a parent process and after a defect:
 `mesh_gossip_snapshot_try_acquire` tells which. After the agent was stopped, the last one. Never
 blocks for long: whoever asks first after a change translates the chunks that changed. A view is
 never behind the events that were taken, and may be ahead of them: it has what is still to be
 told, and several changes of a member at once.
 */
const struct mesh_gossip_snapshot *mesh_gossip_snapshot_acquire(const struct mesh_gossip_agent *agent);

/*
 The same with the reason where there is none.
 */
mesh_gossip_result mesh_gossip_snapshot_try_acquire(const struct mesh_gossip_agent *agent,
                                                    const struct mesh_gossip_snapshot **out,
                                                    struct mesh_gossip_error **err);

/*
 Gives a snapshot back, once for each time that it was acquired; NULL is fine. Two that acquire may
 be given the same pointer, and each may use it up to a release of his own: no call that relies on
 an acquire may run beside its release.
 */
void mesh_gossip_snapshot_release(const struct mesh_gossip_snapshot *snapshot);

/*
 How many members are listed; 0 for NULL.
 */
size_t mesh_gossip_snapshot_len(const struct mesh_gossip_snapshot *snapshot);

/*
 Rises with every change of the view; 0 for NULL. Equal for two snapshots of an agent whose
 members are equal.
 */
uint64_t mesh_gossip_snapshot_generation(const struct mesh_gossip_snapshot *snapshot);

/*
 When the view was published, Unix milliseconds; 0 for NULL.
 */
uint64_t mesh_gossip_snapshot_time(const struct mesh_gossip_snapshot *snapshot);

/*
 The 16 bytes of the id of the agent itself, borrowed from the snapshot; NULL for NULL.
 */
const uint8_t *mesh_gossip_snapshot_local_id(const struct mesh_gossip_snapshot *snapshot);

/*
 How many chunks the members stand in; 0 for NULL.
 */
size_t mesh_gossip_snapshot_chunk_count(const struct mesh_gossip_snapshot *snapshot);

/*
 The members of a chunk, borrowed from the snapshot: `*len` records, `*stride` bytes apart.
 There may be none.
 */
mesh_gossip_result mesh_gossip_snapshot_chunk(const struct mesh_gossip_snapshot *snapshot,
                                              size_t index,
                                              const struct mesh_gossip_member **records,
                                              size_t *len,
                                              size_t *stride);

/*
 What the members of a chunk point to, for who copies all of it at once, borrowed from the
 snapshot: `*labels_len` labels in the order of their members, `mesh_gossip_labels_stride` bytes
 apart, and the text that these and the members point into. Empty text may point elsewhere.
 */
mesh_gossip_result mesh_gossip_snapshot_chunk_arena(const struct mesh_gossip_snapshot *snapshot,
                                                    size_t index,
                                                    const struct mesh_gossip_label **labels,
                                                    size_t *labels_len,
                                                    struct mesh_gossip_bytes *text);

/*
 Changes whenever the records of this chunk do, and is never used again within the process; 0
 where there is no such chunk.
 */
uint64_t mesh_gossip_snapshot_chunk_generation(const struct mesh_gossip_snapshot *snapshot,
                                               size_t index);

/*
 The member with this id of 16 bytes, borrowed from the snapshot; NULL where it is not listed,
 and for NULL.
 */
const struct mesh_gossip_member *mesh_gossip_snapshot_find(const struct mesh_gossip_snapshot *snapshot,
                                                           const uint8_t *id);

/*
 The agent's own record, borrowed from the snapshot; NULL for NULL, and once it has left for so
 long that it is listed no longer.
 */
const struct mesh_gossip_member *mesh_gossip_snapshot_local(const struct mesh_gossip_snapshot *snapshot);

/*
 How many listed members have this status, `MESH_GOSSIP_STATUS_*`; 0 for NULL and for a number
 that is none.
 */
size_t mesh_gossip_snapshot_count(const struct mesh_gossip_snapshot *snapshot, uint32_t status);

/*
 A descriptor that is readable exactly while an event waits, for poll, epoll and their like; it
 belongs to the agent: neither read nor close it. -1 for NULL or a handle of a parent process.
 */
int mesh_gossip_agent_events_fd(const struct mesh_gossip_agent *agent);

/*
 Takes up to `max` events, the oldest first. Never blocks; a batch may be empty. Events that
 came before a stop can be taken after it, the last one being ENDED.
 */
mesh_gossip_result mesh_gossip_agent_take_events(const struct mesh_gossip_agent *agent,
                                                 size_t max,
                                                 struct mesh_gossip_events **out,
                                                 struct mesh_gossip_error **err);

/*
 How many events a batch holds; 0 for NULL.
 */
size_t mesh_gossip_events_len(const struct mesh_gossip_events *events);

/*
 The event at `index`, borrowed from the batch; NULL where there is none.
 */
const struct mesh_gossip_event *mesh_gossip_events_at(const struct mesh_gossip_events *events,
                                                      size_t index);

/*
 Bytes from one event to the next: the first is `mesh_gossip_events_at(events, 0)`.
 */
size_t mesh_gossip_events_stride(void);

/*
 Frees a batch; NULL is fine.
 */
void mesh_gossip_events_free(struct mesh_gossip_events *events);

/*
 Sets a label of this member; NULL as the value removes it. It stands in the next snapshot here;
 other members take five changes of a member at once and then one a second, always the latest, so
 that a long burst of changes settles there about a second after its end.
 */
mesh_gossip_result mesh_gossip_agent_set_label(const struct mesh_gossip_agent *agent,
                                               const char *key,
                                               const char *value,
                                               struct mesh_gossip_error **err);

/*
 Publishes a lifecycle, `MESH_GOSSIP_LIFECYCLE_ACTIVE` to `_DRAINED`: cordon, drain, resume.
 */
mesh_gossip_result mesh_gossip_agent_set_lifecycle(const struct mesh_gossip_agent *agent,
                                                   uint32_t lifecycle,
                                                   struct mesh_gossip_error **err);

/*
 Replaces the seeds, `count` strings `host:port`, that the host named before; those of the
 settings stay beside them. Names are looked up here, which may take a while.
 */
mesh_gossip_result mesh_gossip_agent_join(const struct mesh_gossip_agent *agent,
                                          const char *const *seeds,
                                          size_t count,
                                          struct mesh_gossip_error **err);

/*
 Obeys an operator's signed order that a member's life is over, and passes it on.
 */
mesh_gossip_result mesh_gossip_agent_force_leave(const struct mesh_gossip_agent *agent,
                                                 const uint8_t *order,
                                                 size_t len,
                                                 struct mesh_gossip_error **err);

/*
 Reads certificate, key, trust and revocation lists again; returns once they are in force. What
 cannot be read or does not hold changes nothing. A certificate of ours that peers would refuse is
 `MESH_GOSSIP_ERR_CREDENTIALS` too: the one before stays, but new trust and lists are in force.
 */
mesh_gossip_result mesh_gossip_agent_reload(const struct mesh_gossip_agent *agent,
                                            struct mesh_gossip_error **err);

/*
 Takes revocation lists, PEM or DER, beside those of the files. A list that does not count changes
 nothing. Where our own certificate does not hold under them, they are in force and the call fails with
 `MESH_GOSSIP_ERR_CREDENTIALS`.
 */
mesh_gossip_result mesh_gossip_agent_add_revocation_lists(const struct mesh_gossip_agent *agent,
                                                          const uint8_t *lists,
                                                          size_t len,
                                                          struct mesh_gossip_error **err);

/*
 Says something to every member: an EVENT_BROADCAST at each of their hosts. About 1,024 bytes
 at most, 128 at once and 100 a second.
 */
mesh_gossip_result mesh_gossip_agent_broadcast(const struct mesh_gossip_agent *agent,
                                               uint16_t topic,
                                               const uint8_t *data,
                                               size_t len,
                                               struct mesh_gossip_error **err);

/*
 The same, in place of what this member said before under the same topic and `key`, where that
 is still on its way: who has not heard it yet is spared it.
 */
mesh_gossip_result mesh_gossip_agent_broadcast_latest(const struct mesh_gossip_agent *agent,
                                                      uint16_t topic,
                                                      uint64_t key,
                                                      const uint8_t *data,
                                                      size_t len,
                                                      struct mesh_gossip_error **err);

/*
 Says something to the member with this id of 16 bytes: one datagram, which may be lost.
 */
mesh_gossip_result mesh_gossip_agent_send_to(const struct mesh_gossip_agent *agent,
                                             const uint8_t *id,
                                             uint16_t topic,
                                             const uint8_t *data,
                                             size_t len,
                                             struct mesh_gossip_error **err);

/*
 Says something else of this member: a JSON object with any of `region`, `meshVersion`,
 `endpoint` (strings), `http3Support` (a boolean) and `labels` (an object of strings, in place
 of all labels). What is missing stays; a mistake changes nothing. Seen by others as labels are.
 */
mesh_gossip_result mesh_gossip_agent_set_metadata(const struct mesh_gossip_agent *agent,
                                                  const char *json,
                                                  struct mesh_gossip_error **err);

/*
 Puts these in place of certificate, key and trust: a PEM chain (leaf first), its PEM key, and
 PEM trust anchors; or a PKCS#12 store as the certificate, with its password and no key. No key
 (`key_len` 0) where the certificate's content holds it; no trust (`ca_len` 0) keeps that in
 force. Returns once they are in force; what cannot be read or does not hold changes nothing. A
 certificate that peers would refuse under this trust is `MESH_GOSSIP_ERR_CREDENTIALS` too: the one
 before stays, but the new trust is in force. Trust domain, thumbprints and revocation stay as the
 agent was started with.
 */
mesh_gossip_result mesh_gossip_agent_reload_certificates(const struct mesh_gossip_agent *agent,
                                                         const uint8_t *certificate,
                                                         size_t certificate_len,
                                                         const uint8_t *key,
                                                         size_t key_len,
                                                         const uint8_t *ca,
                                                         size_t ca_len,
                                                         const char *password,
                                                         struct mesh_gossip_error **err);

/*
 What `GET /control/peers` answers, waiting up to `timeout_ms` for the agent.
 */
mesh_gossip_result mesh_gossip_agent_peers_json(const struct mesh_gossip_agent *agent,
                                                uint64_t timeout_ms,
                                                struct mesh_gossip_text **out,
                                                struct mesh_gossip_error **err);

/*
 What `GET /control/leaders` answers, of the scope of this name or, for NULL, of all.
 */
mesh_gossip_result mesh_gossip_agent_leaders_json(const struct mesh_gossip_agent *agent,
                                                  const char *scope,
                                                  uint64_t timeout_ms,
                                                  struct mesh_gossip_text **out,
                                                  struct mesh_gossip_error **err);

/*
 The metrics in Prometheus' text format.
 */
mesh_gossip_result mesh_gossip_agent_metrics_text(const struct mesh_gossip_agent *agent,
                                                  uint64_t timeout_ms,
                                                  struct mesh_gossip_text **out,
                                                  struct mesh_gossip_error **err);

/*
 How the agent is, `MESH_GOSSIP_HEALTH_*` bits; success means that it answers.
 */
mesh_gossip_result mesh_gossip_agent_health(const struct mesh_gossip_agent *agent,
                                            uint64_t timeout_ms,
                                            uint32_t *out,
                                            struct mesh_gossip_error **err);

/*
 Tells what the host knows of the work of the peer with this name, in place of what it told
 before: a JSON object with any of `activeAssignments`, `pendingReassignments` (counts) and
 `activeLeases` (objects of `sequenceId`, `attempt` and `leaseId`, 10,000 at most). NULL, and a
 report of nothing, forgets the peer. It stands in this agent's lease health and nowhere else.
 */
mesh_gossip_result mesh_gossip_agent_report_leases(const struct mesh_gossip_agent *agent,
                                                   const char *node_id,
                                                   const char *json,
                                                   struct mesh_gossip_error **err);

/*
 What `GET /control/lease-health` answers: who may be given work, and what was reported of whom.
 */
mesh_gossip_result mesh_gossip_agent_lease_health_json(const struct mesh_gossip_agent *agent,
                                                       uint64_t timeout_ms,
                                                       struct mesh_gossip_text **out,
                                                       struct mesh_gossip_error **err);

/*
 Round-trip times and last contacts, waiting up to `timeout_ms` for the agent.
 */
mesh_gossip_result mesh_gossip_agent_contacts(const struct mesh_gossip_agent *agent,
                                              uint64_t timeout_ms,
                                              struct mesh_gossip_contacts **out,
                                              struct mesh_gossip_error **err);

/*
 How many there are; 0 for NULL.
 */
size_t mesh_gossip_contacts_len(const struct mesh_gossip_contacts *contacts);

/*
 The contact at `index`, borrowed from the contacts; NULL where there is none.
 */
const struct mesh_gossip_contact *mesh_gossip_contacts_at(const struct mesh_gossip_contacts *contacts,
                                                          size_t index);

/*
 Bytes from one contact to the next: the first is `mesh_gossip_contacts_at(contacts, 0)`.
 */
size_t mesh_gossip_contacts_stride(void);

/*
 Frees contacts; NULL is fine.
 */
void mesh_gossip_contacts_free(struct mesh_gossip_contacts *contacts);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

/* Whether the library loaded is the one that this header describes. Call it first. */
static inline mesh_gossip_result mesh_gossip_check_abi(void) {
  return mesh_gossip_abi_version() == MESH_GOSSIP_ABI_VERSION ? MESH_GOSSIP_OK
                                                              : MESH_GOSSIP_ERR_ABI;
}

#endif /* MESH_GOSSIP_H */
