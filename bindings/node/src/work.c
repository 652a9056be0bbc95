/* One blocking call, one promise.
 *
 * Invariant: whatever a call needs was copied before it was queued; the event loop's thread alone
 * speaks to JavaScript.
 */
#include "addon.h"

#include <stdlib.h>
#include <string.h>

work *work_new(napi_env env) {
  work *work = calloc(1, sizeof *work);
  if (work == NULL) throw_memory(env);
  return work;
}

void work_free(work *work) {
  for (size_t index = 0; index < work->texts_len; index++) free(work->texts[index]);
  free(work->texts);
  /* There may be a key in it. */
  if (work->bytes != NULL) explicit_bzero(work->bytes, work->bytes_len);
  free(work->bytes);
  mesh_gossip_error_free(work->err);
  mesh_gossip_text_free(work->text);
  mesh_gossip_contacts_free(work->contacts);
  if (work->started != NULL) mesh_gossip_agent_free(work->started);
  free(work);
}

static void execute(napi_env env, void *data) {
  work *work = data;
  (void)env;
  work->code = work->run(work, &work->err);
}

static napi_value result_of(napi_env env, work *work) {
  napi_value value = NULL;
  if (work->code != MESH_GOSSIP_OK) return NULL;
  if (work->started != NULL) {
    value = agent_adopt(env, work->started);
    /* Where it could not be adopted it is freed with the work. */
    if (value != NULL) {
      work->started = NULL;
    } else {
      work->code = MESH_GOSSIP_ERR_IO;
    }
  } else if (work->text != NULL) {
    mesh_gossip_bytes bytes = {mesh_gossip_text_data(work->text), mesh_gossip_text_len(work->text)};
    value = value_text(env, bytes);
  } else if (work->contacts != NULL) {
    value = read_contacts(env, work->contacts);
  } else if (work->gives_health) {
    TRY(napi_create_uint32(env, work->health, &value));
  }
  return value;
}

/* Also runs, in vain, when the environment ends: then nothing can be told to JavaScript, and what
 * was made is freed. */
static void complete(napi_env env, napi_status status, void *data) {
  work *work = data;
  napi_value value, outcome;
  if (status != napi_ok && work->code == MESH_GOSSIP_OK) work->code = MESH_GOSSIP_ERR_STOPPED;
  value = result_of(env, work);
  outcome = value_outcome(env, work->code, work->err, value);
  work->err = NULL;
  if (work->agent != NULL) agent_call_done(work->agent);
  if (work->held != NULL) napi_delete_reference(env, work->held);
  if (outcome != NULL) napi_resolve_deferred(env, work->deferred, outcome);
  napi_delete_async_work(env, work->task);
  work_free(work);
}

/* Takes the work over; on failure an exception is pending and *promise is NULL. */
void work_queue(napi_env env, work *work, const char *name, napi_value *promise) {
  napi_value resource_name;
  *promise = NULL;
  if (napi_create_string_utf8(env, name, NAPI_AUTO_LENGTH, &resource_name) != napi_ok ||
      napi_create_async_work(env, NULL, resource_name, execute, complete, work, &work->task) !=
          napi_ok) {
    goto failed;
  }
  if (napi_create_promise(env, &work->deferred, promise) != napi_ok ||
      napi_queue_async_work(env, work->task) != napi_ok) {
    napi_delete_async_work(env, work->task);
    *promise = NULL;
    goto failed;
  }
  if (work->agent != NULL) work->agent->calls++;
  return;
failed:
  if (work->held != NULL) napi_delete_reference(env, work->held);
  work_free(work);
}
