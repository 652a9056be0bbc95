/* An agent's life within an event loop.
 *
 * Invariants: the watch is closed before the agent is freed, since its descriptor goes with it;
 * the agent is freed when no call on it is under way.
 */
#include "addon.h"

#include <stdlib.h>

static const napi_type_tag agent_tag = {0x6d6573685f676f73, 0x7369705f61676e74};

agent *agent_of(napi_env env, napi_value value) {
  bool tagged = false;
  void *found = NULL;
  if (napi_check_object_type_tag(env, value, &agent_tag, &tagged) != napi_ok || !tagged ||
      napi_unwrap(env, value, &found) != napi_ok) {
    napi_throw_type_error(env, NULL, "an agent is expected");
    return NULL;
  }
  return found;
}

static void let_go(agent *agent) {
  if (!agent->held_by_object && !agent->held_by_loop && agent->calls == 0) free(agent);
}

static void free_raw(agent *agent) {
  if (agent->raw == NULL || agent->calls > 0) return;
  mesh_gossip_agent_free(agent->raw);
  agent->raw = NULL;
}

static void watch_closed(uv_handle_t *handle) {
  agent *agent = handle->data;
  napi_remove_async_cleanup_hook(agent->hook);
  agent->held_by_loop = false;
  let_go(agent);
}

/* May run more than once, and from within the end of the environment. */
static void close_agent(agent *agent) {
  if (!agent->closing) {
    agent->closing = true;
    if (agent->waiter != NULL) napi_delete_reference(agent->env, agent->waiter);
    agent->waiter = NULL;
    napi_async_destroy(agent->env, agent->context);
    uv_close((uv_handle_t *)&agent->watch, watch_closed);
  }
  free_raw(agent);
}

void agent_call_done(agent *agent) {
  agent->calls--;
  if (agent->closing) free_raw(agent);
  let_go(agent);
}

/* The environment ends, calls under way have returned: a worker that is terminated, or a program
 * that ends with an open agent. */
static void environment_ends(napi_async_cleanup_hook_handle handle, void *data) {
  (void)handle;
  close_agent(data);
}

/* Only a program that never closed its agent gets here with something left to free. */
static void finalize(napi_env env, void *data, void *hint) {
  agent *agent = data;
  (void)env, (void)hint;
  if (agent->held_by_loop) close_agent(agent);
  agent->held_by_object = false;
  let_go(agent);
}

static void call_waiter(agent *agent) {
  napi_env env = agent->env;
  napi_handle_scope scope;
  napi_value callback, receiver, result;
  napi_ref waiter = agent->waiter;
  agent->waiter = NULL;
  if (waiter == NULL || napi_open_handle_scope(env, &scope) != napi_ok) return;
  if (napi_get_reference_value(env, waiter, &callback) == napi_ok &&
      napi_delete_reference(env, waiter) == napi_ok &&
      napi_get_global(env, &receiver) == napi_ok) {
    napi_make_callback(env, agent->context, receiver, callback, 0, NULL, &result);
  }
  napi_close_handle_scope(env, scope);
}

static void never(uv_poll_t *watch, int status, int events) {
  (void)watch, (void)status, (void)events;
}

/* Nobody waits: whoever does not take events leaves them in the agent's queue, which is bounded.
 * libuv counts only handles that are active, so an agent that is to hold the process goes on
 * watching, for what an eventfd never says. */
static void rest(agent *agent) {
  if (agent->kept_alive) {
    uv_poll_start(&agent->watch, UV_PRIORITIZED, never);
  } else {
    uv_poll_stop(&agent->watch);
  }
}

static void readable(uv_poll_t *watch, int status, int events) {
  (void)status, (void)events;
  rest(watch->data);
  call_waiter(watch->data);
}

