/* What the parts of the addon share.
 *
 * The addon is thin: it turns handles into objects and blocking calls into promises, and leaves
 * names, classes and freezing to lib/. An outcome is an object {code, message, field, value}, so
 * that lib/ throws where the caller's stack is known.
 */
#ifndef MESH_GOSSIP_NODE_ADDON_H
#define MESH_GOSSIP_NODE_ADDON_H

#include <mesh_gossip.h>
#include <node_api.h>
#include <stdbool.h>
#include <uv.h>

/* An agent and the watch on its events. It ends when three have let go of it: the JavaScript
 * object, the event loop, and the agent's calls under way. Used by the thread of its environment
 * alone, but for `raw`, which calls under way use as well. */
typedef struct agent {
  napi_env env;
  mesh_gossip_agent *raw;             /* NULL once it is freed */
  uv_poll_t watch;                    /* on the descriptor of the events */
  napi_async_cleanup_hook_handle hook; /* runs when the environment ends before the agent */
  napi_async_context context;
  napi_ref waiter;                    /* called once an event waits; NULL: nobody waits */
  unsigned calls;                     /* under way */
  bool held_by_object;
  bool held_by_loop;
  bool closing;                       /* to be freed once no call is under way */
  bool kept_alive;                    /* whether the watch holds the process */
} agent;

/* A blocking call on a thread of libuv's pool. */
typedef struct work {
  napi_async_work task;
  napi_deferred deferred;
  napi_ref held;          /* the agent's object, so that it is not collected meanwhile */
  agent *agent;           /* NULL while one is started */
  mesh_gossip_result (*run)(struct work *work, mesh_gossip_error **err);
  mesh_gossip_result code;
  mesh_gossip_error *err;
  char **texts;           /* copies of strings, NULL where null was given */
  size_t texts_len;
  uint8_t *bytes;
  size_t bytes_len;
  uint64_t number;
  bool from_file;
  bool only_check;        /* of settings, without a start */
  uint8_t id[16];
  mesh_gossip_text *text; /* what it gives: one of these four */
  mesh_gossip_agent *started;
  mesh_gossip_contacts *contacts;
  uint32_t health;
  bool gives_health;
} work;

/* A failed call of Node-API leaves an exception pending, or cannot be helped: give up quietly. */
#define TRY(call)                       \
  do {                                  \
    if ((call) != napi_ok) return NULL; \
  } while (0)

/* agent.c */
agent *agent_of(napi_env env, napi_value value);
napi_value agent_adopt(napi_env env, mesh_gossip_agent *raw);
void agent_call_done(agent *agent);
napi_value agent_wait(napi_env env, napi_callback_info info);
napi_value agent_keep_alive(napi_env env, napi_callback_info info);
napi_value agent_stop_now(napi_env env, napi_callback_info info);
napi_value agent_close(napi_env env, napi_callback_info info);
napi_value agent_names(napi_env env, napi_callback_info info);

/* work.c */
void work_queue(napi_env env, work *work, const char *name, napi_value *promise);
work *work_new(napi_env env);
void work_free(work *work);

/* calls.c */
napi_value call_start(napi_env env, napi_callback_info info);
napi_value call_agent(napi_env env, napi_callback_info info);
napi_value call_kinds(napi_env env);

/* read.c */
bool records_fit(void);
napi_value read_contacts(napi_env env, const mesh_gossip_contacts *contacts);
napi_value read_events(napi_env env, napi_callback_info info);
napi_value read_snapshot(napi_env env, napi_callback_info info);

/* values.c */
napi_value value_text(napi_env env, mesh_gossip_bytes bytes);
napi_value value_string(napi_env env, const char *text);
napi_value value_id(napi_env env, const uint8_t *id);
napi_value value_outcome(napi_env env, mesh_gossip_result code, mesh_gossip_error *err,
                         napi_value value);
char *copy_string(napi_env env, napi_value value);
bool copy_bytes(napi_env env, napi_value value, uint8_t **bytes, size_t *len);
napi_value throw_memory(napi_env env);

#endif