/* An object for a started agent; NULL, and the agent is the caller's, where that fails. */
napi_value agent_adopt(napi_env env, mesh_gossip_agent *raw) {
  napi_value object, name;
  uv_loop_t *loop;
  agent *adopted = calloc(1, sizeof *adopted);
  if (adopted == NULL) return NULL;
  adopted->env = env;
  adopted->watch.data = adopted;
  if (napi_get_uv_event_loop(env, &loop) != napi_ok || napi_create_object(env, &object) != napi_ok ||
      napi_type_tag_object(env, object, &agent_tag) != napi_ok ||
      napi_create_string_utf8(env, "mesh-gossip.events", NAPI_AUTO_LENGTH, &name) != napi_ok ||
      napi_async_init(env, NULL, name, &adopted->context) != napi_ok) {
    free(adopted);
    return NULL;
  }
  if (uv_poll_init(loop, &adopted->watch, mesh_gossip_agent_events_fd(raw)) != 0) {
    napi_async_destroy(env, adopted->context);
    free(adopted);
    return NULL;
  }
  uv_unref((uv_handle_t *)&adopted->watch);
  adopted->held_by_loop = true;
  if (napi_add_async_cleanup_hook(env, environment_ends, adopted, &adopted->hook) != napi_ok ||
      napi_wrap(env, object, adopted, finalize, NULL, NULL) != napi_ok) {
    close_agent(adopted);
    return NULL;
  }
  adopted->held_by_object = true;
  adopted->raw = raw;
  return object;
}

/* wait(agent, callback): calls back once, when an event waits. */
napi_value agent_wait(napi_env env, napi_callback_info info) {
  napi_value arguments[2];
  size_t count = 2;
  agent *agent;
  TRY(napi_get_cb_info(env, info, &count, arguments, NULL, NULL));
  agent = agent_of(env, arguments[0]);
  if (agent == NULL || agent->closing) return NULL;
  if (agent->waiter != NULL) {
    TRY(napi_delete_reference(env, agent->waiter));
    agent->waiter = NULL;
  }
  TRY(napi_create_reference(env, arguments[1], 1, &agent->waiter));
  if (uv_poll_start(&agent->watch, UV_READABLE, readable) != 0) {
    napi_throw_error(env, NULL, "the events' descriptor cannot be watched");
  }
  return NULL;
}

/* keepAlive(agent, whether): an open agent holds the process, or does not. */
napi_value agent_keep_alive(napi_env env, napi_callback_info info) {
  napi_value arguments[2];
  size_t count = 2;
  agent *agent;
  TRY(napi_get_cb_info(env, info, &count, arguments, NULL, NULL));
  agent = agent_of(env, arguments[0]);
  if (agent == NULL || agent->closing) return NULL;
  TRY(napi_get_value_bool(env, arguments[1], &agent->kept_alive));
  if (agent->kept_alive) {
    uv_ref((uv_handle_t *)&agent->watch);
  } else {
    uv_unref((uv_handle_t *)&agent->watch);
  }
  if (agent->waiter == NULL) rest(agent);
  return NULL;
}

/* stopNow(agent): stops on the event loop's thread, for Symbol.dispose. */
napi_value agent_stop_now(napi_env env, napi_callback_info info) {
  napi_value argument;
  size_t count = 1;
  agent *agent;
  mesh_gossip_error *err = NULL;
  mesh_gossip_result code = MESH_GOSSIP_OK;
  TRY(napi_get_cb_info(env, info, &count, &argument, NULL, NULL));
  agent = agent_of(env, argument);
  if (agent == NULL) return NULL;
  if (agent->raw != NULL) code = mesh_gossip_agent_stop(agent->raw, &err);
  return value_outcome(env, code, err, NULL);
}

/* close(agent): frees it, at once or when the last call under way has returned. */
napi_value agent_close(napi_env env, napi_callback_info info) {
  napi_value argument;
  size_t count = 1;
  agent *agent;
  TRY(napi_get_cb_info(env, info, &count, &argument, NULL, NULL));
  agent = agent_of(env, argument);
  if (agent != NULL && agent->held_by_loop) close_agent(agent);
  return NULL;
}

/* names(agent): [node id, address]. */
napi_value agent_names(napi_env env, napi_callback_info info) {
  napi_value argument, names, node_id, address;
  size_t count = 1;
  agent *agent;
  TRY(napi_get_cb_info(env, info, &count, &argument, NULL, NULL));
  agent = agent_of(env, argument);
  if (agent == NULL || agent->closing) return NULL;
  node_id = value_string(env, mesh_gossip_agent_node_id(agent->raw));
  address = value_string(env, mesh_gossip_agent_address(agent->raw));
  if (node_id == NULL || address == NULL) return NULL;
  TRY(napi_create_array_with_length(env, 2, &names));
  TRY(napi_set_element(env, names, 0, node_id));
  TRY(napi_set_element(env, names, 1, address));
  return names;
}
